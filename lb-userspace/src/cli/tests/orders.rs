//! `drain`, `halt`, `online` and `weight`.

use std::sync::{Arc, Mutex};

use clap::Parser;
use lb_core::view::{Order, OrderRequest, Status};

use super::{Cli, Exit, lbctl};
use crate::api::tests::{Daemon, Script, send};
use crate::api::{Limits, Request};
use crate::cli::render::tests::fixtures::{good_day, server};

fn overview() -> Status {
    let mut status = good_day();
    let up = lb_core::view::ServerState::Up;
    status.virtual_services[1].real_servers.push(server("broken", "172.26.11.102", None, up, "answers ping"));
    status
}

/// A daemon with the services of a good day, and the orders it got.
fn daemon() -> (Daemon, Arc<Mutex<Vec<OrderRequest>>>) {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&orders);
    let answer = move |request| match request {
        Request::Status { reply } => {
            send(reply, overview());
            None
        }
        Request::Order { request, reply } => {
            seen.lock().unwrap().push(request.clone());
            Some(Request::Order { request, reply })
        }
        other => Some(other),
    };
    (Daemon::with(Limits::default(), Script::default(), Box::new(answer)), orders)
}

#[tokio::test]
async fn each_command_is_an_order_with_a_name() {
    let (daemon, orders) = daemon();
    let cases: &[(&[&str], Order)] = &[
        (&["drain", "HL7/IMS1"], Order::Drain),
        (&["halt", "HL7/IMS1"], Order::Halt),
        (&["online", "HL7/IMS1"], Order::Online),
        (&["weight", "HL7/IMS1", "50"], Order::Weight { weight: Some(50) }),
        (&["weight", "HL7/IMS1", "0"], Order::Weight { weight: Some(0) }),
        (&["weight", "HL7/IMS1", "configured"], Order::Weight { weight: None }),
    ];
    for (arguments, order) in cases {
        let (exit, out, err) = lbctl(&daemon.socket, arguments).await;
        assert_eq!((exit, out.lines().count()), (Exit::Fine, 1), "{arguments:?}: {out}{err}");
        assert!(out.starts_with(&format!("{order:?} by ")), "{out}");
        assert_eq!(err, "warning: nobody is left to take new clients of HL7\n");
        let request = orders.lock().unwrap().pop().unwrap();
        assert_eq!((request.service.as_str(), request.server.as_str(), request.order), ("HL7", "IMS1", *order));
        assert!(request.by.is_some_and(|by| !by.is_empty()));
    }
}

#[tokio::test]
async fn a_slip_among_several_orders_nothing() {
    let (daemon, orders) = daemon();
    let (exit, out, err) = lbctl(&daemon.socket, &["halt", "HL7/IMS1", "HL7/IMS"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert_eq!(err, "error: nothing was ordered: there is no real server `HL7/IMS`; did you mean HL7/IMS1?\n");
    assert_eq!(*orders.lock().unwrap(), []);
}

#[tokio::test]
async fn each_of_several_is_reported_and_one_that_failed_is_a_failure() {
    let (daemon, orders) = daemon();
    let (exit, out, err) = lbctl(&daemon.socket, &["drain", "HL7/broken", "HL7/IMS1"]).await;
    assert_eq!((exit, out.lines().count()), (Exit::Failed, 1));
    assert!(err.contains("error: cannot write /var/lib/lb/orders.json: disk full\n"), "{err}");
    assert_eq!(orders.lock().unwrap().len(), 2, "the second was not tried");

    let (exit, out, err) = lbctl(&daemon.socket, &["drain", "--json", "HL7/broken", "HL7/IMS1"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, err.as_str()), (Exit::Failed, ""));
    assert_eq!(json["orders"][0]["error"], "cannot write /var/lib/lb/orders.json: disk full");
    assert_eq!(json["orders"][0]["order"], serde_json::Value::Null);
    assert_eq!(json["orders"][1]["order"]["state"], "draining");
    assert_eq!(json["orders"][1]["server"], "IMS1");
}

#[test]
fn orders_that_are_not_understood_are_usage() {
    let cases: &[&[&str]] = &[
        &["drain"],
        &["weight", "HL7/IMS1"],
        &["weight", "HL7/IMS1", "much"],
        &["weight", "HL7/IMS1", "65536"],
        &["weight", "HL7/IMS1", "50", "--wait"],
        &["drain", "HL7/IMS1", "--timeout", "10m"],
        &["drain", "HL7/IMS1", "--wait", "--timeout", "soon"],
    ];
    for arguments in cases {
        let error = Cli::try_parse_from(["lbctl"].iter().chain(*arguments)).unwrap_err();
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{arguments:?}");
    }
    for arguments in [
        &["drain", "A/x", "B/x", "--wait", "--timeout", "10m", "--json"] as &[&str],
        &["weight", "A/x", "B/x", "50", "--json"],
    ] {
        Cli::try_parse_from(["lbctl"].iter().chain(arguments)).unwrap();
    }
}
