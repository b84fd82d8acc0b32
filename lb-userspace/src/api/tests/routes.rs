//! The routing table, as a function.

use hyper::{Method, StatusCode};
use lb_core::view::{ConnectionsQuery, DoctorQuery, EventsQuery, PersistenceQuery};

use crate::api::route::{Call, route};

#[test]
fn every_path_has_its_methods() {
    let connections = ConnectionsQuery { limit: 5, ..ConnectionsQuery::default() };
    let persistence = PersistenceQuery { service: Some("a b".into()), ..PersistenceQuery::default() };
    let events = EventsQuery { after: Some(3), wait_seconds: 25, ..EventsQuery::default() };
    let cases = [
        (Method::GET, "/v1/status", None, Call::Status),
        (Method::GET, "/v1/status", Some(""), Call::Status),
        (Method::GET, "/v1/connections", None, Call::Connections(ConnectionsQuery::default())),
        (Method::GET, "/v1/connections", Some("limit=5"), Call::Connections(connections)),
        (Method::GET, "/v1/persistence", Some("service=a+b"), Call::Persistence(persistence.clone())),
        (Method::DELETE, "/v1/persistence", Some("service=a%20b"), Call::ClearPersistence(persistence)),
        (Method::POST, "/v1/reload", None, Call::Reload),
        (Method::POST, "/v1/stop", None, Call::Stop),
        (Method::GET, "/v1/config", None, Call::EffectiveConfig),
        (Method::GET, "/v1/health", None, Call::Health),
        (Method::GET, "/v1/certificates", None, Call::Certificates),
        (Method::GET, "/v1/events", None, Call::Events(EventsQuery::default())),
        (Method::GET, "/v1/events", Some("after=3&wait=25"), Call::Events(events)),
        (Method::GET, "/v1/doctor", None, Call::Doctor(DoctorQuery::default())),
        (Method::GET, "/v1/doctor", Some("service=a+b"), Call::Doctor(DoctorQuery { service: Some("a b".into()) })),
        (Method::GET, "/metrics", None, Call::Metrics),
        (Method::POST, "/v1/order", None, Call::Order),
        (Method::POST, "/v1/trace", None, Call::Trace),
        (Method::POST, "/v1/confirm", None, Call::Confirm),
        (Method::POST, "/v1/rollback", None, Call::Rollback),
    ];
    for (method, path, query, call) in cases {
        assert_eq!(route(&method, path, query), Ok(call), "{method} {path} {query:?}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (Method::GET, "/", None, StatusCode::NOT_FOUND, "there is nothing at /"),
        (Method::GET, "/v1/status/", None, StatusCode::NOT_FOUND, "there is nothing at /v1/status/"),
        (Method::GET, "/v2/status", None, StatusCode::NOT_FOUND, "there is nothing at /v2/status"),
        (
            Method::GET,
            "/v1/doctor",
            Some("server=HT1"),
            StatusCode::BAD_REQUEST,
            "unknown parameter `server`; known are: service",
        ),
        (Method::POST, "/v1/status", None, StatusCode::METHOD_NOT_ALLOWED, "/v1/status takes GET, not POST"),
        (
            Method::PUT,
            "/v1/persistence",
            None,
            StatusCode::METHOD_NOT_ALLOWED,
            "/v1/persistence takes GET, DELETE, not PUT",
        ),
        (Method::GET, "/v1/order", None, StatusCode::METHOD_NOT_ALLOWED, "/v1/order takes POST, not GET"),
        (Method::POST, "/metrics", None, StatusCode::METHOD_NOT_ALLOWED, "/metrics takes GET, not POST"),
        (Method::POST, "/v1/confirm", Some("a"), StatusCode::BAD_REQUEST, "/v1/confirm takes no parameters"),
        (Method::GET, "/v1/stop", None, StatusCode::METHOD_NOT_ALLOWED, "/v1/stop takes POST, not GET"),
        (Method::GET, "/v1/status", Some("a=b"), StatusCode::BAD_REQUEST, "/v1/status takes no parameters"),
        (
            Method::DELETE,
            "/v1/persistence",
            Some("clinet=10.0.0.1"),
            StatusCode::BAD_REQUEST,
            "unknown parameter `clinet`; known are: service, server, client, limit",
        ),
    ];
    for (method, path, query, status, error) in cases {
        let refusal = route(&method, path, query).unwrap_err();
        assert_eq!((refusal.status, refusal.error.as_str()), (status, error));
        assert_eq!(refusal.allow.is_some(), status == StatusCode::METHOD_NOT_ALLOWED);
    }
}
