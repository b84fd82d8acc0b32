//! Bodies of requests: bytes of a client in, typed requests or a refusal out.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use lb_core::view::{MAX_TRACE_SECONDS, OrderRequest, ReloadRequest, StopRequest, TraceRequest};
use serde_json::{Map, Value};

use super::route::Refusal;
use super::server::Limits;

/// Below it nobody has time to look, above it nobody remembers.
pub const CONFIRM_WITHIN_SECONDS: RangeInclusive<u64> = 5..=3600;

/// How an order is written.
const ORDER: &str = "{\"service\": \"HL7\", \"server\": \"IMS1\", \"order\": \"drain\"}";

/// The body of `POST /v1/stop`; none means the defaults.
pub(super) async fn stop(body: Incoming, limits: &Limits) -> Result<StopRequest, Refusal> {
    let bytes = read(body, limits.body_bytes, limits.body_read).await?;
    if bytes.is_empty() {
        return Ok(StopRequest::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| not_as("{\"detach\": false}", &error))
}

/// The body of `POST /v1/reload`; none means the defaults.
pub(super) async fn reload(body: Incoming, limits: &Limits) -> Result<ReloadRequest, Refusal> {
    let bytes = read(body, limits.body_bytes, limits.body_read).await?;
    if bytes.is_empty() {
        return Ok(ReloadRequest::default());
    }
    let request: ReloadRequest =
        serde_json::from_slice(&bytes).map_err(|error| not_as("{\"confirm_within_seconds\": 60}", &error))?;
    match request.confirm_within_seconds {
        Some(seconds) if !CONFIRM_WITHIN_SECONDS.contains(&seconds) => {
            let (least, most) = CONFIRM_WITHIN_SECONDS.into_inner();
            Err(bad(format!("confirm_within_seconds is {seconds}; it is a number from {least} to {most}")))
        }
        _ => Ok(request),
    }
}

/// The body of `POST /v1/order`.
pub(super) async fn order(body: Incoming, limits: &Limits) -> Result<OrderRequest, Refusal> {
    order_of(&read(body, limits.body_bytes, limits.body_read).await?)
}

/// The body of `POST /v1/trace`.
pub(super) async fn trace(body: Incoming, limits: &Limits) -> Result<TraceRequest, Refusal> {
    trace_of(&read(body, limits.body_bytes, limits.body_read).await?)
}

pub(super) fn trace_of(bytes: &[u8]) -> Result<TraceRequest, Refusal> {
    let request: TraceRequest = serde_json::from_slice(bytes)
        .map_err(|error| not_as("{\"client\": \"192.0.2.7\", \"seconds\": 30}", &error))?;
    let TraceRequest { seconds, count, .. } = request;
    if !(1..=MAX_TRACE_SECONDS).contains(&seconds) {
        return Err(bad(format!("seconds is {seconds}; it is a number from 1 to {MAX_TRACE_SECONDS}")));
    }
    if count == Some(0) {
        return Err(bad("count is 0; it is at least 1"));
    }
    Ok(request)
}

/// A misspelt `weight` must not mean the configured one, and serde cannot refuse unknown fields of a
/// flattened type; so the keys are looked at first.
pub(super) fn order_of(bytes: &[u8]) -> Result<OrderRequest, Refusal> {
    let fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| not_as(ORDER, &error))?;
    let is_weight = fields.get("order").is_some_and(|order| order == "weight");
    for key in fields.keys() {
        match key.as_str() {
            "service" | "server" | "order" | "by" => {}
            "weight" if is_weight => {}
            "weight" => return Err(bad("`weight` goes with the order `weight` only")),
            other => {
                return Err(bad(format!("unknown field `{other}`; known are: service, server, order, weight, by")));
            }
        }
    }
    if is_weight && !fields.contains_key("weight") {
        return Err(bad("the order `weight` needs `weight`: a number from 0 to 65535, or null for the configured one"));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| not_as(ORDER, &error))
}

fn not_as(example: &str, error: &serde_json::Error) -> Refusal {
    bad(format!("the body is not as in {example}: {error}"))
}

fn bad(error: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
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
            Err(bad(format!("the body could not be read: {cause}")))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}
