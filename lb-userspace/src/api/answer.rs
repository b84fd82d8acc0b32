//! One request, answered: the call goes to the control loop, its answer becomes a response.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use lb_core::view::{
    DoctorLine, DoctorQuery, ErrorBody, Events, EventsQuery, OrderReport, StopReport, StopRequest, TraceLine,
};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tracing::info;

use super::body;
use super::connections::Longer;
use super::lines::{self, Lines};
use super::peer::Peer;
use super::request::{Handle, OrderRefused, ReloadRefused, Request, TraceRefused, Unanswered};
use super::route::{Call, Refusal, route};
use super::server::Limits;

/// Most answers are there at once; the lines of a trace and of an examination come one by one.
pub(super) type Answer = Either<Full<Bytes>, Either<Lines<TraceLine>, Lines<DoctorLine>>>;

/// What every request is answered with.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) handle: Handle,
    pub(super) limits: Limits,
    /// Places of clients that wait for events.
    pub(super) waiting: Arc<Semaphore>,
    /// Places of clients that have the network examined.
    pub(super) examinations: Arc<Semaphore>,
    /// Turns true when the server stops.
    pub(super) closed: watch::Receiver<bool>,
    /// How much longer than others the connection may take.
    pub(super) longer: Longer,
}

pub(super) async fn answer(
    request: hyper::Request<Incoming>,
    context: Context,
    peer: Peer,
) -> Result<Response<Answer>, Infallible> {
    let (head, body) = request.into_parts();
    if head.method != Method::GET {
        info!(method = %head.method, path = head.uri.path(), uid = peer.uid, pid = peer.pid, "asked over the API");
    }
    let response = match route(&head.method, head.uri.path(), head.uri.query()) {
        Ok(call) => carry_out(call, body, &context, peer).await,
        Err(refusal) => Err(refusal),
    };
    Ok(response.unwrap_or_else(|refusal| refused(&refusal)))
}

async fn carry_out(call: Call, body: Incoming, context: &Context, peer: Peer) -> Result<Response<Answer>, Refusal> {
    let Context { handle, limits, .. } = context;
    match call {
        Call::Status => Ok(success(&handle.ask(|reply| Request::Status { reply }).await?)),
        Call::Connections(query) => Ok(success(&handle.ask(|reply| Request::Connections { query, reply }).await?)),
        Call::Persistence(query) => Ok(success(&handle.ask(|reply| Request::Persistence { query, reply }).await?)),
        Call::ClearPersistence(query) => {
            Ok(success(&handle.ask(|reply| Request::ClearPersistence { query, reply }).await?))
        }
        Call::Health => Ok(success(&handle.ask(|reply| Request::Health { reply }).await?)),
        Call::Certificates => Ok(success(&handle.ask(|reply| Request::Certificates { reply }).await?)),
        Call::Explain(query) => {
            let told = handle.ask(|reply| Request::Explain { query, reply }).await?;
            told.map(|told| success(&told)).map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))
        }
        Call::Events(query) => Ok(success(&events(query, context).await?)),
        Call::Metrics => {
            let text = handle.ask(|reply| Request::Metrics { reply }).await?;
            Ok(response(StatusCode::OK, lb_core::metrics::CONTENT_TYPE, text))
        }
        Call::Order => Ok(success(&order(body, context, peer).await?)),
        Call::Trace => trace(body, context, peer).await,
        Call::Doctor(query) => doctor(query, context).await,
        Call::Reload => {
            let request = body::reload(body, limits).await?;
            let outcome = handle.ask(|reply| Request::Reload { request, reply }).await?;
            reloaded(outcome, StatusCode::INTERNAL_SERVER_ERROR)
        }
        Call::Confirm => reloaded(handle.ask(|reply| Request::Confirm { reply }).await?, StatusCode::CONFLICT),
        Call::Rollback => reloaded(handle.ask(|reply| Request::Rollback { reply }).await?, StatusCode::CONFLICT),
        Call::Upgrade => {
            let begun = handle.ask(|reply| Request::Upgrade { reply }).await?;
            begun.map(|report| success(&report)).map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))
        }
        Call::Stop => {
            let StopRequest { detach } = body::stop(body, limits).await?;
            handle.ask(|reply| Request::Stop { detach, reply }).await?;
            Ok(success(&StopReport { detach }))
        }
        Call::EffectiveConfig => {
            let text = handle.ask(|reply| Request::EffectiveConfig { reply }).await?;
            // RFC 9512 registers the media type.
            Ok(response(StatusCode::OK, "application/yaml", text))
        }
    }
}

