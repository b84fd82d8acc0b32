//! Clients that wait for events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_core::view::{Events, EventsQuery, MAX_WAIT_SECONDS, StopRequest};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::{Daemon, Limits, Script, event, send, status};
use crate::api::{ClientError, Request};

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const WAIT: &[u8] = b"GET /v1/events?wait=25 HTTP/1.1\r\nHost: lbd\r\n\r\n";

/// Replies that the control loop keeps until something happens.
#[derive(Clone, Default)]
struct Kept {
    replies: Arc<Mutex<Vec<oneshot::Sender<Events>>>>,
    came: Arc<Notify>,
}

impl Kept {
    fn daemon(&self, limits: Limits) -> Daemon {
        let Self { replies, came } = self.clone();
        let keep = move |request| match request {
            Request::Events { query, reply } if query.wait_seconds > 0 => {
                replies.lock().unwrap().push(reply);
                came.notify_one();
                None
            }
            other => Some(other),
        };
        Daemon::with(limits, Script::default(), Box::new(keep))
    }

    fn take(&self) -> oneshot::Sender<Events> {
        self.replies.lock().unwrap().pop().unwrap()
    }
}

fn waiting() -> EventsQuery {
    EventsQuery { wait_seconds: MAX_WAIT_SECONDS, ..EventsQuery::default() }
}

#[test]
fn the_longest_wait_fits_into_every_limit() {
    let limits = Limits::default();
    let longest = limits.reply + Duration::from_secs(MAX_WAIT_SECONDS.into());
    assert!(longest < limits.connection);
    assert!(limits.waiting < limits.connections);
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_something_happens() {
    let kept = Kept::default();
    // The control loop's time to answer does not count against the wait.
    let daemon = kept.daemon(Limits { reply: Duration::ZERO, ..Limits::default() });
    let client = daemon.client();
    let waiter = tokio::spawn(async move { client.events(&waiting()).await });
    timeout(PATIENCE, kept.came.notified()).await.unwrap();
    let events = Events { events: vec![event(9, "IMS1", "IMS1 of HL7 is up")], last: 9, oldest: 1 };
    send(kept.take(), events.clone());
    assert_eq!(timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap(), events);
}

#[tokio::test]
async fn a_client_that_leaves_holds_neither_a_place_nor_a_reply() {
    let kept = Kept::default();
    let daemon = kept.daemon(Limits { connections: 1, waiting: 1, ..Limits::default() });
    for _ in 0..3 {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        stream.write_all(WAIT).await.unwrap();
        timeout(PATIENCE, kept.came.notified()).await.unwrap();
        drop(stream);
        timeout(PATIENCE, kept.take().closed()).await.expect("the reply is still waited for");
    }
    assert_eq!(timeout(PATIENCE, daemon.client().status()).await.unwrap().unwrap(), status());
}

#[tokio::test]
async fn clients_that_wait_leave_places_for_the_others() {
    let kept = Kept::default();
    let daemon = kept.daemon(Limits { connections: 3, waiting: 2, ..Limits::default() });
    let mut waiters = Vec::new();
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        stream.write_all(WAIT).await.unwrap();
        timeout(PATIENCE, kept.came.notified()).await.unwrap();
        waiters.push(stream);
    }
    let answer = timeout(PATIENCE, daemon.raw(WAIT)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.ends_with("{\"error\":\"2 clients wait for events already; ask without `wait`\"}"), "{answer}");
    let at_once = EventsQuery::default();
    assert_eq!(timeout(PATIENCE, daemon.client().events(&at_once)).await.unwrap().unwrap().last, 8);
}

#[tokio::test]
async fn a_server_that_stops_sends_those_who_wait_away() {
    let kept = Kept::default();
    // With this limit the server would wait for them for longer than the test.
    let daemon = kept.daemon(Limits { stop: Duration::from_secs(3600), ..Limits::default() });
    let client = daemon.client();
    let waiter = tokio::spawn(async move { client.events(&waiting()).await });
    timeout(PATIENCE, kept.came.notified()).await.unwrap();
    daemon.client().stop(StopRequest::default()).await.unwrap();
    let error = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Stopping(sentence) if sentence == "lbd is stopping"), "{error}");
    timeout(PATIENCE, daemon.server).await.unwrap().unwrap();
}
