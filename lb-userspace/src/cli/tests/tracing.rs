//! `lbctl trace`, with a control loop that gives it lines.

use std::time::Duration;

use clap::Parser;
use lb_core::view::{CounterAction, Frame, Network, TraceEnd, TraceLine, TraceRequest, TracedFrame};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::api::tests::{Daemon, Script, send};
use crate::api::{Client, ClientError, Limits, Request};
use crate::cli::Cli;
use crate::cli::exit::Failure;
use crate::cli::trace::follow;

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn client() -> Network {
    "192.0.2.7".parse().unwrap()
}

fn begin() -> TraceLine {
    TraceLine::Begin { client: client(), interfaces: vec!["eth0".into(), "eth1".into()], seconds: 60 }
}

fn frame() -> TraceLine {
    TraceLine::Frame(Box::new(TracedFrame {
        at_ms: 1_795_230_729_042,
        interface: "eth0\x1b[2J".into(),
        frame: Frame {
            length: 74,
            protocol: "tcp".into(),
            source: Some("192.0.2.7".parse().unwrap()),
            destination: Some("10.0.0.100".parse().unwrap()),
            source_port: Some(5000),
            destination_port: Some(81),
            ..Frame::default()
        },
        verdict: CounterAction::Pass,
        reason: "no-service".into(),
        service: None,
        server: None,
        leaves: None,
    }))
}

fn end(why: TraceEnd, not_shown: u64) -> TraceLine {
    TraceLine::End { why, frames: 1, not_shown }
}

/// What is printed of these lines, to both outputs, and how it ends. Without a last line the daemon goes.
async fn followed(lines: Vec<TraceLine>, json: bool) -> (String, String, Result<(), Failure>) {
    let give = move |request| match request {
        Request::Trace { reply, .. } => {
            let (sender, receiver) = mpsc::channel(16);
            lines.iter().for_each(|line| sender.try_send(line.clone()).unwrap());
            send(reply, Ok(receiver));
            None
        }
        other => Some(other),
    };
    let daemon = Daemon::with(Limits::default(), Script::default(), Box::new(give));
    let request = TraceRequest { client: client(), seconds: 60, count: None, by: None };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let client = daemon.client();
    let following = follow(&client, &request, json, &mut out, &mut err, std::future::pending());
    let result = timeout(PATIENCE, following).await.expect("it does not end");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(err), result)
}

#[tokio::test]
async fn frames_go_to_the_output_and_remarks_beside_it() {
    let lines = vec![begin(), frame(), TraceLine::NotShown { frames: 12 }, end(TraceEnd::Count, 12)];
    let (out, err, result) = followed(lines, false).await;
    result.unwrap();
    // The hour is that of this machine's zone; what could command a terminal is gone.
    let told = "42 eth0\u{fffd}[2J  192.0.2.7:5000 -> 10.0.0.100:81 tcp 74 B  pass no-service\n";
    assert!(out.ends_with(&format!("{}{told}", ".0")), "{out:?}");
    assert_eq!(out.lines().count(), 1);
    assert_eq!(
        err,
        "note: tracing 192.0.2.7 on eth0, eth1 for 60 s; Ctrl-C ends it\n\
         note: 12 frames not shown: too many at once\n\
         note: 1 frame shown, 12 not\n"
    );
}

#[tokio::test]
async fn json_is_every_line_as_it_is_and_nothing_beside_it() {
    let lines = vec![begin(), frame(), TraceLine::NotShown { frames: 12 }, end(TraceEnd::Time, 0)];
    let (out, err, result) = followed(lines.clone(), true).await;
    result.unwrap();
    let printed: Vec<TraceLine> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((printed, err.as_str()), (lines, ""));
}

#[tokio::test]
async fn a_trace_that_lbd_ends_is_a_failure_and_says_why() {
    for (lines, expected) in [
        (vec![begin(), end(TraceEnd::Stopping, 0)], "the trace ended early: lbd is stopping"),
        (vec![begin(), end(TraceEnd::Failed, 0)], "the trace ended early; `journalctl -u lbd` says why"),
        (
            vec![begin(), frame()],
            "lbd broke off before it had answered: the lines of the trace ended without a last one",
        ),
    ] {
        let (_, _, result) = followed(lines, false).await;
        let failure = result.unwrap_err().to_string();
        assert!(failure.starts_with(expected), "{failure}");
    }
}

#[tokio::test]
async fn whoever_has_seen_enough_ends_it_without_an_error() {
    let give = |request| match request {
        // The answer goes on for ever: nobody fills the channel, and nobody closes it.
        Request::Trace { reply, .. } => {
            let (sender, receiver) = mpsc::channel(1);
            send(reply, Ok(receiver));
            tokio::spawn(async move { sender.closed().await });
            None
        }
        other => Some(other),
    };
    let daemon = Daemon::with(Limits::default(), Script::default(), Box::new(give));
    let request = TraceRequest { client: client(), seconds: 60, count: None, by: None };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stop = tokio::time::sleep(Duration::from_millis(1));
    let client = daemon.client();
    let ended = timeout(PATIENCE, follow(&client, &request, false, &mut out, &mut err, stop)).await;
    ended.expect("it does not end").unwrap();
    let nobody = Client::new(std::path::Path::new("/nonexistent/lbd.sock"));
    let never = std::future::pending();
    let failed = follow(&nobody, &request, false, &mut out, &mut err, never).await.unwrap_err();
    assert!(matches!(failed, Failure::Client(ClientError::NotRunning(_))), "{failed}");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (arguments, expected) in [
        (&["trace"][..], "<CLIENT>"),
        (&["trace", "web"], "`web` is not an address"),
        (&["trace", "192.0.2.0/33"], "no valid prefix length"),
        (&["trace", "192.0.2.7", "--for", "2h"], "a trace lasts from 1s to 60m"),
        (&["trace", "192.0.2.7", "--for", "100ms"], "a trace lasts from 1s to 60m"),
        (&["trace", "192.0.2.7", "--count", "0"], "--count"),
    ] {
        let refused = Cli::try_parse_from([&["lbctl"], arguments].concat()).unwrap_err().to_string();
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
    Cli::try_parse_from(["lbctl", "trace", "2001:db8::/64", "--for", "10m", "--count", "7", "--json"]).unwrap();
}
