//! Names, judgements, and waits against a real API whose control loop says what the test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_core::view::{Administration, AdministrativeState, Order, ServerState, Status};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::target::{Target, find};
use super::wait::{Goal, Judged, Pace, judge};
use super::{Args, Share, order_and_wait, share};
use crate::api::tests::{Daemon, Script, send};
use crate::api::{Limits, Request};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Terminal;
use crate::cli::render::tests::fixtures::good_day;

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// IMS1 of HL7 as ordered, on an otherwise good day.
fn hl7(ordered: AdministrativeState, state: ServerState, connections: u64, clients: u64) -> Status {
    let mut status = good_day();
    let server = &mut status.virtual_services[1].real_servers[0];
    (server.state, server.connections, server.persistent_clients) = (state, connections, clients);
    server.reason = "connection refused".into();
    server.administration = Some(Administration { state: ordered, weight: None, by: "alice".into(), at: 0 });
    status
}

fn drained(connections: u64, clients: u64) -> Status {
    hl7(AdministrativeState::Drained, ServerState::Draining, connections, clients)
}

fn target(state: ServerState) -> Target {
    Target { service: "HL7".into(), server: "IMS1".into(), state }
}

#[test]
fn a_name_is_a_service_and_a_server() {
    let mut status = good_day();
    let servers = |typed: &[&str], status: &Status| {
        let typed: Vec<String> = typed.iter().map(|&name| name.to_owned()).collect();
        find(&typed, status).map(|found| found.iter().map(Target::name).collect::<Vec<_>>())
    };
    assert_eq!(servers(&["HL7/IMS1"], &status).unwrap(), ["HL7/IMS1"]);
    let twice = ["Harmonic_Traffic/HT2", "HL7/IMS1", "Harmonic_Traffic/HT2"];
    assert_eq!(servers(&twice, &status).unwrap(), ["Harmonic_Traffic/HT2", "HL7/IMS1"]);

    let unknown = [
        ("hl7/ims1", "there is no real server `hl7/ims1`; did you mean HL7/IMS1?"),
        ("Harmonic_Trafic/HT1", "there is no real server `Harmonic_Trafic/HT1`; did you mean Harmonic_Traffic/HT1?"),
        ("HT1", "`HT1` is the name of a real server; write its virtual service too: Harmonic_Traffic/HT1"),
        ("HL7", "`HL7` is a virtual service; name one of its real servers: HL7/IMS1"),
        (
            "Harmonic_Traffic/tomorrow-morning",
            "`Harmonic_Traffic` has no such real server; it has Harmonic_Traffic/HT1, Harmonic_Traffic/HT2",
        ),
        ("HL7/*", "`HL7` has no such real server; it has HL7/IMS1"),
        ("*", "there is no real server `*`; `lbctl status` lists them"),
        ("", "there is no real server ``; `lbctl status` lists them"),
    ];
    for (typed, sentence) in unknown {
        assert_eq!(servers(&[typed], &status).unwrap_err(), format!("nothing was ordered: {sentence}"));
    }
    let both = servers(&["HL7", "HT1", "HL7/IMS1"], &status).unwrap_err();
    assert!(both.contains("`HL7` is a virtual service") && both.contains("`HT1` is the name"), "{both}");

    status.virtual_services[0].name = "a/b".into();
    status.virtual_services[0].real_servers[0].name = "c/d".into();
    assert_eq!(servers(&["a/b/c/d", "a/b/HT2"], &status).unwrap(), ["a/b/c/d", "a/b/HT2"]);
}

