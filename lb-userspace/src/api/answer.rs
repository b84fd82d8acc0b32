//! One request, answered: the call goes to the control loop, its answer becomes a response.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use lb_core::view::{ErrorBody, PersistenceCleared, StopReport, StopRequest};
use serde::Serialize;
use tracing::info;

use super::request::{Handle, ReloadRefused, Request, Unanswered};
use super::route::{Call, Refusal, route};
use super::server::Limits;

/// Who is asking, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) uid: Option<u32>,
    pub(super) pid: Option<i32>,
}

pub(super) async fn answer(
    request: hyper::Request<Incoming>,
    handle: Handle,
    limits: Limits,
    peer: Peer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if head.method != Method::GET {
        info!(method = %head.method, path = head.uri.path(), uid = peer.uid, pid = peer.pid, "asked over the API");
    }
    let response = match route(&head.method, head.uri.path(), head.uri.query()) {
        Ok(call) => carry_out(call, body, &handle, &limits).await,
        Err(refusal) => Err(refusal),
    };
    Ok(response.unwrap_or_else(|refusal| refused(&refusal)))
}

async fn carry_out(
    call: Call,
    body: Incoming,
    handle: &Handle,
    limits: &Limits,
) -> Result<Response<Full<Bytes>>, Refusal> {
    match call {
        Call::Status => Ok(success(&handle.ask(|reply| Request::Status { reply }).await?)),
        Call::Connections(query) => Ok(success(&handle.ask(|reply| Request::Connections { query, reply }).await?)),
        Call::Persistence(query) => Ok(success(&handle.ask(|reply| Request::Persistence { query, reply }).await?)),
        Call::ClearPersistence(query) => {
            let cleared = handle.ask(|reply| Request::ClearPersistence { query, reply }).await?;
            Ok(success(&PersistenceCleared { cleared }))
        }
        Call::Reload => match handle
            .ask(|reply| Request::Reload { request: lb_core::view::ReloadRequest::default(), reply })
            .await?
        {
            Ok(report) => Ok(success(&report)),
            Err(ReloadRefused::Invalid(invalid)) => Ok(json(StatusCode::UNPROCESSABLE_ENTITY, &invalid)),
            Err(ReloadRefused::Failed(error)) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
        },
        Call::Stop => {
            let StopRequest { detach } = stop_request(body, limits).await?;
            handle.ask(|reply| Request::Stop { detach, reply }).await?;
            Ok(success(&StopReport { detach }))
        }
        Call::EffectiveConfig => {
            let text = handle.ask(|reply| Request::EffectiveConfig { reply }).await?;
            // RFC 9512 registers the media type.
            Ok(response(StatusCode::OK, "application/yaml", text))
        }
        Call::Metrics => {
            let text = handle.ask(|reply| Request::Metrics { reply }).await?;
            Ok(response(StatusCode::OK, lb_core::metrics::CONTENT_TYPE, text))
        }
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        let status = match unanswered {
            Unanswered::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Unanswered::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::new(status, unanswered.to_string())
    }
}

/// The body of `POST /v1/stop`; none means the defaults.
async fn stop_request(body: Incoming, limits: &Limits) -> Result<StopRequest, Refusal> {
    let bytes = read(body, limits.body_bytes, limits.body_read).await?;
    if bytes.is_empty() {
        return Ok(StopRequest::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("the body is not as in {{\"detach\": false}}: {error}"))
    })
}

async fn read(body: Incoming, limit: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes")))
        }
        Ok(Err(error)) => {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {cause}")))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn success(value: &impl Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::OK, value)
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut response = json(refusal.status, &ErrorBody { error: refusal.error.clone() });
    if let Some(allow) = refusal.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(bytes) => response(status, "application/json", bytes),
        // The view types have string keys and finite numbers; a failure would be a defect, and even
        // then the client gets a sentence.
        Err(error) => response(
            StatusCode::INTERNAL_SERVER_ERROR,
            "application/json",
            serde_json::json!({ "error": format!("the answer could not be written: {error}") }).to_string(),
        ),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
