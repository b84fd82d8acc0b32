//! Answers that break off, and what is no answer.

use super::{GET, POST, asks, counts, encrypted_shop, shop};
use crate::proxy::tests::script::{Script, Talk};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Says this instead of an answer, and closes in one way or another.
fn saying(bytes: &str, resets: bool) -> impl Fn(&mut Talk) + Send + Sync + 'static {
    let bytes = bytes.to_owned();
    move |talk| {
        if talk.request() {
            talk.say(&bytes);
            if resets {
                talk.resets();
            }
        }
    }
}

#[test]
fn an_answer_that_breaks_off_does_so_for_the_client_too() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell".to_owned(), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell".to_owned(), true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 200 OK\r\n\r\nuntil it is rese".to_owned(), true),
        (format!("{CHUNKED}5\r\nhell"), false),
        (format!("{CHUNKED}5\r\nhello\r\n"), false),
        (format!("{CHUNKED}5\r\nhello\r\n0\r\n"), false),
        (format!("{CHUNKED}5\r\nhello\r\n0\r\n"), true),
        (format!("{CHUNKED}5\r\nhello\r\nZ\r\n"), false),
        (format!("{CHUNKED}5\r\nhello!\r\n0\r\n\r\n"), false),
    ];
    for (answer, resets) in cases {
        for request in [GET, POST] {
            let server = Script::new(saying(&answer, resets));
            let site = shop(&server);
            let mut client = site.connect("shop");
            client.say(request.as_bytes());
            // Where the end has come with the head, not even that has gone on.
            let got = client.message(true);
            assert!(got.is_none_or(|got| !got.is_whole), "{answer}");
            counts(&site, &[("server-failed", 1)]);
            client.ends();
        }
    }
}

/// The client has got the head and a part of the body before.
#[test]
fn an_answer_that_breaks_off_later_shows_what_has_come_of_it() {
    for (answer, part) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello".to_owned(), "hello"),
        ("HTTP/1.1 200 OK\r\n\r\nhello".to_owned(), "5\r\nhello\r\n"),
        (format!("{CHUNKED}5\r\nhello\r\n"), "5\r\nhello\r\n"),
    ] {
        let server = Script::new(move |talk| {
            if talk.request() && talk.say(&answer) {
                talk.waits();
                talk.resets();
            }
        });
        let site = shop(&server);
        let mut client = site.connect("shop");
        client.say(GET.as_bytes());
        assert_eq!(client.line(), "HTTP/1.1 200 OK\r\n");
        while client.line() != "\r\n" {}
        assert_eq!(client.hear(part.len()), part.as_bytes());
        server.goes_on();
        counts(&site, &[("server-failed", 1)]);
        client.ends();
    }
}

/// Whoever cuts the connection below it cannot make it look whole.
#[test]
fn an_answer_over_tls_that_ends_without_good_bye_breaks_off() {
    for (answer, is_whole) in [("\r\nuntil it is closed", false), ("content-length: 3\r\n\r\nall", true)] {
        let server = Script::encrypted(saying(&format!("HTTP/1.1 200 OK\r\n{answer}"), false));
        let site = encrypted_shop(&server);
        let mut client = site.connect("shop");
        client.say(GET.as_bytes());
        assert_eq!(client.message(true).is_some_and(|got| got.is_whole), is_whole, "{answer}");
        counts(&site, if is_whole { &[] } else { &[("server-failed", 1)] });
    }
}

#[test]
fn what_is_no_answer_is_told_of_with_502() {
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(128 << 10));
    let cases = [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
        // Nobody has asked for it.
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        &long,
    ];
    for answer in cases {
        for (request, resets) in [(GET, false), (POST, true)] {
            let server = Script::new(saying(answer, resets));
            let site = shop(&server);
            let mut client = site.connect("shop");
            let got = asks(&mut client, request);
            assert_eq!((got.status(), got.is_whole), (502, true), "{}", &answer[..answer.len().min(80)]);
            counts(&site, &[("server-failed", 1)]);
        }
    }
}

#[test]
fn a_head_of_nearly_128_kilobytes_is_an_answer() {
    let server = Script::answering(format!("HTTP/1.1 204 No Content\r\nx-long: {}\r\n\r\n", "x".repeat(127 << 10)));
    let site = shop(&server);
    assert_eq!(asks(&mut site.connect("shop"), GET).status(), 204);
}
