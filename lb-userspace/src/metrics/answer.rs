//! One request for metrics, answered.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use lb_core::metrics::CONTENT_TYPE as METRICS;

use super::latest::Latest;
use crate::api::Unanswered;

const PATH: &str = "/metrics";
const SENTENCE: &str = "text/plain; charset=utf-8";

/// Answers `GET /metrics`, and refuses all else in a sentence. hyper leaves out the body for HEAD.
pub(super) async fn answer(
    request: Request<Incoming>,
    latest: Arc<Latest>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if path != PATH {
        return Ok(response(
            StatusCode::NOT_FOUND,
            SENTENCE,
            format!("there is nothing at {path}; metrics are at {PATH}\n"),
        ));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let sentence = format!("{PATH} takes GET and HEAD, not {}\n", request.method());
        let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, SENTENCE, sentence);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refusal);
    }
    Ok(match latest.text().await {
        Ok(text) => response(StatusCode::OK, METRICS, text),
        Err(unanswered @ Unanswered::Stopping) => sentence(StatusCode::SERVICE_UNAVAILABLE, unanswered),
        Err(unanswered @ Unanswered::TimedOut(_)) => sentence(StatusCode::GATEWAY_TIMEOUT, unanswered),
    })
}

fn sentence(status: StatusCode, unanswered: Unanswered) -> Response<Full<Bytes>> {
    response(status, SENTENCE, format!("{unanswered}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
