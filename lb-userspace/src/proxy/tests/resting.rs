//! Connections between two requests: after a short while they hold nothing but their socket.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use lb_core::view::ConnectionsQuery;

use super::site::{Client, Site, eventually};

const SERVICES: &str = "
  - name: shop
    address: 192.0.2.80
    ports: [8080]
    mode: l7-http
    tls: {port: 443, certificate: one, redirect: false}
    real_servers: [{name: b, address: 192.0.2.84}]
certificates: {one: {pem: one.pem, key: one.key}}
";

/// Longer than it takes until a connection rests.
const WHILE: Duration = Duration::from_millis(600);

fn asks(client: &mut Client) {
    client.say(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert_eq!(client.line(), "HTTP/1.1 200 OK\r\n");
    while client.line() != "\r\n" {}
}

/// Bytes of answers that TLS has been given, of the only connection.
fn given(site: &Site) -> u64 {
    let listed = site.proxy.carrying().list(&ConnectionsQuery::default(), Instant::now());
    listed.connections.first().and_then(|row| row.reply_bytes).unwrap_or(0)
}

#[test]
fn a_connection_that_rested_answers_again_and_again() {
    let site = Site::new(SERVICES);
    let mut client = site.connect("shop");
    for _ in 0..3 {
        asks(&mut client);
        client.hears_nothing(WHILE);
    }
    // Half a request is waited for by who has rested, too.
    client.say(b"GET / HTTP/1.1\r\nho");
    client.hears_nothing(WHILE);
    client.say(b"st: shop\r\n\r\n");
    assert_eq!(client.line(), "HTTP/1.1 200 OK\r\n");
}

/// What a slow client has not taken yet is with TLS when all seems to be written.
#[test]
fn an_answer_that_tls_still_holds_back_is_sent_before_a_connection_rests() {
    let site = Site::new(SERVICES);
    // Far more than fits: how much does?
    let mut slow = site.connect_tls("shop");
    slow.write_all(b"GET /50000000 HTTP/1.1\r\nhost: shop\r\n\r\n").expect("a request");
    let mut last = 0;
    let fits = eventually("the connection is full", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = given(&site);
        (now > 0 && std::mem::replace(&mut last, now) == now).then_some(now)
    });
    drop(slow);
    eventually("it is gone", || (given(&site) == 0).then_some(()));

    let mut other = site.connect("shop");
    let length = usize::try_from(fits).expect("a length") - (30 << 10);
    let mut slow = site.connect_tls("shop");
    slow.write_all(format!("GET /{length} HTTP/1.1\r\nhost: shop\r\n\r\n").as_bytes()).expect("a request");
    other.hears_nothing(WHILE * 2);
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while answer.len() < length {
        let read = slow.read(&mut bytes).expect("the rest of the answer");
        answer.extend_from_slice(&bytes[..read]);
    }
}

#[test]
fn who_has_sent_nothing_is_let_go_of_and_who_has_sent_half_is_counted_too() {
    let site = Site::new(&SERVICES.replace("    tls:", "    timeouts: {request: 1s}\n    tls:"));
    // In the clear it is the first bytes that say which HTTP is spoken.
    site.connect("shop").ends();
    assert_eq!(site.failures("shop"), []);
    let mut half = site.connect("shop");
    half.say(b"PRI * HT");
    half.ends();
    assert_eq!(site.failures("shop"), [("request-timeout".to_owned(), 1)]);
}
