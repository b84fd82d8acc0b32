//! Requests that break off: whose fault it is, and what becomes of the real server's connection.

use super::{counts, shop};
use crate::proxy::tests::script::Script;

const LONG: &str = "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 100\r\n\r\nhello";
const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[test]
fn a_client_that_goes_away_in_the_midst_of_its_request_is_at_fault() {
    for request in [LONG, CHUNKED] {
        let server = Script::new(|talk| {
            if talk.head() {
                talk.stays();
            }
        });
        let site = shop(&server);
        let mut client = site.connect("shop");
        client.say(request.as_bytes());
        server.heard();
        drop(client);
        counts(&site, &[("client-gone", 1)]);
        server.is_left(1);
    }
}

#[test]
fn a_request_that_is_malformed_after_its_head_is_the_client_s_fault() {
    let server = Script::new(|talk| {
        if talk.head() {
            talk.stays();
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    client.say(CHUNKED.as_bytes());
    server.heard();
    client.say(b"Z\r\n");
    assert_eq!(client.message(true).expect("an answer").status(), 400);
    counts(&site, &[("bad-request", 1)]);
    server.is_left(1);
}

/// The answer has begun before the request was complete.
#[test]
fn whose_request_breaks_off_is_at_fault_in_the_midst_of_the_answer_too() {
    for (malformed, failure) in [(true, "bad-request"), (false, "client-gone")] {
        let server = Script::new(|talk| {
            if talk.head() {
                talk.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
                talk.stays();
            }
        });
        let site = shop(&server);
        let mut client = site.connect("shop");
        client.say(CHUNKED.as_bytes());
        server.heard();
        while client.line() != "\r\n" {}
        if malformed {
            client.say(b"Z\r\n");
        } else {
            drop(client);
        }
        counts(&site, &[(failure, 1)]);
        server.is_left(1);
    }
}

#[test]
fn a_client_that_goes_away_in_the_midst_of_its_answer_lets_its_server_go() {
    let server = Script::new(|talk| {
        if talk.request() {
            talk.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
            talk.stays();
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    client.say(super::GET.as_bytes());
    while client.line() != "\r\n" {}
    drop(client);
    counts(&site, &[("client-gone", 1)]);
    server.is_left(1);
}

/// A server that has read enough answers and closes: its answer is worth more than that it could not be written to.
#[test]
fn an_answer_that_comes_before_its_server_closes_reaches_the_client() {
    let server = Script::new(|talk| {
        if talk.head() {
            talk.say("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig");
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    client.say(b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000000\r\n\r\nhello");
    let answer = client.message(true).expect("an answer");
    assert_eq!((answer.status(), answer.body.as_slice()), (413, b"big".as_slice()));
    assert_eq!(site.failures("shop"), []);
}
