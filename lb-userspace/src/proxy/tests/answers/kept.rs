//! Connections to real servers that are used again, and those that are not.

use std::time::Duration;

use super::{GET, OK, POST, SHOP, asks, encrypted_shop, shop};
use crate::proxy::tests::script::{Script, Talk};
use crate::proxy::tests::site::Site;

/// Without a body it could be sent again; that does not mean that it may be.
const EMPTY: &str = "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_connection_carries_one_request_after_the_other() {
    let answers = [
        OK,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 12\r\n\r\n",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ];
    let server = Script::new(move |talk| {
        for answer in answers.iter().cycle() {
            if !talk.request() || !talk.say(answer) {
                return;
            }
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    for answer in answers.iter().cycle().take(3 * answers.len()) {
        for request in [GET, POST] {
            assert!(asks(&mut client, request).is_whole, "{answer}");
            assert_eq!(server.heard().0, 0, "{answer}");
        }
    }
}

#[test]
fn an_answer_that_ends_its_connection_is_the_last_one_over_it() {
    let lasts: [(&str, bool); 8] = [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.1 200 OK\r\n\r\nok", true),
        // What comes behind it would be the answer to somebody else's request.
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n", false),
    ];
    for (last, closes) in lasts {
        let server = Script::new(move |talk| {
            if talk.number > 0 {
                while talk.request() && talk.say(OK) {}
            } else if talk.request() && talk.say(last) && !closes {
                talk.stays();
            }
        });
        let site = shop(&server);
        let mut client = site.connect("shop");
        assert!(asks(&mut client, GET).is_whole, "{last}");
        assert_eq!(server.heard().0, 0);
        let answer = asks(&mut client, GET);
        assert_eq!((answer.status(), answer.body.as_slice()), (200, b"ok".as_slice()), "{last}");
        assert_eq!(server.heard().0, 1, "{last}");
        server.is_over(1);
    }
}

#[test]
fn bytes_that_come_while_a_connection_waits_are_no_answer_to_the_next_request() {
    for noise in ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", "HTTP/1.1 408 Request Timeout\r\n\r\n", "\r\n"] {
        let server = Script::new(move |talk| {
            let is_first = talk.number == 0;
            while talk.request() && talk.say(OK) {
                if is_first {
                    talk.waits();
                    talk.say(noise);
                    talk.waits();
                }
            }
        });
        let site = shop(&server);
        let mut client = site.connect("shop");
        assert_eq!(asks(&mut client, GET).body, b"ok");
        server.goes_on();
        server.goes_on();
        assert_eq!(asks(&mut client, GET).body, b"ok", "{noise}");
        server.is_left(1);
        assert_eq!([server.heard().0, server.heard().0], [0, 1]);
    }
}

#[test]
fn a_request_that_was_answered_before_all_of_it_was_read_is_the_last_one_over_its_connection() {
    let server = Script::new(|talk| {
        if talk.number > 0 {
            while talk.request() && talk.say(OK) {}
        } else if talk.head() && talk.say(OK) {
            talk.stays();
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    assert_eq!(asks(&mut client, "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 100\r\n\r\nhello").body, b"ok");
    assert_eq!(server.heard().0, 0);
    // As many as meet every worker, and so the one that had the first.
    for _ in 0..10 {
        assert_eq!(asks(&mut site.connect("shop"), GET).body, b"ok");
        assert_ne!(server.heard().0, 0);
    }
    server.is_left(1);
    assert_eq!(site.failures("shop"), []);
}

#[test]
fn a_connection_that_its_server_closed_while_it_waited_fails_no_request() {
    for encrypted in [false, true] {
        for resets in [false, true] {
            let serve = move |talk: &mut Talk| {
                if talk.request() && talk.say(OK) {
                    talk.says_good_bye();
                    if resets {
                        talk.resets();
                    }
                }
            };
            let server = if encrypted { Script::encrypted(serve) } else { Script::new(serve) };
            let site = if encrypted { encrypted_shop(&server) } else { shop(&server) };
            let mut client = site.connect("shop");
            for (at, request) in [GET, POST, POST, GET].into_iter().enumerate() {
                assert_eq!(asks(&mut client, request).body, b"ok", "{request} {encrypted} {resets}");
                assert_eq!(server.heard().0, at);
                server.is_over(at + 1);
            }
            assert_eq!(site.failures("shop"), []);
        }
    }
}

/// As above, but the request is there already.
#[test]
fn a_request_that_a_closing_connection_has_swallowed_is_sent_again_only_where_that_does_no_harm() {
    for (request, status, connections) in [(GET, 200, vec![0, 0, 1]), (POST, 502, vec![0, 0]), (EMPTY, 502, vec![0, 0])]
    {
        for resets in [false, true] {
            let server = Script::new(move |talk| {
                if talk.request() && talk.say(OK) && talk.request() {
                    if resets {
                        talk.resets();
                    }
                    if talk.number > 0 {
                        talk.say(OK);
                    }
                }
            });
            let site = shop(&server);
            let mut client = site.connect("shop");
            assert_eq!(asks(&mut client, request).status(), 200);
            assert_eq!(asks(&mut client, request).status(), status);
            assert_eq!(connections.iter().map(|_| server.heard().0).collect::<Vec<_>>(), connections);
        }
    }
}

#[test]
fn what_may_not_be_sent_twice_goes_over_a_connection_that_was_used_just_before_or_a_new_one() {
    let server = Script::answering(OK);
    let site = shop(&server);
    let mut client = site.connect("shop");
    asks(&mut client, POST);
    client.hears_nothing(Duration::from_millis(1500));
    asks(&mut client, GET);
    client.hears_nothing(Duration::from_millis(1500));
    asks(&mut client, POST);
    assert_eq!([server.heard().0, server.heard().0, server.heard().0], [0, 0, 1]);
}

#[test]
fn a_connection_whose_header_names_its_client_is_that_ones_and_is_closed_with_it() {
    let server = Script::answering(OK);
    let services = SHOP.replace("192.0.2.84}", "192.0.2.84, proxy_protocol: v1}");
    let site = Site::with(&services, &[server.address]);
    let (mut stays, mut leaves) = (site.connect("shop"), site.connect("shop"));
    for begins in ["PROXY TCP4 ", "GET / "] {
        for (number, client) in [&mut stays, &mut leaves].into_iter().enumerate() {
            assert_eq!(asks(client, GET).body, b"ok");
            let (connection, heard) = server.heard();
            assert!(connection == number && heard.head.starts_with(begins), "{connection} {}", heard.head);
        }
    }
    leaves.close();
    server.is_left(1);
    // The other one has waited for longer.
    asks(&mut stays, GET);
    assert_eq!(server.heard().0, 0);
}

#[test]
fn a_connection_of_tls_carries_one_request_after_the_other_and_then_its_end_is_seen() {
    let server = Script::encrypted(|talk| {
        for _ in 0..3 {
            if !talk.request() || !talk.say(OK) {
                return;
            }
        }
        talk.says_good_bye();
    });
    let site = encrypted_shop(&server);
    let mut client = site.connect("shop");
    for round in 0..3 {
        for request in [POST, GET, POST] {
            assert_eq!(asks(&mut client, request).body, b"ok");
            assert_eq!(server.heard().0, round);
        }
        server.is_over(round + 1);
    }
    assert_eq!(site.failures("shop"), []);
}
