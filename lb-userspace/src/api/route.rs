//! From method, path and query to what is asked; a plain function.

use hyper::{Method, StatusCode};
use lb_core::view::{ConnectionsQuery, DoctorQuery, EventsQuery, ExplainQuery, PersistenceQuery, QueryError};

/// What a client asks for, understood but for the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Status,
    Connections(ConnectionsQuery),
    Persistence(PersistenceQuery),
    ClearPersistence(PersistenceQuery),
    Health,
    Certificates,
    Explain(ExplainQuery),
    Events(EventsQuery),
    Doctor(DoctorQuery),
    Metrics,
    Order,
    Trace,
    Reload,
    Confirm,
    Rollback,
    Stop,
    Upgrade,
    EffectiveConfig,
}

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// One sentence.
    pub(super) error: String,
    /// Methods that the path has, when the method was wrong (RFC 9110 §15.5.6).
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), allow: None }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// What the request line asks for.
pub(super) fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Call, Refusal> {
    let allowed = match path {
        "/v1/status" | "/v1/connections" | "/v1/explain" | "/v1/health" | "/v1/events" | "/v1/doctor"
        | "/v1/certificates" | "/v1/config" | "/metrics" => "GET",
        "/v1/persistence" => "GET, DELETE",
        "/v1/order" | "/v1/trace" | "/v1/reload" | "/v1/confirm" | "/v1/rollback" | "/v1/stop" | "/v1/upgrade" => {
            "POST"
        }
        _ => return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}"))),
    };
    let query = query.unwrap_or_default();
    let call = match (method.as_str(), path) {
        ("GET", "/v1/connections") => return Ok(Call::Connections(ConnectionsQuery::parse(query)?)),
        ("GET", "/v1/persistence") => return Ok(Call::Persistence(PersistenceQuery::parse(query)?)),
        ("DELETE", "/v1/persistence") => return Ok(Call::ClearPersistence(PersistenceQuery::parse(query)?)),
        ("GET", "/v1/explain") => return Ok(Call::Explain(ExplainQuery::parse(query)?)),
        ("GET", "/v1/events") => return Ok(Call::Events(EventsQuery::parse(query)?)),
        ("GET", "/v1/doctor") => return Ok(Call::Doctor(DoctorQuery::parse(query)?)),
        ("GET", "/v1/status") => Call::Status,
        ("GET", "/v1/health") => Call::Health,
        ("GET", "/v1/certificates") => Call::Certificates,
        ("GET", "/v1/config") => Call::EffectiveConfig,
        ("GET", "/metrics") => Call::Metrics,
        ("POST", "/v1/order") => Call::Order,
        ("POST", "/v1/trace") => Call::Trace,
        ("POST", "/v1/reload") => Call::Reload,
        ("POST", "/v1/confirm") => Call::Confirm,
        ("POST", "/v1/rollback") => Call::Rollback,
        ("POST", "/v1/stop") => Call::Stop,
        ("POST", "/v1/upgrade") => Call::Upgrade,
        _ => {
            let error = format!("{path} takes {allowed}, not {method}");
            return Err(Refusal { allow: Some(allowed), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error) });
        }
    };
    match query {
        "" => Ok(call),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("{path} takes no parameters"))),
    }
}
