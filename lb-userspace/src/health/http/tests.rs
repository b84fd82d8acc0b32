use std::net::{Ipv4Addr, SocketAddr};

use lb_core::config::model::{BodyExpectation, HttpProbe, Probe};
use lb_core::health::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{authority, request};
use crate::health::tests::{Bench, listener, soon};

pub(in crate::health) fn get(body: BodyExpectation) -> HttpProbe {
    HttpProbe { path: "/status?deep=1".to_owned(), host: None, status: 200, body }
}

fn http(body: BodyExpectation) -> Probe {
    Probe::Http(get(body))
}

fn any() -> Probe {
    http(BodyExpectation::Any)
}

fn contains(text: &str) -> Probe {
    http(BodyExpectation::Contains(text.to_owned()))
}

/// Everything up to the empty line that ends the head of a request.
pub(in crate::health) async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("ASCII")
}

/// A server that reads each request and answers these bytes, then closes.
async fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let (listener, address) = listener().await;
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            head(&mut stream).await;
            // The check may have heard enough before the end.
            let _ = stream.write_all(&answer).await;
        }
    });
    address
}

fn page(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

/// The first connection, and the probe that has opened it.
async fn conversation(probe: Probe) -> (Bench, TcpStream) {
    let (listener, address) = listener().await;
    let mut bench = Bench::new();
    bench.start(1, probe, address);
    let (stream, _) = soon(listener.accept()).await.expect("the check");
    (bench, stream)
}

#[tokio::test]
async fn a_request_has_what_http_asks_for() {
    let (_bench, mut server) = conversation(any()).await;
    let port = server.local_addr().expect("an address").port();
    let head = soon(head(&mut server)).await;
    assert!(head.starts_with("GET /status?deep=1 HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: 127.0.0.1:{port}"),
        "user-agent: lb-health-check".into(),
        "accept: */*".into(),
        "connection: close".into(),
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} is missing: {head}");
    }
}

#[test]
fn the_host_is_the_one_that_is_written_else_the_address_as_a_url_has_it() {
    let v4 = "10.0.0.1".parse().expect("an address");
    let v6 = "2001:db8::1".parse().expect("an address");
    assert_eq!(authority(v4, 80, 80), "10.0.0.1");
    assert_eq!(authority(v4, 80, 443), "10.0.0.1:80");
    assert_eq!(authority(v6, 443, 443), "[2001:db8::1]");
    assert_eq!(authority(v6, 8443, 443), "[2001:db8::1]:8443");

    let probe = HttpProbe { host: Some("pacs.example".into()), ..get(BodyExpectation::Any) };
    let request = request(&probe, v4, 8080, 80).expect("a request");
    assert_eq!(request.headers()["host"], "pacs.example");
}

#[test]
fn a_path_that_is_none_is_refused_with_a_sentence() {
    let probe = HttpProbe { path: "/a b".into(), ..get(BodyExpectation::Any) };
    let failure = request(&probe, Ipv4Addr::LOCALHOST.into(), 80, 80).expect_err("no request");
    assert!(failure.to_string().contains("path or host of its check cannot be sent"), "{failure}");
}

#[tokio::test]
async fn answers_that_are_as_expected_are_good() {
    Bench::succeeds(any(), answering(page("whatever")).await).await;
    Bench::succeeds(any(), answering("HTTP/1.0 200 OK\r\n\r\nold").await).await;
    Bench::succeeds(contains("up"), answering(page("it is up\n")).await).await;
    Bench::succeeds(contains("up"), answering("HTTP/1.0 200 OK\r\n\r\nit is up").await).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nHea\r\n4\r\nlthy\r\n0\r\n\r\n";
    Bench::succeeds(http(BodyExpectation::Equals("Healthy".into())), answering(chunked).await).await;
    let informed = format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", page("up"));
    Bench::succeeds(contains("up"), answering(informed).await).await;
    let moved = HttpProbe { status: 302, ..get(BodyExpectation::Any) };
    let answer = "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
    Bench::succeeds(Probe::Http(moved), answering(answer).await).await;
}

#[tokio::test]
async fn a_wrong_answer_says_what_came_instead() {
    for (probe, answer, sentence) in [
        (
            any(),
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            "the real server answered with status 503 (service unavailable) instead of 200",
        ),
        (
            any(),
            "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            "the real server answered with status 301 (a redirect, which a check does not follow) instead of 200",
        ),
        (
            contains("up"),
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndown",
            "the real server answered 200, but its page does not contain \"up\": it is \"down\"",
        ),
        (
            contains("up"),
            "HTTP/1.1 200 OK\r\n\r\n",
            "the real server answered 200, but its page does not contain \"up\": it is empty",
        ),
    ] {
        assert_eq!(Bench::fails(probe, answering(answer).await).await, sentence);
    }
}

