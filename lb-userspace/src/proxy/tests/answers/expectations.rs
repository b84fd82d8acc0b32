//! `Expect: 100-continue`, and other answers before the answer.

use std::time::Duration;

use super::{GET, OK, asks, counts, eventually, shop};
use crate::proxy::tests::script::Script;

const EXPECTING: &str = "POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

/// Less than the balancer waits for a word of the real server.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_body_is_held_back_until_its_server_asks_for_it() {
    // The client may wait, or not.
    for waits in [false, true] {
        let server = Script::new(|talk| {
            while talk.head() {
                assert!(talk.hears_nothing(SHORT));
                talk.say("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
                assert_eq!(talk.hear(5), b"hello");
                talk.say(OK);
            }
        });
        let site = shop(&server);
        let mut client = site.connect("shop");
        for _ in 0..2 {
            client.say(EXPECTING.as_bytes());
            if waits {
                assert_eq!([client.line(), client.line()], ["HTTP/1.1 100 Continue\r\n", "\r\n"]);
            }
            client.say(b"hello");
            let mut answer = client.message(true).expect("an answer");
            if answer.status() == 100 {
                answer = client.message(true).expect("an answer");
            }
            assert_eq!((answer.status(), answer.body.as_slice()), (200, b"ok".as_slice()));
            let (connection, heard) = server.heard();
            assert_eq!((connection, heard.field("expect")), (0, Some("100-continue")));
        }
        assert_eq!(site.failures("shop"), []);
    }
}

/// The balancer would send them after a while in any case: so many, that all of them would take too long.
#[test]
fn bodies_that_their_server_asks_for_go_at_once() {
    let server = Script::new(|talk| {
        while talk.head() {
            talk.say("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(talk.hear(5), b"hello");
            talk.say(OK);
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    let client = std::thread::spawn(move || {
        for _ in 0..30 {
            assert_eq!(asks(&mut client, EXPECTING).status(), 100);
            client.say(b"hello");
            assert_eq!(client.message(true).expect("an answer").status(), 200);
        }
    });
    eventually("all bodies have gone", || client.is_finished().then_some(()));
    client.join().expect("answers");
}

#[test]
fn a_body_that_its_server_does_not_want_is_not_sent() {
    let server = Script::new(|talk| {
        if talk.head() {
            talk.say("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
            assert!(!talk.hears_nothing(Duration::from_secs(20)));
            // The next that is heard is the end.
            assert!(!talk.head());
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    let answer = asks(&mut client, EXPECTING);
    assert_eq!((answer.status(), answer.body.as_slice()), (401, b"no".as_slice()));
    server.is_left(1);
    assert_eq!(site.failures("shop"), []);
}

#[test]
fn other_answers_before_the_answer_are_skipped_but_not_without_end() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 7\r\n\r\n";
    for (count, status) in [(0, 200), (1, 200), (100, 200), (101, 502)] {
        let server = Script::answering(early.repeat(count) + OK);
        let site = shop(&server);
        let answer = asks(&mut site.connect("shop"), GET);
        assert_eq!((answer.status(), answer.field("link")), (status, None), "{count}");
        counts(&site, if status == 200 { &[] } else { &[("server-failed", 1)] });
    }
}
