//! Answers as they come: upgrades, slow readers, pipelines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{counts, noise, shop};
use crate::proxy::tests::script::Script;
use crate::proxy::tests::site::eventually;

#[test]
fn an_upgrade_carries_what_comes_with_it_and_all_after_it() {
    let server = Script::new(|talk| {
        if talk.request() {
            talk.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst\n");
            assert_eq!(talk.hear(3), b"up\n");
            talk.say("down\n");
            assert_eq!(talk.hear(5), b"last\n");
            talk.say("bye\n");
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    // What comes with the request belongs to the other protocol, too.
    client.say(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nup\n");
    let head = client.message(false).expect("an answer");
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("echo")));
    assert_eq!([client.line(), client.line()], ["first\n", "down\n"]);
    client.say(b"last\n");
    assert_eq!([client.line(), client.line()], ["bye\n", ""]);
    counts(&site, &[]);
}

#[test]
fn an_upgrade_that_is_refused_is_answered_like_any_request() {
    let server = Script::answering(super::OK);
    let site = shop(&server);
    let mut client = site.connect("shop");
    for _ in 0..2 {
        client.say(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
        assert_eq!(client.message(true).expect("an answer").body, b"ok");
        assert_eq!(server.heard().0, 0);
    }
}

/// More than all the sockets' buffers on the way hold.
const MUCH: usize = 64 << 20;

#[test]
fn an_answer_waits_for_a_client_that_does_not_read() {
    let bytes = Arc::new(noise(MUCH));
    let (said, wrote) = (Arc::clone(&bytes), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&wrote);
    let server = Script::new(move |talk| {
        if talk.request() {
            talk.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n"));
            for piece in said.chunks(32 << 10) {
                if !talk.say(piece) {
                    return;
                }
                counted.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    client.say(super::GET.as_bytes());
    let mut last = 0;
    let held = eventually("the real server has to wait", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = wrote.load(Ordering::SeqCst);
        (now > 0 && std::mem::replace(&mut last, now) == now).then_some(now)
    });
    assert!(held < MUCH / 2, "{held} bytes are on the way to a client that reads none");
    let answer = client.message(true).expect("an answer");
    assert!(answer.is_whole && answer.body == *bytes, "{} bytes", answer.body.len());
    assert_eq!(site.failures("shop"), []);
}

/// The other way round.
#[test]
fn a_request_waits_for_a_server_that_does_not_read() {
    let bytes = Arc::new(noise(MUCH));
    let server = Script::new(move |talk| {
        if talk.head() {
            talk.waits();
            let body = talk.hear(MUCH);
            talk.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()));
            talk.say(body);
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    let (said, wrote) = (Arc::clone(&bytes), Arc::new(AtomicUsize::new(0)));
    let (counted, mut speaks) = (Arc::clone(&wrote), client.another());
    let speaker = std::thread::spawn(move || {
        speaks.say(format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {MUCH}\r\n\r\n").as_bytes());
        for piece in said.chunks(32 << 10) {
            speaks.say(piece);
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let mut last = 0;
    let held = eventually("the client has to wait", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = wrote.load(Ordering::SeqCst);
        (now > 0 && std::mem::replace(&mut last, now) == now).then_some(now)
    });
    assert!(held < MUCH / 2, "{held} bytes are on the way to a server that reads none");
    server.goes_on();
    speaker.join().expect("all is said");
    let answer = client.message(true).expect("an answer");
    assert!(answer.is_whole && answer.body == *bytes, "{} bytes", answer.body.len());
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let number = AtomicUsize::new(0);
    let server = Script::new(move |talk| {
        while talk.request() {
            let body = format!("answer {}", number.fetch_add(1, Ordering::SeqCst));
            talk.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    let requests = (0..20).map(|at| match at % 2 {
        0 => format!("GET /{at} HTTP/1.1\r\nhost: shop\r\n\r\n"),
        _ => format!("POST /{at} HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nab"),
    });
    client.say(requests.collect::<String>().as_bytes());
    for at in 0..20 {
        assert_eq!(client.message(true).expect("an answer").body, format!("answer {at}").into_bytes());
        let (connection, heard) = server.heard();
        assert_eq!(connection, 0);
        assert!(heard.head.split(' ').nth(1) == Some(&format!("/{at}")), "{}", heard.head);
    }
}