#[test]
fn a_weight_is_a_number_or_the_configured_one() {
    assert_eq!((share("0"), share("65535")), (Ok(Share(Some(0))), Ok(Share(Some(65_535)))));
    assert_eq!(share("configured"), Ok(Share(None)));
    for text in ["", "-1", "65536", "half", "1.5", "Configured"] {
        assert!(share(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_waited_for_is_known_when_it_is_seen() {
    use AdministrativeState::{Drained, Halted, Online};
    use ServerState::{Checking, Down, Draining, Up};
    let gone = "HL7/IMS1 went down, and its clients with it: connection refused";
    // Goal, state before the order, the overview, whether it was reached (None: not yet), and how.
    let cases = [
        (Goal::Drained, Up, drained(14, 3), None, "HL7/IMS1: 14 connections and 3 persistent clients left"),
        (Goal::Drained, Up, drained(1, 0), None, "HL7/IMS1: 1 connection left"),
        (Goal::Drained, Up, drained(0, 1), None, "HL7/IMS1: 1 persistent client left"),
        (
            Goal::Drained,
            Up,
            drained(0, 0),
            Some(true),
            "HL7/IMS1 is drained: no connection and no persistent client is left",
        ),
        (Goal::Drained, Up, hl7(Drained, Down, 0, 0), Some(false), gone),
        (Goal::Drained, Checking, hl7(Drained, Down, 0, 0), Some(false), gone),
        (Goal::Drained, Down, hl7(Drained, Down, 0, 0), Some(true), "HL7/IMS1 was down already; nobody is left"),
        (Goal::Drained, Up, hl7(Halted, ServerState::Halted, 0, 0), Some(false), "HL7/IMS1 was halted by alice"),
        (Goal::Drained, Up, hl7(Online, Up, 0, 0), Some(false), "HL7/IMS1 was brought online by alice"),
        (Goal::Drained, Up, good_day(), Some(false), "HL7/IMS1 was brought online meanwhile"),
        (Goal::Halted, Up, hl7(Halted, ServerState::Halted, 2, 9), None, "HL7/IMS1: 2 connections left"),
        (
            Goal::Halted,
            Up,
            hl7(Halted, ServerState::Halted, 0, 9),
            Some(true),
            "HL7/IMS1 is halted: no connection is left",
        ),
        (Goal::Halted, Up, hl7(Halted, Down, 0, 0), Some(true), "HL7/IMS1 is halted: no connection is left"),
        (Goal::Halted, Up, drained(0, 0), Some(false), "HL7/IMS1 was drained by alice"),
        (Goal::Online, Draining, good_day(), Some(true), "HL7/IMS1 is up"),
        (Goal::Online, Draining, hl7(Online, Up, 0, 0), Some(true), "HL7/IMS1 is up"),
        (Goal::Online, Draining, hl7(Online, Down, 0, 0), None, "HL7/IMS1 is down: connection refused"),
        (Goal::Online, Draining, hl7(Online, Checking, 0, 0), None, "HL7/IMS1 is checking: connection refused"),
        (Goal::Online, Draining, drained(0, 0), Some(false), "HL7/IMS1 was drained by alice"),
    ];
    for (goal, before, status, reached, sentence) in cases {
        let said = match judge(goal, &target(before), &status) {
            Judged::Waiting(text) => (None, text),
            Judged::Ended(waited) => (Some(waited.reached), waited.sentence),
        };
        assert_eq!(said, (reached, sentence.to_owned()), "{goal:?}");
    }
    let mut status = drained(3, 0);
    status.virtual_services.remove(1);
    let Judged::Ended(waited) = judge(Goal::Drained, &target(Up), &status) else { panic!("it waits for ever") };
    assert_eq!((waited.reached, waited.sentence.as_str()), (false, "HL7/IMS1 is not configured any more"));
}

/// Gives one overview after another, the last one again and again. `None`: lbd does not answer.
fn daemon(overviews: Vec<Option<Status>>) -> (Daemon, Arc<Mutex<Vec<Order>>>) {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&orders);
    let mut at = 0;
    let answer = move |request| match request {
        Request::Status { reply } => {
            let overview = overviews.get(at).or(overviews.last()).cloned().flatten();
            at += 1;
            if let Some(overview) = overview {
                send(reply, overview);
            }
            None
        }
        Request::Order { request, reply } => {
            seen.lock().unwrap().push(request.order);
            Some(Request::Order { request, reply })
        }
        other => Some(other),
    };
    (Daemon::with(Limits::default(), Script::default(), Box::new(answer)), orders)
}

struct Ended {
    exit: Exit,
    out: String,
    err: String,
}

fn a_pipe() -> Terminal {
    Terminal { width: usize::MAX, height: None, colour: false }
}

async fn wait(order: Order, daemon: &Daemon, shown: Option<Terminal>, stop: impl Future<Output = ()>) -> Ended {
    wait_at(order, daemon, shown, stop, Pace { interval: Duration::from_millis(1), timeout: None }).await
}

async fn wait_at(
    order: Order,
    daemon: &Daemon,
    shown: Option<Terminal>,
    stop: impl Future<Output = ()>,
    pace: Pace,
) -> Ended {
    let args = Args { servers: vec!["HL7/IMS1".into()], wait: true, timeout: None, json: shown.is_none() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let goal = Goal::of(order).unwrap();
    let client = daemon.client();
    let waiting = order_and_wait(&args, goal, order, &client, shown, pace, stop, &mut out, &mut err);
    let result = timeout(PATIENCE, waiting).await.expect("the wait does not end");
    let exit = match result {
        Ok(()) => Exit::Fine,
        Err(failure) => failure.report(&mut err),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { exit, out: text(out), err: text(err) }
}

#[tokio::test]
async fn a_drain_is_followed_until_nobody_is_left() {
    let overviews = [good_day(), drained(2, 1), drained(2, 1), drained(1, 1), drained(0, 1), drained(0, 0)];
    let (daemon, orders) = daemon(overviews.into_iter().map(Some).collect());
    let ended = wait(Order::Drain, &daemon, Some(a_pipe()), std::future::pending()).await;
    assert_eq!(ended.exit, Exit::Fine, "{}", ended.err);
    let lines: Vec<&str> = ended.out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "HL7/IMS1: 2 connections and 1 persistent client left",
            "HL7/IMS1: 1 connection and 1 persistent client left",
            "HL7/IMS1: 1 persistent client left",
            "HL7/IMS1 is drained: no connection and no persistent client is left.",
        ]
    );
    assert_eq!(*orders.lock().unwrap(), [Order::Drain]);
}

#[tokio::test]
async fn on_a_terminal_progress_is_one_line() {
    let (daemon, _) = daemon([good_day(), drained(1_204, 0), drained(3, 0), drained(0, 0)].map(Some).into());
    let terminal = Terminal { width: 24, height: Some(24), colour: true };
    let ended = wait(Order::Drain, &daemon, Some(terminal), std::future::pending()).await;
    let (_, progress) = ended.out.split_once('\n').unwrap();
    assert_eq!(
        progress,
        "\rHL7/IMS1: 1,204 connect\x1b[K\rHL7/IMS1: 3 connections\x1b[K\r\x1b[KHL7/IMS1 is drained: no connection and \
         no persistent client is left.\n"
    );
}

#[tokio::test]
async fn a_drain_that_someone_else_ends_is_a_failure() {
    let online = hl7(AdministrativeState::Online, ServerState::Up, 9, 0);
    let (daemon, _) = daemon([good_day(), drained(9, 0), online].map(Some).into());
    let ended = wait(Order::Drain, &daemon, Some(a_pipe()), std::future::pending()).await;
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.out.ends_with("HL7/IMS1 was brought online by alice.\n"), "{}", ended.out);
}

#[tokio::test]
async fn an_interrupted_wait_leaves_the_drain_in_force_and_says_so() {
    let (daemon, orders) = daemon([good_day(), drained(9, 0)].map(Some).into());
    let seen = Arc::new(Notify::new());
    let stop = Arc::clone(&seen);
    // Some polls later; how many does not matter.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen.notify_one();
    });
    let ended = wait(Order::Drain, &daemon, Some(a_pipe()), async move { stop.notified().await }).await;
    assert_eq!(ended.exit, Exit::Failed);
    let last = ended.out.lines().last().unwrap();
    assert!(last.starts_with("interrupted"), "{last}");
    assert!(last.ends_with("HL7/IMS1 stays drained; `lbctl online HL7/IMS1` brings it back."), "{last}");
    assert_eq!(*orders.lock().unwrap(), [Order::Drain], "Ctrl-C ordered something");
}