#[tokio::test]
async fn what_is_no_http_says_so() {
    for (answer, sentence) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "it does not speak HTTP; it begins with \"SSH-2.0-OpenSSH_9.2\""),
        (b"\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS; check it with type: https"),
        (b"\x00\x01\x02", "it does not speak HTTP; it begins with \"???\""),
        (b"HTTP/1.1 abc OK\r\n\r\n", "invalid HTTP status-code parsed"),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "invalid HTTP header parsed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "invalid content-length parsed"),
    ] {
        let said = Bench::fails(contains("x"), answering(answer).await).await;
        assert_eq!(said, format!("the real server gave an answer that cannot be understood: {sentence}"));
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_told_from_one_that_is_silent() {
    let (mut bench, mut server) = conversation(any()).await;
    server.write_all(b"220 mail.example ESMTP\r\n").await.expect("room");
    let Outcome::Failure(failure) = bench.outcome(1).await else { panic!("it succeeded") };
    let sentence = failure.to_string();
    assert!(sentence.ends_with("it does not speak HTTP; it begins with \"220 mail.example ESMTP\""), "{sentence}");
}

#[tokio::test]
async fn an_answer_that_ends_too_early_says_where() {
    for (answer, before) in [
        ("", "it answered the request"),
        ("HTTP/1.1 200 OK\r\nContent-", "its answer was complete"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "its answer was complete"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", "its answer was complete"),
    ] {
        let sentence = Bench::fails(contains("x"), answering(answer).await).await;
        assert_eq!(sentence, format!("the real server closed the connection before {before}"), "{answer:?}");
    }
}

#[tokio::test]
async fn headers_and_pages_without_an_end_are_cut_off() {
    let endless = |line: &'static [u8], begin: &'static [u8]| async move {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                head(&mut stream).await;
                let _ = stream.write_all(begin).await;
                while stream.write_all(line).await.is_ok() {}
            }
        });
        address
    };
    for line in
        [&b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"[..], b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    {
        let sentence = Bench::fails(any(), endless(line, b"HTTP/1.1 200 OK\r\n").await).await;
        assert!(sentence.contains("larger than 64 KiB"), "{sentence}");
    }
    let address = endless(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"HTTP/1.1 200 OK\r\n\r\nup ").await;
    Bench::succeeds(any(), address).await;
    Bench::succeeds(contains("up"), address).await;
    let sentence = Bench::fails(contains("down"), address).await;
    assert!(sentence.ends_with("; only its first 65536 bytes count"), "{sentence}");
}

#[tokio::test]
async fn a_good_answer_is_read_to_its_end_and_the_connection_closed_in_good_order() {
    for probe in [any(), contains("up")] {
        let (mut bench, mut server) = conversation(probe).await;
        head(&mut server).await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\nup ").await.expect("room");
        server.write_all(&[b'.'; 29_997]).await.expect("someone who reads");
        assert!(matches!(bench.outcome(1).await, Outcome::Success { .. }));
        let read = soon(server.read(&mut [0; 1])).await;
        assert_eq!(read.expect("a FIN, not a reset"), 0);
    }
}

#[tokio::test]
async fn a_cancelled_probe_closes_its_connection_wherever_it_is() {
    for begin in [&b""[..], b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup"] {
        let (mut bench, mut server) = conversation(contains("x")).await;
        head(&mut server).await;
        server.write_all(begin).await.expect("room");
        bench.prober.cancel(crate::health::tests::A, 1);
        // A reset where something was not read yet, else a FIN: either way nobody holds it any more.
        let read = soon(server.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        drop(bench.prober);
        assert_eq!(soon(bench.reports.recv()).await, None);
    }
}

#[tokio::test]
async fn ipv6_is_asked_like_ipv4() {
    let listener = TcpListener::bind("[::1]:0").await.expect("a free port of IPv6");
    let address = listener.local_addr().expect("an address");
    let mut bench = Bench::new();
    bench.start(1, any(), address);
    let (mut server, _) = soon(listener.accept()).await.expect("the check");
    let head = soon(head(&mut server)).await;
    assert!(head.contains(&format!("host: [::1]:{}\r\n", address.port())), "{head}");
}
