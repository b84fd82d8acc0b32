//! What is refused, and with what; what is not.

use http::{HeaderValue, StatusCode, Uri};

use super::super::{Reason, examine, examine_answer};
use super::head;

#[test]
fn each_malformed_request_is_refused_for_its_own_reason() {
    let cases: &[(&str, Reason)] = &[
        ("CONNECT db:5432 HTTP/1.1\nHost: db", Reason::Connect),
        ("TRACE / HTTP/1.1\nHost: a", Reason::Trace),
        ("GET * HTTP/1.1\nHost: a", Reason::Target),
        ("GET db:80 HTTP/1.1\nHost: a", Reason::Target),
        ("GET ftp://a/x HTTP/1.1\nHost: a", Reason::Target),
        ("GET /\u{e9} HTTP/1.1\nHost: a", Reason::TargetBytes),
        ("GET /?\u{e9} HTTP/1.1\nHost: a", Reason::TargetBytes),
        ("GET / HTTP/1.1", Reason::NoHost),
        ("GET http://a/ HTTP/1.1", Reason::NoHost),
        ("GET / HTTP/2.0", Reason::NoHost),
        ("GET / HTTP/1.1\nHost: a\nHost: a", Reason::SeveralHosts),
        ("GET / HTTP/1.1\nHost: a\nHost: b", Reason::SeveralHosts),
        ("GET / HTTP/1.0\nHost: a\nHost: b", Reason::SeveralHosts),
        ("GET / HTTP/1.1\nHost: ", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: user@a", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a/b", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a b", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a,b", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a:http", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a:65536", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a:80:80", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: :80", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: [::1", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: [::g]", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a%2eb", Reason::BadHost),
        ("GET http://user@a/ HTTP/1.1\nHost: a", Reason::BadHost),
        ("GET https://a/ HTTP/2.0\nHost: b", Reason::OtherHost),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked", Reason::TwoLengths),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 6", Reason::BadLength),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 5, 5", Reason::BadLength),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: +5", Reason::BadLength),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: ", Reason::BadLength),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 18446744073709551616", Reason::BadLength),
        ("POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked", Reason::OldTransferEncoding),
        ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked", Reason::TransferEncoding),
        ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: xchunked", Reason::TransferEncoding),
        ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked", Reason::TransferEncoding),
        ("POST / HTTP/1.1\nHost: a\nExpect: 200-ok", Reason::Expectation),
        ("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nExpect: 200-ok", Reason::Expectation),
        ("GET https://a/ HTTP/2.0\nX:  a", Reason::BadValue),
        ("GET https://a/ HTTP/2.0\nX: a\t", Reason::BadValue),
        ("GET https://a/ HTTP/2.0\nConnection: close", Reason::ConnectionField),
        ("GET https://a/ HTTP/2.0\nTransfer-Encoding: chunked", Reason::ConnectionField),
        ("GET https://a/ HTTP/2.0\nUpgrade: websocket", Reason::ConnectionField),
        ("GET https://a/ HTTP/2.0\nKeep-Alive: 5", Reason::ConnectionField),
        ("GET https://a/ HTTP/2.0\nProxy-Connection: close", Reason::ConnectionField),
        ("GET https://a/ HTTP/2.0\nTE: gzip", Reason::ConnectionField),
    ];
    for (text, reason) in cases {
        let refused = examine(&head(text)).expect_err(text);
        assert_eq!((refused.reason, refused.status), (*reason, reason.status()), "{text}");
    }
}

#[test]
fn ordinary_and_merely_odd_requests_pass() {
    for text in [
        "GET / HTTP/1.1\nHost: www.example.org",
        "GET / HTTP/1.0",
        "GET /a?b=c&d=%zz HTTP/1.1\nHost: a:8080",
        "GET /{x}|\"y\\ HTTP/1.1\nHost: [2001:db8::1]:80",
        "GET / HTTP/1.1\nHost: my_host.example.org.",
        "GET / HTTP/1.1\nHost: a:",
        "GET http://a/ HTTP/1.1\nHost: b",
        "OPTIONS * HTTP/1.1\nHost: a",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 5",
        "POST / HTTP/1.1\nHost: a\nExpect: 100-Continue",
        "GET https://a/ HTTP/2.0\nTE: trailers",
        "GET https://a/ HTTP/2.0\nHost: A",
        "PROPFIND /dav HTTP/1.1\nHost: a\nDepth: 1",
        "GET / HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: Upgrade",
    ] {
        assert_eq!(examine(&head(text)), Ok(()), "{text}");
    }
}

#[test]
fn what_the_types_rule_out_stays_ruled_out() {
    for bytes in [&b"a\r\nb"[..], b"a\nb", b"a\0b", b"a\x7fb", b"a\x1bb"] {
        assert!(HeaderValue::from_bytes(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(Uri::try_from("/a#b").unwrap().path_and_query().unwrap().as_str(), "/a");
    assert!(Uri::try_from("/a b").is_err());
    assert!(Uri::try_from("/a\r\nb").is_err());
}

#[test]
fn every_reason_has_a_name_of_its_own_and_is_in_the_reference() {
    let reference = include_str!("../../../../../../docs/reference/http.md");
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} |", reason.name(), reason.status().as_u16());
        assert!(reference.contains(&row), "not in the reference: {row}");
    }
    let names: std::collections::BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(Reason::ALL.iter().all(|reason| reason.status().as_u16() >= 400));
}

#[test]
fn answers_that_cannot_be_sent_on_are_refused() {
    let answer = |status: u16, encoding: &str| {
        let response = http::Response::builder().status(status);
        let response = if encoding.is_empty() { response } else { response.header("transfer-encoding", encoding) };
        response.body(()).unwrap().into_parts().0
    };
    assert_eq!(examine_answer(&answer(200, "chunked"), false), Ok(()));
    assert_eq!(examine_answer(&answer(200, ""), false), Ok(()));
    assert_eq!(examine_answer(&answer(101, ""), true), Ok(()));
    let refused = examine_answer(&answer(101, ""), false).unwrap_err();
    assert_eq!((refused.status, refused.reason), (StatusCode::BAD_GATEWAY, Reason::Unasked));
    assert_eq!(examine_answer(&answer(200, "gzip, chunked"), false).unwrap_err().reason, Reason::AnswerEncoding);
}
