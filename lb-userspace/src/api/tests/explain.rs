//! The question where a client would go, as it is asked over the API.

use hyper::{Method, StatusCode};
use lb_core::view::{CounterAction, ExplainQuery, Explained, NextHop, Step, StepKind, Transport};

use super::{Daemon, Limits, Script};
use crate::api::ClientError;
use crate::api::route::{Call, route};

/// A service on every port but 1, where the datapath cannot be asked.
pub(crate) fn explained(query: &ExplainQuery) -> Result<Explained, String> {
    if query.vip.0.port() == 1 {
        return Err("the datapath cannot be asked: reading table explanation: permission denied".into());
    }
    let step = |about, sentence: &str| Step { about, sentence: sentence.into() };
    Ok(Explained {
        client: std::net::SocketAddr::new(query.client.address, query.client.port.unwrap_or(50_000)),
        vip: query.vip.0,
        protocol: query.protocol.unwrap_or(Transport::Tcp),
        action: CounterAction::Forward,
        reason: "scheduled".into(),
        virtual_service: Some("HL7".into()),
        real_server: Some("IMS1".into()),
        real_server_address: Some("10.11.20.1".parse().unwrap()),
        next_hop: Some(NextHop { device: "eth0".into(), mac: "02:00:00:00:00:01".into(), gateway: None }),
        steps: vec![
            step(StepKind::Service, "10.0.0.100:80/tcp is virtual service HL7 (l4-dr, weighted-least-connection)"),
            step(StepKind::Flow, "no flow is remembered from 10.1.2.3:50000"),
            step(
                StepKind::Scheduler,
                "weighted least connection compares IMS1 (12 connections, weight 100) and IMS2 (13 connections, weight \
                 100): IMS1 has the fewest for its weight",
            ),
            step(StepKind::Others, "IMS3 is not asked: it is halted by alice"),
            step(StepKind::Others, "IMS4 is not asked: its weight is 0\u{1b}[2J"),
            step(StepKind::Answer, "it goes to IMS1, 10.11.20.1, by eth0"),
        ],
    })
}

fn query(text: &str) -> ExplainQuery {
    ExplainQuery::parse(text).unwrap()
}

#[test]
fn the_question_is_in_the_request_line() {
    let text = "client=10.1.2.3&vip=10.0.0.100%3A80&protocol=udp";
    assert_eq!(route(&Method::GET, "/v1/explain", Some(text)), Ok(Call::Explain(query(text))));
    let missing = route(&Method::GET, "/v1/explain", None).unwrap_err();
    assert_eq!((missing.status, missing.error.as_str()), (StatusCode::BAD_REQUEST, "parameter `client` is missing"));
    let posted = route(&Method::POST, "/v1/explain", Some(text)).unwrap_err();
    assert_eq!(posted.error, "/v1/explain takes GET, not POST");
}

#[tokio::test]
async fn a_question_gets_its_answer_or_the_reason_why_there_is_none() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    for text in ["client=10.1.2.3&vip=10.0.0.100:80", "client=[2001:db8::7]:5&vip=[2001:db8::1]:80&protocol=udp"] {
        assert_eq!(daemon.client().explain(&query(text)).await.unwrap(), explained(&query(text)).unwrap());
    }
    let refused = daemon.client().explain(&query("client=10.1.2.3&vip=10.0.0.100:1")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
    assert_eq!(refused.to_string(), "the datapath cannot be asked: reading table explanation: permission denied");
}
