//! Orders about real servers.

use hyper::StatusCode;
use lb_core::view::{Order, OrderRequest};
use nix::unistd::{Uid, User};

use super::{Daemon, Limits, Script};
use crate::api::body::order_of;

fn daemon() -> Daemon {
    Daemon::start(Script::default(), Limits::default())
}

fn request(server: &str, order: Order, by: Option<&str>) -> OrderRequest {
    OrderRequest { service: "HL7".into(), server: server.into(), order, by: by.map(str::to_owned) }
}

#[tokio::test]
async fn an_order_arrives_with_who_gave_it() {
    let daemon = daemon();
    let uid = Uid::current();
    let login = User::from_uid(uid).unwrap().map_or_else(|| format!("uid {uid}"), |user| user.name);
    let cases = [
        (Order::Drain, Some("mallory\n\u{202e}"), format!("Drain by mallory (uid {uid})")),
        (Order::Halt, Some(login.as_str()), format!("Halt by {login}")),
        (Order::Online, Some(" \t"), format!("Online by {login}")),
        (Order::Weight { weight: Some(7) }, None, format!("Weight {{ weight: Some(7) }} by {login}")),
        (Order::Weight { weight: None }, None, format!("Weight {{ weight: None }} by {login}")),
    ];
    for (order, by, sentence) in cases {
        let report = daemon.client().order(&request("IMS1", order, by)).await.unwrap();
        assert_eq!((report.sentence, report.connections, report.warnings.len()), (sentence, 14, 1));
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_carried_out_says_why() {
    let daemon = daemon();
    let cases = [
        ("IMS9", "404", "HL7 has no real server IMS9"),
        ("broken", "500", "cannot write /var/lib/lb/orders.json: disk full"),
    ];
    for (server, status, sentence) in cases {
        let order = request(server, Order::Drain, None);
        assert_eq!(daemon.client().order(&order).await.unwrap_err().to_string(), sentence);
        let body = serde_json::to_string(&order).unwrap();
        let raw = format!("POST /v1/order HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = daemon.raw(raw.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[test]
fn an_order_means_what_it_says_or_nothing() {
    let valid = [
        (r#"{"service": "a", "server": "b", "order": "drain"}"#, Order::Drain),
        (r#"{"service": "a", "server": "b", "order": "weight", "weight": 0}"#, Order::Weight { weight: Some(0) }),
        (r#"{"weight": null, "order": "weight", "server": "b", "service": "a"}"#, Order::Weight { weight: None }),
    ];
    for (text, order) in valid {
        assert_eq!(order_of(text.as_bytes()).unwrap().order, order, "{text}");
    }
    let refused = [
        ("", "the body is not as in"),
        ("[]", "the body is not as in"),
        (r#"{"service": "a", "server": "b"}"#, "missing field `order`"),
        (r#"{"service": "a", "server": "b", "order": "explode"}"#, "unknown variant `explode`"),
        (r#"{"service": "a", "order": "drain"}"#, "missing field `server`"),
        (r#"{"service": 1, "server": "b", "order": "drain"}"#, "expected a string"),
        (r#"{"service": "a", "server": "b", "order": "weight"}"#, "the order `weight` needs `weight`"),
        (r#"{"service": "a", "server": "b", "order": "weight", "wieght": 5}"#, "unknown field `wieght`"),
        (r#"{"service": "a", "server": "b", "order": "weight", "weight": 65536}"#, "65536"),
        (r#"{"service": "a", "server": "b", "order": "weight", "weight": -1}"#, "-1"),
        (r#"{"service": "a", "server": "b", "order": "drain", "weight": 5}"#, "`weight` goes with the order"),
    ];
    for (text, sentence) in refused {
        let refusal = order_of(text.as_bytes()).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{text}");
        assert!(refusal.error.contains(sentence), "{text}: {}", refusal.error);
    }
}