#[tokio::test]
async fn a_wait_that_takes_too_long_ends_with_the_reason() {
    let down = hl7(AdministrativeState::Online, ServerState::Down, 0, 0);
    let (daemon, _) = daemon([good_day(), down].map(Some).into());
    let pace = Pace { interval: Duration::from_millis(1), timeout: Some(Duration::ZERO) };
    let ended = wait_at(Order::Online, &daemon, Some(a_pipe()), std::future::pending(), pace).await;
    assert_eq!(ended.exit, Exit::Failed);
    assert!(
        ended.out.ends_with(
            "still waiting after 0s (HL7/IMS1 is down: connection refused); HL7/IMS1 is online as soon as its check \
             succeeds.\n"
        ),
        "{}",
        ended.out
    );
}

#[tokio::test]
async fn a_wait_outlives_the_daemon_and_says_once_that_it_does() {
    let (daemon, _) = daemon(vec![Some(good_day()), Some(drained(1, 0)), None, None, None, Some(drained(0, 0))]);
    let ended = wait(Order::Drain, &daemon, Some(a_pipe()), std::future::pending()).await;
    assert_eq!(ended.exit, Exit::Fine);
    assert_eq!(ended.err.matches("the wait goes on").count(), 1, "{}", ended.err);
}

#[tokio::test]
async fn json_is_one_document_with_the_end_of_the_wait() {
    let (daemon, _) = daemon([good_day(), drained(1, 0), drained(0, 0)].map(Some).into());
    let ended = wait(Order::Drain, &daemon, None, std::future::pending()).await;
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["orders"][0]["order"]["connections"], 14);
    assert_eq!(json["orders"][0]["error"], serde_json::Value::Null);
    assert_eq!(json["orders"][0]["wait"]["reached"], true);
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Fine, ""));
}

#[tokio::test]
async fn nobody_who_may_not_ask_waits() {
    let (daemon, _) = daemon(vec![Some(good_day())]);
    std::fs::remove_file(&daemon.socket).unwrap();
    std::fs::create_dir(&daemon.socket).unwrap();
    let ended = wait(Order::Drain, &daemon, Some(a_pipe()), std::future::pending()).await;
    assert!(matches!(ended.exit, Exit::Unreachable), "{}", ended.err);
}

#[test]
fn what_was_said_is_not_said_again() {
    let mut err = Vec::new();
    assert_eq!(Failure::Said.report(&mut err), Exit::Failed);
    assert!(err.is_empty());
}
