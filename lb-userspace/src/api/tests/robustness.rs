//! Clients that misbehave, and a control loop that is slow or gone.

use std::time::Duration;

use lb_core::view::StopRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Daemon, Limits, Script, status};
use crate::api::ClientError;

const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: lbd\r\n\r\n";
/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn daemon(limits: Limits) -> Daemon {
    Daemon::start(Script::default(), limits)
}

#[tokio::test]
async fn malformed_requests_are_refused_and_harm_nobody() {
    let daemon = daemon(Limits { body_bytes: 64, ..Limits::default() });
    let long_header = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000));
    let long_body = format!("POST /v1/stop HTTP/1.1\r\nContent-Length: 65\r\n\r\n{}", " ".repeat(65));
    let cases: &[(&[u8], &str)] = &[
        (b"hello\r\n\r\n", "HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400 "),
        (b"GET /v1/status HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "),
        (b"BREW /v1/status HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "),
        (b"GET /v1/connections?limit=many HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET /v1/connections?service=%ff%zz& HTTP/1.1\r\n\r\n", "HTTP/1.1 200 "),
        (b"POST /v1/stop HTTP/1.1\r\nContent-Length: 3\r\n\r\n{\"d", "HTTP/1.1 400 "),
        (b"POST /v1/stop HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "HTTP/1.1 400 "),
        (b"POST /v1/order HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        (b"POST /v1/order HTTP/1.1\r\nContent-Length: 4\r\n\r\n[[[[", "HTTP/1.1 400 "),
        (b"POST /v1/reload HTTP/1.1\r\nContent-Length: 4\r\n\r\nnull", "HTTP/1.1 400 "),
        (b"GET /v1/events?wait=26 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET /v1/events?after=18446744073709551616 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        (b"POST /v1/stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "),
        (long_header.as_bytes(), "HTTP/1.1 431 "),
        (long_path.as_bytes(), "HTTP/1.1 4"),
        (long_body.as_bytes(), "HTTP/1.1 413 "),
    ];
    for (text, expected) in cases {
        let answer = timeout(PATIENCE, daemon.raw(text)).await.unwrap();
        let sent = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        assert!(answer.starts_with(expected), "{sent}: {answer}");
    }
    assert_eq!(daemon.client().status().await.unwrap(), status(), "a malformed request stopped the daemon");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let answer = daemon(Limits::default()).raw(b"PUT /v1/persistence HTTP/1.1\r\n\r\n").await;
    assert!(answer.contains("\r\nallow: GET, DELETE\r\n"), "{answer}");
    assert!(answer.ends_with("{\"error\":\"/v1/persistence takes GET, DELETE, not PUT\"}"), "{answer}");
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered() {
    let daemon = daemon(Limits { connections: 4, ..Limits::default() });
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let client = daemon.client();
        clients.spawn(async move { client.status().await.unwrap() });
    }
    let answers = timeout(PATIENCE, clients.join_all()).await.unwrap();
    assert!(answers.len() == 100 && answers.iter().all(|answer| *answer == status()));
}

#[tokio::test]
async fn clients_that_say_nothing_hold_their_place_only_so_long() {
    let limits = Limits { connections: 2, header_read: Duration::from_millis(50), ..Limits::default() };
    let daemon = daemon(limits);
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        stream.write_all(b"GET /v1/status HT").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(timeout(PATIENCE, daemon.client().status()).await.unwrap().unwrap(), status());
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let limits = Limits { connections: 1, connection: Duration::from_millis(100), ..Limits::default() };
    let daemon = Daemon::start(Script { large_config: true, ..Script::default() }, limits);
    let mut deaf = UnixStream::connect(&daemon.socket).await.unwrap();
    deaf.write_all(b"GET /v1/config HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(timeout(PATIENCE, daemon.client().status()).await.unwrap().unwrap(), status());
}

#[tokio::test]
async fn an_answer_larger_than_the_socket_buffer_arrives_whole() {
    let daemon = Daemon::start(Script { large_config: true, ..Script::default() }, Limits::default());
    let text = timeout(PATIENCE, daemon.client().effective_config()).await.unwrap().unwrap();
    assert_eq!(text.len(), "version: 1\n".len() << 20);
}

#[tokio::test]
async fn requests_in_hand_are_answered_when_the_daemon_stops() {
    let daemon = Daemon::start(Script { hold_status: true, ..Script::default() }, Limits::default());
    let client = daemon.client();
    let waiting = tokio::spawn(async move { client.status().await });
    daemon.held.notified().await;
    daemon.client().stop(StopRequest::default()).await.unwrap();
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap(), status());
    timeout(PATIENCE, daemon.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused() {
    let daemon = daemon(Limits { body_read: Duration::from_millis(50), ..Limits::default() });
    let answer = timeout(PATIENCE, daemon.raw(b"POST /v1/stop HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_control_loop_that_is_slow_or_gone_is_a_sentence() {
    let slow = Daemon::start(
        Script { hold_status: true, ..Script::default() },
        Limits { reply: Duration::from_millis(50), ..Limits::default() },
    );
    let answer = slow.raw(STATUS).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("lbd did not answer"), "{answer}");

    let gone = Daemon::start(Script { drop_status: true, ..Script::default() }, Limits::default());
    let answer = gone.raw(STATUS).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("{\"error\":\"lbd is stopping\"}"), "{answer}");
    assert!(matches!(gone.client().status().await, Err(ClientError::Stopping(_))));
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_idle_clients_for_ever() {
    let daemon = daemon(Limits { stop: Duration::from_millis(50), ..Limits::default() });
    let mut half = UnixStream::connect(&daemon.socket).await.unwrap();
    half.write_all(b"GET /v1/sta").await.unwrap();
    // The answer to a later client shows that the first one was accepted.
    daemon.client().status().await.unwrap();
    daemon.stop.notify_one();
    timeout(PATIENCE, daemon.server).await.unwrap().unwrap();
}