/// Whoever waits gives way when the server stops: the end of the wait may be far.
async fn events(query: EventsQuery, context: &Context) -> Result<Events, Refusal> {
    if query.wait_seconds == 0 {
        return Ok(context.handle.ask(|reply| Request::Events { query, reply }).await?);
    }
    let Ok(_place) = context.waiting.try_acquire() else {
        let error = format!("{} clients wait for events already; ask without `wait`", context.limits.waiting);
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, error));
    };
    let handle = context.handle.patient(Duration::from_secs(query.wait_seconds.into()));
    let mut closed = context.closed.clone();
    tokio::select! {
        answered = handle.ask(|reply| Request::Events { query, reply }) => Ok(answered?),
        _ = closed.wait_for(|closed| *closed) => Err(Unanswered::Stopping.into()),
    }
}

async fn order(body: Incoming, context: &Context, peer: Peer) -> Result<OrderReport, Refusal> {
    let mut request = body::order(body, &context.limits).await?;
    let by = peer.name(request.by.as_deref()).await;
    info!(service = request.service, server = request.server, order = ?request.order, by, "an order came in");
    request.by = Some(by);
    context.handle.ask(|reply| Request::Order { request, reply }).await?.map_err(|refused| match refused {
        OrderRefused::Unknown(error) => Refusal::new(StatusCode::NOT_FOUND, error),
        OrderRefused::Failed(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error),
    })
}

async fn trace(body: Incoming, context: &Context, peer: Peer) -> Result<Response<Answer>, Refusal> {
    let mut request = body::trace(body, &context.limits).await?;
    let by = peer.name(request.by.as_deref()).await;
    info!(client = %request.client, seconds = request.seconds, by, "a trace is asked for");
    request.by = Some(by);
    let longer = request.seconds;
    let lines = context.handle.ask(|reply| Request::Trace { request, reply }).await?;
    let lines = lines.map_err(|refused| match refused {
        TraceRefused::Busy(error) => Refusal::new(StatusCode::CONFLICT, error),
        TraceRefused::Failed(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error),
    })?;
    context.longer.by(longer);
    Ok(whole(StatusCode::OK, lines::CONTENT_TYPE, Either::Right(Either::Left(Lines::new(lines)))))
}

/// The lines of an examination as they come. It ends when its client leaves, or the server stops.
async fn doctor(query: DoctorQuery, context: &Context) -> Result<Response<Answer>, Refusal> {
    let Ok(place) = Arc::clone(&context.examinations).try_acquire_owned() else {
        let error = "the network is being examined for another client; try again in half a minute";
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, error));
    };
    let begun = context.handle.ask(|reply| Request::Doctor { service: query.service, reply }).await?;
    let lines = begun.map_err(|error| Refusal::new(StatusCode::NOT_FOUND, error))?;
    let lines = Lines::new(lines).until(context.closed.clone(), place);
    Ok(whole(StatusCode::OK, lines::CONTENT_TYPE, Either::Right(Either::Right(lines))))
}

fn reloaded<T: Serialize>(outcome: Result<T, ReloadRefused>, failed: StatusCode) -> Result<Response<Answer>, Refusal> {
    match outcome {
        Ok(report) => Ok(success(&report)),
        Err(ReloadRefused::Invalid(invalid)) => Ok(json(StatusCode::UNPROCESSABLE_ENTITY, &invalid)),
        Err(ReloadRefused::Failed(error)) => Err(Refusal::new(failed, error)),
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

fn success(value: &impl Serialize) -> Response<Answer> {
    json(StatusCode::OK, value)
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let mut response = json(refusal.status, &ErrorBody { error: refusal.error.clone() });
    if let Some(allow) = refusal.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Answer> {
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

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    whole(status, content_type, Either::Left(Full::new(body.into())))
}

fn whole(status: StatusCode, content_type: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
