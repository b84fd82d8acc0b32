//! Clients that have the network examined.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_core::view::{DoctorLine, DoctorQuery, Progress, StopRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Daemon, Limits, Script, finding, send};
use crate::api::{ClientError, Request};

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon whose examinations go on until the test ends them, and where they are told.
fn unending(limits: Limits) -> (Daemon, mpsc::Receiver<mpsc::Sender<DoctorLine>>) {
    let (begun, beginnings) = mpsc::channel(8);
    let keep = move |request| match request {
        Request::Doctor { reply, .. } => {
            let (lines, receiver) = mpsc::channel(8);
            send(reply, Ok(receiver));
            begun.try_send(lines).unwrap();
            None
        }
        other => Some(other),
    };
    (Daemon::with(limits, Script::default(), Box::new(keep)), beginnings)
}

fn progress(done: u64) -> DoctorLine {
    DoctorLine::Progress(Progress { done, total: 9, what: "a question".into() })
}

#[tokio::test]
async fn progress_is_told_before_there_is_a_result() {
    let (daemon, mut beginnings) = unending(Limits::default());
    let (seen, client) = (Arc::new(Mutex::new(Vec::new())), daemon.client());
    let told = Arc::clone(&seen);
    let (heard, mut hearing) = mpsc::channel(8);
    let asking = tokio::spawn(async move {
        client
            .doctor(&DoctorQuery::default(), move |progress| {
                told.lock().unwrap().push(progress.done);
                heard.try_send(()).unwrap();
            })
            .await
    });
    let lines = timeout(PATIENCE, beginnings.recv()).await.unwrap().unwrap();
    for done in 1..=3 {
        lines.send(progress(done)).await.unwrap();
        timeout(PATIENCE, hearing.recv()).await.unwrap().unwrap();
    }
    assert!(!asking.is_finished());
    lines.send(DoctorLine::Result(finding())).await.unwrap();
    let examination = timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap();
    assert_eq!((examination, seen.lock().unwrap().as_slice()), (finding(), &[1, 2, 3][..]));
}

#[tokio::test]
async fn one_network_is_examined_once_at_a_time_and_a_client_that_leaves_ends_it() {
    let (daemon, mut beginnings) = unending(Limits::default());
    let mut first = UnixStream::connect(&daemon.socket).await.unwrap();
    first.write_all(b"GET /v1/doctor HTTP/1.1\r\nHost: lbd\r\n\r\n").await.unwrap();
    let lines = timeout(PATIENCE, beginnings.recv()).await.unwrap().unwrap();
    // The place is taken from before the control loop is asked.
    let refused = daemon.client().doctor(&DoctorQuery::default(), |_| {}).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(error) if error.contains("another client")), "{refused}");

    drop(first);
    timeout(PATIENCE, lines.closed()).await.unwrap();
    let client = daemon.client();
    let second = tokio::spawn(async move { client.doctor(&DoctorQuery::default(), |_| {}).await });
    let lines = timeout(PATIENCE, beginnings.recv()).await.unwrap().unwrap();
    lines.send(DoctorLine::Result(finding())).await.unwrap();
    assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap().unwrap(), finding());
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_examination() {
    let (daemon, mut beginnings) = unending(Limits::default());
    let mut examining = UnixStream::connect(&daemon.socket).await.unwrap();
    examining.write_all(b"GET /v1/doctor HTTP/1.1\r\nHost: lbd\r\n\r\n").await.unwrap();
    let _lines = timeout(PATIENCE, beginnings.recv()).await.unwrap().unwrap();
    daemon.client().stop(StopRequest::default()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, examining.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn lines_are_json_each_by_itself() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let answer = daemon.raw(b"GET /v1/doctor HTTP/1.1\r\nHost: lbd\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("content-type: application/jsonl\r\n"), "{answer}");
    let lines = answer.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<DoctorLine> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2], DoctorLine::Result(finding()));
    let unknown = DoctorQuery { service: Some("wbe".into()) };
    let refused = daemon.client().doctor(&unknown, |_| {}).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(error) if error == "there is no virtual service wbe"), "{refused}");
}
