//! `events --follow`, ended by the test instead of Ctrl-C.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_core::view::{Event, Events, EventsQuery, MAX_LIMIT, MAX_WAIT_SECONDS};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::api::tests::{Daemon, Directory, Script, event, send};
use crate::api::{Client, ClientError, Limits, Request};
use crate::cli::events::{Printer, follow};
use crate::cli::exit::Failure;

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn happened(id: u64) -> Event {
    event(id, "IMS1", &format!("event {id}"))
}

fn answer(ids: &[u64], oldest: u64, last: u64) -> Option<Events> {
    Some(Events { events: ids.iter().map(|id| happened(*id)).collect(), last, oldest })
}

struct Followed {
    out: String,
    err: String,
    asked: Vec<EventsQuery>,
    result: Result<(), Failure>,
}

/// Follows until the control loop has given all of `answers` and is asked once more. `None`: it does
/// not answer.
async fn followed(query: EventsQuery, answers: Vec<Option<Events>>, json: bool) -> Followed {
    let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let (seen, end) = (Arc::clone(&asked), Arc::clone(&over));
    let mut answers = VecDeque::from(answers);
    let mut held = Vec::new();
    let script = move |request| match request {
        Request::Events { query, reply } => {
            seen.lock().unwrap().push(query);
            match answers.pop_front() {
                Some(Some(events)) => send(reply, events),
                Some(None) => {}
                None => {
                    held.push(reply);
                    end.notify_one();
                }
            }
            None
        }
        other => Some(other),
    };
    let daemon = Daemon::with(Limits::default(), Script::default(), Box::new(script));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut printer = Printer { json, colour: false, out: &mut out };
    let client = daemon.client();
    let pause = Duration::from_millis(1);
    let following = follow(&client, query, &mut printer, &mut err, pause, async move { over.notified().await });
    let result = timeout(PATIENCE, following).await.expect("it does not end");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Followed { out: text(out), err: text(err), asked: asked.lock().unwrap().clone(), result }
}

fn ids(out: &str) -> Vec<u64> {
    out.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().id).collect()
}

#[tokio::test]
async fn what_happens_is_asked_for_once_and_waited_for() {
    let query = EventsQuery { service: Some("HL7".into()), limit: 2, ..EventsQuery::default() };
    let answers = vec![answer(&[4, 5], 1, 5), answer(&[], 1, 9), answer(&[10, 12], 1, 12)];
    let followed = followed(query.clone(), answers, true).await;
    followed.result.unwrap();
    assert_eq!((ids(&followed.out), followed.err.as_str()), (vec![4, 5, 10, 12], ""));
    let later =
        |after| EventsQuery { after: Some(after), limit: MAX_LIMIT, wait_seconds: MAX_WAIT_SECONDS, ..query.clone() };
    assert_eq!(followed.asked, [query.clone(), later(5), later(9), later(12)]);
}

#[tokio::test]
async fn a_restart_is_told_once_and_lived_through() {
    let answers = vec![answer(&[1], 1, 1), None, None, None, answer(&[2], 1, 2), None, answer(&[3], 1, 3)];
    let followed = followed(EventsQuery::default(), answers, true).await;
    followed.result.unwrap();
    assert_eq!(ids(&followed.out), [1, 2, 3]);
    let told: Vec<&str> = followed.err.lines().collect();
    let (away, back) = ("note: lbd does not answer; waiting for it", "note: lbd answers again");
    assert_eq!(told, [away, back, away, back]);
    let after: Vec<_> = followed.asked.iter().map(|query| query.after).collect();
    assert_eq!(after, [None, Some(1), Some(1), Some(1), Some(1), Some(2), Some(2), Some(3)]);
}

#[tokio::test]
async fn events_that_were_lost_are_told() {
    let answers = vec![answer(&[7], 1, 7), answer(&[9], 9, 9), answer(&[13], 13, 13), answer(&[14], 14, 14)];
    let followed = followed(EventsQuery::default(), answers, false).await;
    followed.result.unwrap();
    let told: Vec<&str> = followed.err.lines().collect();
    assert_eq!(
        told,
        [
            "note: 1 event made room for later ones and cannot be shown",
            "note: 3 events made room for later ones and cannot be shown",
        ]
    );
    assert_eq!(followed.out.lines().count(), 4);
    assert!(followed.out.ends_with("  warning  HL7/IMS1  event 14\n"), "{}", followed.out);
}

#[tokio::test]
async fn a_new_numbering_is_followed_from_its_beginning() {
    let answers = vec![answer(&[700], 600, 700), answer(&[], 1, 2), answer(&[1, 2], 1, 2)];
    let followed = followed(EventsQuery::default(), answers, true).await;
    followed.result.unwrap();
    assert_eq!(ids(&followed.out), [700, 1, 2]);
    assert!(followed.err.contains("numbered anew"), "{}", followed.err);
}

#[tokio::test]
async fn a_daemon_that_was_never_there_is_an_error() {
    let directory = Directory::new();
    let client = Client::new(&directory.socket());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut printer = Printer { json: false, colour: false, out: &mut out };
    let stop = std::future::pending();
    let ended = follow(&client, EventsQuery::default(), &mut printer, &mut err, Duration::ZERO, stop).await;
    assert!(matches!(ended, Err(Failure::Client(ClientError::NotRunning(_)))));
}
