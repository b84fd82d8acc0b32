//! What is removed and added at this hop, both ways.

use super::super::{BodyProgress, may_repeat, to_http2};
use super::super::{Origin, Pages, Policy};
use super::{answered, client, forwarded, head, lines, location, policy, service, tls_on};
use crate::config::model::{Forwarded, Http};
use crate::proxy::wire::{Framing, write_request};

fn http(x_forwarded: bool, forwarded: bool, trusted: &[&str]) -> Http {
    let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
    Http { forwarded: Forwarded { x_forwarded, forwarded, trusted }, ..Http::default() }
}

/// What a real server gets of these fields.
fn sent(http: Http, request: &str) -> Vec<String> {
    let policy = policy(http);
    let mut head = head(request);
    forwarded(policy.request(&mut head, &client(&policy)));
    lines(&head.headers)
}

#[test]
fn a_real_server_learns_who_the_client_is() {
    let got = sent(Http::default(), "GET / HTTP/1.1\nHost: www.example.org:8080\nAccept: */*");
    assert_eq!(
        got,
        [
            "accept: */*",
            "host: www.example.org:8080",
            "x-forwarded-for: 172.26.11.7",
            "x-forwarded-host: www.example.org:8080",
            "x-forwarded-port: 80",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn a_strangers_word_about_forwarding_is_removed_however_it_is_spelt() {
    let lies = "GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 10.0.0.1\nX_Forwarded_For: 10.0.0.1\nX-Forwarded_Ssl: on\n\
                Forwarded: for=10.0.0.1\nX-Forwarded-Host: evil\nX-Forwarded-For: 10.0.0.2\nX-Forwarder: kept";
    assert_eq!(sent(http(false, false, &[]), lies), ["host: a", "x-forwarder: kept"]);
    let got = sent(http(false, true, &["10.0.0.0/8"]), lies);
    assert_eq!(got, ["forwarded: for=172.26.11.7;proto=http;host=\"a\"", "host: a", "x-forwarder: kept"]);
}

#[test]
fn a_trusted_proxys_word_is_kept_and_added_to_in_one_field() {
    let request = "GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-For: 10.0.0.2\n\
                   X-Forwarded-Proto: https\nX-Forwarded-Host: shop\nForwarded: for=10.0.0.1";
    assert_eq!(
        sent(http(true, true, &["172.26.0.0/16"]), request),
        [
            "forwarded: for=10.0.0.1, for=172.26.11.7;proto=http;host=\"a\"",
            "host: a",
            "x-forwarded-for: 10.0.0.1, 10.0.0.2, 172.26.11.7",
            "x-forwarded-host: shop",
            "x-forwarded-port: 80",
            "x-forwarded-proto: https",
        ]
    );
}

#[test]
fn a_client_on_a_socket_of_ipv6_keeps_its_ipv4_address() {
    let policy = policy(http(true, true, &["172.26.0.0/16"]));
    let facts =
        policy.client("[::ffff:172.26.11.7]:5".parse().unwrap(), "[::ffff:192.0.2.80]:443".parse().unwrap(), true);
    assert_eq!((facts.address.to_string().as_str(), facts.trusted, facts.tls), ("172.26.11.7", true, true));
    assert_eq!(facts.local.to_string(), "192.0.2.80:443");
    let v6 = policy.client("[2001:db8::7]:5".parse().unwrap(), "[2001:db8::80]:8080".parse().unwrap(), false);
    let mut head = head("GET / HTTP/1.0");
    forwarded(policy.request(&mut head, &v6));
    let got = lines(&head.headers);
    assert!(
        got.contains(&"forwarded: for=\"[2001:db8::7]\";proto=http;host=\"[2001:db8::80]:8080\"".to_owned()),
        "{got:?}"
    );
    assert!(got.contains(&"x-forwarded-for: 2001:db8::7".to_owned()), "{got:?}");
}

#[test]
fn fields_of_the_connection_end_here() {
    let got = sent(
        http(false, false, &[]),
        "GET / HTTP/1.1\nHost: a\nConnection: keep-alive, X-Secret\nConnection: te, host, content-length, \"\nX-Secret: 1\n\
         Keep-Alive: timeout=5\nProxy-Connection: keep-alive\nTE: gzip\nTransfer-Encoding: chunked\nUpgrade: h2c\n\
         HTTP2-Settings: AAMAAABk\nExpect: 100-continue\nTrailer: X-Sum\nX-Kept: 1",
    );
    assert_eq!(got, ["host: a", "trailer: X-Sum", "x-kept: 1"]);
}

#[test]
fn lengths_survive_being_named_and_equal_ones_become_one() {
    let got = sent(
        http(false, false, &[]),
        "POST / HTTP/1.1\nHost: a\nConnection: content-length\nContent-Length: 5\nContent-Length: 5\nContent_Length: 7\n\
         Transfer_Encoding: chunked",
    );
    assert_eq!(got, ["content-length: 5", "host: a"]);
}

#[test]
fn trailers_may_be_asked_for_over_http2() {
    let mut got = head("POST https://a/x HTTP/2.0\nTE: trailers");
    let policy = policy(http(false, false, &[]));
    forwarded(policy.request(&mut got, &client(&policy)));
    assert_eq!(lines(&got.headers), ["host: a", "te: trailers"]);
    let mut out = bytes::BytesMut::new();
    write_request(&got, Framing::Chunked, &mut out);
    assert_eq!(out, "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    to_http2(&mut got, true).unwrap();
    assert_eq!((got.uri.to_string().as_str(), lines(&got.headers)), ("https://a/x", vec!["te: trailers".into()]));
}

#[test]
fn an_upgrade_passes_and_one_that_would_blind_the_rules_does_not() {
    let policy = policy(http(false, false, &[]));
    let upgrade = |fields: &str| {
        let mut head = head(&format!("GET / HTTP/1.1\nHost: a\n{fields}"));
        let forward = forwarded(policy.request(&mut head, &client(&policy)));
        (forward.upgrade, lines(&head.headers))
    };
    let (asked, got) = upgrade("Connection: keep-alive, Upgrade\nUpgrade: websocket\nKeep-Alive: 5");
    assert!(asked);
    assert_eq!(got, ["connection: upgrade", "host: a", "upgrade: websocket"]);
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAM",
        "Connection: Upgrade\nUpgrade: websocket, H2C",
        "Connection: Upgrade\nUpgrade: TLS/1.2",
        "Connection: Upgrade\nUpgrade: HTTP/2.0",
        "Connection: Upgrade\nUpgrade: ,",
        "Connection: Upgrade",
        "Upgrade: websocket",
    ] {
        assert_eq!(upgrade(fields), (false, vec!["host: a".to_owned()]), "{fields}");
    }
}

#[test]
fn the_host_of_an_absolute_target_wins() {
    let policy = policy(http(false, false, &[]));
    let mut got = head("GET http://real.example.org:8080/x?y HTTP/1.1\nHost: other");
    forwarded(policy.request(&mut got, &client(&policy)));
    assert_eq!(
        (got.uri.to_string().as_str(), lines(&got.headers)),
        ("/x?y", vec!["host: real.example.org:8080".into()])
    );
    to_http2(&mut got, true).unwrap();
    assert_eq!(got.uri.to_string(), "https://real.example.org:8080/x?y");
    assert_eq!((lines(&got.headers), got.version), (vec![], http::Version::HTTP_2));
}

#[test]
fn options_of_the_server_itself_keep_their_asterisk() {
    let policy = policy(http(false, false, &[]));
    let mut got = head("OPTIONS * HTTP/1.1\nHost: a");
    forwarded(policy.request(&mut got, &client(&policy)));
    assert_eq!(got.uri.to_string(), "*");
    to_http2(&mut got, false).unwrap();
    assert_eq!(got.uri.path(), "*");
}

#[test]
fn a_plain_request_is_sent_to_the_tls_port_and_one_over_tls_is_not() {
    let cases = [
        (443, "GET /a?b=c HTTP/1.1\nHost: Shop.example.org:80", "https://Shop.example.org/a?b=c"),
        (8443, "POST / HTTP/1.1\nHost: [2001:db8::1]:80", "https://[2001:db8::1]:8443/"),
        (443, "GET //evil.example/x HTTP/1.1\nHost: a", "https://a//evil.example/x"),
        (443, "GET / HTTP/1.0", "https://192.0.2.80/"),
        (443, "OPTIONS * HTTP/1.1\nHost: a", "https://a/"),
    ];
    for (port, request, expected) in cases {
        let service = crate::config::model::VirtualService { tls: Some(tls_on(port)), ..service(Http::default()) };
        let policy = Policy::new(&service, Pages::default()).unwrap();
        let answer = answered(policy.request(&mut head(request), &client(&policy)));
        assert_eq!((answer.status.as_u16(), location(&answer)), (308, expected), "{request}");
        assert_eq!(answer.origin, Origin::TlsRedirect);
        let secure = policy.client("172.26.11.7:5".parse().unwrap(), "192.0.2.80:443".parse().unwrap(), true);
        let mut head = head(request);
        forwarded(policy.request(&mut head, &secure));
        assert_eq!(head.headers["x-forwarded-proto"], "https");
    }
}

#[test]
fn an_answer_loses_what_is_of_the_connection_and_keeps_the_rest() {
    let policy = policy(Http::default());
    let facts = client(&policy);
    let forward = forwarded(policy.request(&mut head("GET / HTTP/1.1\nHost: a"), &facts));
    let answer = |status: u16| {
        let response = http::Response::builder().status(status);
        let fields = [
            ("connection", "upgrade, x-hop"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("trailer", "x-sum"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
        ];
        let response = fields.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        response.body(()).unwrap().into_parts().0
    };
    let mut plain = answer(200);
    policy.response(&mut plain, &forward, &facts, Some("web1"), None);
    assert_eq!(lines(&plain.headers), ["set-cookie: a=b", "set-cookie: c=d", "trailer: x-sum"]);

    let asked = "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket";
    let forward = forwarded(policy.request(&mut head(asked), &facts));
    let mut switched = answer(101);
    policy.response(&mut switched, &forward, &facts, Some("web1"), None);
    let upgrade = ["connection: upgrade", "set-cookie: a=b", "set-cookie: c=d", "trailer: x-sum", "upgrade: websocket"];
    assert_eq!(lines(&switched.headers), upgrade);
}

#[test]
fn only_what_can_be_asked_twice_is_repeated() {
    use BodyProgress::{Begun, Empty, NotBegun};
    let repeats = |method: &str, body| may_repeat(&method.parse().unwrap(), body);
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        assert!(repeats(method, Empty) && repeats(method, NotBegun), "{method}");
        assert!(!repeats(method, Begun), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PROPPATCH"] {
        assert!(!repeats(method, Empty) && !repeats(method, NotBegun), "{method}");
    }
}

#[test]
fn clients_of_a_real_server_with_a_redirect_are_sent_there_with_what_they_asked() {
    let policy = policy(Http::default());
    for url in ["https://dr.example.org/app", "https://dr.example.org/app/"] {
        let answer = policy.server_redirect(url, &head("GET /x?y HTTP/1.1\nHost: a")).unwrap();
        assert_eq!((answer.status.as_u16(), location(&answer)), (302, "https://dr.example.org/app/x?y"));
    }
    assert!(policy.server_redirect("https://dr", &head("HEAD / HTTP/1.1\nHost: a")).is_some());
    assert!(policy.server_redirect("https://dr", &head("POST / HTTP/1.1\nHost: a")).is_none());
}

#[test]
fn what_passes_between_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policy>();
    shared::<super::super::ClientFacts>();
    assert!(std::mem::size_of::<super::super::Forward>() <= 64, "it is moved for each request");
}
