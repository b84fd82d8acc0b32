//! What clients get: those that scrape, and those that do something else.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{GET, PATIENCE, Setup, limits, raw};
use crate::api::Limits;

#[tokio::test]
async fn a_scrape_gets_the_text_of_the_control_loop() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let served = Setup { at, ..Setup::default() }.serve();
        let answer = raw(served.address, GET).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: 17\r\n"), "{head}");
        assert_eq!(body, "lb_asked_total 1\n");
    }
}

#[tokio::test]
async fn all_addresses_of_both_families_may_be_listened_at_as_one() {
    let served = Setup { at: "[::]:0", ..Setup::default() }.serve();
    for (at, address) in ["127.0.0.1", "::1"].iter().enumerate() {
        let address = (address.parse::<std::net::IpAddr>().unwrap(), served.address.port()).into();
        assert!(raw(address, GET).await.ends_with(&format!("\r\n\r\nlb_asked_total {}\n", at + 1)));
    }
}

#[tokio::test]
async fn other_requests_are_refused_and_the_control_loop_hears_nothing_of_them() {
    let served = Setup::default().serve();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000));
    let long_header = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let cases: &[(&[u8], &str, &str)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", "404", "there is nothing at /; metrics are at /metrics\n"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", "404", "there is nothing at /metrics/; metrics are at /metrics\n"),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", "404", "there is nothing at /v1/status; metrics are at /metrics\n"),
        (b"POST /v1/stop HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "404", "metrics are at /metrics\n"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405", "/metrics takes GET and HEAD, not POST\n"),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", "405", "/metrics takes GET and HEAD, not DELETE\n"),
        (b"BREW /metrics HTTP/1.1\r\n\r\n", "405", "/metrics takes GET and HEAD, not BREW\n"),
        (b"hello\r\n\r\n", "400", ""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400", ""),
        (b"GET /metrics HTTP/9.9\r\n\r\n", "400", ""),
        (long.as_bytes(), "4", ""),
        (long_header.as_bytes(), "431", ""),
    ];
    for (text, status, sentence) in cases {
        let answer = raw(served.address, text).await;
        let sent = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with(sentence), "{sent}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 405") || answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    }
    assert_eq!(served.control.asked(), 0);
    assert!(raw(served.address, GET).await.ends_with("\r\n\r\nlb_asked_total 1\n"), "a bad request stopped it");
}

#[tokio::test]
async fn a_scrape_may_carry_parameters_and_head_has_no_body() {
    let served = Setup::default().serve();
    let answer = raw(served.address, b"GET /metrics?format=prometheus HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nlb_asked_total 1\n"), "{answer}");
    let answer = raw(served.address, b"HEAD /metrics HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\ncontent-length: 17\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn however_many_scrape_the_control_loop_is_asked_once_while_the_answer_is_fresh() {
    let served = Setup { fresh: Duration::from_secs(3600), ..Setup::default() }.serve();
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        clients.spawn(raw(served.address, GET));
    }
    for answer in clients.join_all().await {
        assert!(answer.ends_with("\r\n\r\nlb_asked_total 1\n"), "{answer}");
    }
    assert_eq!(served.control.asked(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_longer_fresh_is_asked_for_again() {
    let served = Setup::default().serve();
    for number in 1..4 {
        assert!(raw(served.address, GET).await.ends_with(&format!("\r\n\r\nlb_asked_total {number}\n")));
    }
}

#[tokio::test]
async fn clients_that_say_nothing_hold_their_place_only_so_long() {
    let limits = Limits { connections: 2, header_read: Duration::from_millis(50), ..limits() };
    let served = Setup { limits, ..Setup::default() }.serve();
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
        silent.push(stream);
    }
    assert!(raw(served.address, GET).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_control_loop_that_is_slow_or_gone_is_a_sentence() {
    let limits = Limits { reply: Duration::from_millis(50), ..limits() };
    let slow = Setup { limits, hold: true, ..Setup::default() }.serve();
    let answer = raw(slow.address, GET).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("lbd did not answer within"), "{answer}");

    let gone = Setup { gone: true, ..Setup::default() }.serve();
    let answer = raw(gone.address, GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nlbd is stopping\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_answer_is_made_does_not_block_the_next() {
    let served = Setup { hold: true, limits: Limits { reply: PATIENCE, ..limits() }, ..Setup::default() }.serve();
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(GET).await.unwrap();
    timeout(PATIENCE, served.control.held.notified()).await.unwrap();
    drop(first);
    let _second = tokio::spawn(raw(served.address, GET));
    timeout(PATIENCE, served.control.held.notified()).await.expect("the control loop is asked again");
    assert_eq!(served.control.asked(), 2);
}

#[tokio::test]
async fn it_ends_with_clients_that_say_nothing_and_leaves_the_address() {
    let limits = Limits { stop: Duration::from_millis(50), ..limits() };
    let served = Setup { limits, ..Setup::default() }.serve();
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(b"GET /metr").await.unwrap();
    // The answer to a later client shows that the first one was accepted.
    raw(served.address, GET).await;
    drop(served.stop);
    timeout(PATIENCE, served.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "somebody still listens");
}
