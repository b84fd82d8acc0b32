//! Answers that go on: the lines of a trace.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_core::view::{TraceEnd, TraceLine, TraceRequest};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::{Daemon, Limits, Script, raw, send};
use crate::api::body::trace_of;
use crate::api::{ClientError, Request};

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was asked for, and where lines go in.
type Asked = (TraceRequest, mpsc::Sender<TraceLine>);

/// A control loop that gives lines to whoever asks, and keeps the other end.
#[derive(Clone, Default)]
struct Given {
    ends: Arc<Mutex<Vec<Asked>>>,
    came: Arc<Notify>,
}

impl Given {
    fn daemon(&self, limits: Limits) -> Daemon {
        let Self { ends, came } = self.clone();
        let give = move |request| match request {
            Request::Trace { request, reply } => {
                let (sender, lines) = mpsc::channel(4);
                ends.lock().unwrap().push((request, sender));
                send(reply, Ok(lines));
                came.notify_one();
                None
            }
            other => Some(other),
        };
        Daemon::with(limits, Script::default(), Box::new(give))
    }

    async fn take(&self) -> Asked {
        timeout(PATIENCE, self.came.notified()).await.unwrap();
        self.ends.lock().unwrap().pop().unwrap()
    }
}

fn request() -> TraceRequest {
    TraceRequest { client: "192.0.2.0/24".parse().unwrap(), seconds: 30, count: Some(7), by: Some("alice".into()) }
}

fn end() -> TraceLine {
    TraceLine::End { why: TraceEnd::Time, frames: 1, not_shown: 12 }
}

#[tokio::test]
async fn lines_arrive_as_they_are_given_and_the_answer_ends_with_them() {
    let given = Given::default();
    let daemon = given.daemon(Limits::default());
    let mut lines = daemon.client().trace(&request()).await.unwrap();
    let (asked, sender) = given.take().await;
    assert_eq!((asked.client, asked.seconds, asked.count), (request().client, 30, Some(7)));
    assert!(asked.by.as_ref().is_some_and(|by| by.starts_with("alice")), "{:?}", asked.by);
    for frames in 1..=20 {
        let line = TraceLine::NotShown { frames };
        sender.send(line.clone()).await.unwrap();
        assert_eq!(timeout(PATIENCE, lines.next()).await.unwrap().unwrap(), Some(line));
    }
    sender.send(end()).await.unwrap();
    drop(sender);
    assert_eq!(timeout(PATIENCE, lines.next()).await.unwrap().unwrap(), Some(end()));
    assert_eq!(timeout(PATIENCE, lines.next::<TraceLine>()).await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn a_reader_that_leaves_is_noticed_without_a_line() {
    let given = Given::default();
    let daemon = given.daemon(Limits::default());
    let lines = daemon.client().trace(&request()).await.unwrap();
    let (_, sender) = given.take().await;
    drop(lines);
    timeout(PATIENCE, sender.closed()).await.expect("the lines are still wanted");
}

#[tokio::test]
async fn a_reader_that_does_not_read_makes_nobody_wait() {
    let given = Given::default();
    let daemon = given.daemon(Limits::default());
    let _lines = daemon.client().trace(&request()).await.unwrap();
    let (_, sender) = given.take().await;
    // More than the queue and the socket hold: whoever gives is told that there is no room.
    let line = TraceLine::NotShown { frames: u64::MAX };
    let full = async {
        while sender.try_send(line.clone()).is_ok() || sender.capacity() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, full).await.expect("there is always room");
    // Others are answered meanwhile.
    timeout(PATIENCE, daemon.client().status()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_trace_may_take_longer_than_other_answers() {
    let given = Given::default();
    let daemon = given.daemon(Limits { connection: Duration::from_millis(50), ..Limits::default() });
    let mut lines = daemon.client().trace(&request()).await.unwrap();
    let (_, sender) = given.take().await;
    // The time of an ordinary connection is over when one that was begun later is cut off.
    let idle = tokio::net::UnixStream::connect(&daemon.socket).await.unwrap();
    let mut byte = [0];
    let cut = async {
        idle.readable().await.unwrap();
        idle.try_read(&mut byte).unwrap()
    };
    assert_eq!(timeout(PATIENCE, cut).await.unwrap(), 0, "it is not cut off");
    sender.send(end()).await.unwrap();
    assert_eq!(timeout(PATIENCE, lines.next()).await.unwrap().unwrap(), Some(end()));
}

#[tokio::test]
async fn whoever_comes_second_is_told_who_was_first() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let refused = daemon.client().trace(&request()).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(sentence) if sentence == "alice traces 192.0.2.7"), "{refused:?}");
    let body = b"{\"client\": \"192.0.2.7\"}";
    let head = format!("POST /v1/trace HTTP/1.1\r\nHost: lbd\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = raw(&daemon.socket, &[head.as_bytes(), body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let parsed = trace_of(br#"{"client": "192.0.2.0/24"}"#).unwrap();
    assert_eq!((parsed.client.to_string().as_str(), parsed.seconds, parsed.count), ("192.0.2.0/24", 60, None));
    for (body, expected) in [
        (r#"{"client": "192.0.2.7", "seconds": 0}"#, "seconds is 0; it is a number from 1 to 3600"),
        (r#"{"client": "192.0.2.7", "seconds": 3601}"#, "seconds is 3601; it is a number from 1 to 3600"),
        (r#"{"client": "192.0.2.7", "count": 0}"#, "count is 0; it is at least 1"),
        (r#"{"client": "web"}"#, "`web` is not an address"),
        (r#"{"client": "192.0.2.7", "secs": 3}"#, "unknown field `secs`"),
        ("", "the body is not as in {\"client\": \"192.0.2.7\", \"seconds\": 30}"),
    ] {
        let refused = trace_of(body.as_bytes()).unwrap_err();
        assert!(refused.error.contains(expected), "{body}: {}", refused.error);
    }
}
