//! What holds for any head that the parser can produce.

use std::sync::LazyLock;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri, Version, request, response};
use proptest::prelude::*;

use super::super::path::{clean, judged};
use super::super::{Decision, Pages, Policy, examine, examine_answer, host, to_http2};
use super::{client, service, tls_on};
use crate::config::model::{
    Condition, Forwarded, HeaderEdit, HeaderMatch, Http, Persistence, PersistenceBy, Rewrite, Rule, RuleAction,
    VirtualService,
};

const NAMES: &[&str] = &[
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x_forwarded_for",
    "x-forwarded-host",
    "content_length",
    "x-a",
    "x-b",
    "http2-settings",
    "trailer",
    "set-cookie",
    "cache-control",
];

const VALUES: &[&str] = &[
    "",
    "close",
    "keep-alive, x-a",
    "upgrade",
    "x-b, host, te",
    "trailers",
    "gzip, trailers",
    "chunked",
    "5",
    "6",
    "websocket",
    "h2c",
    "100-continue",
    "lb=t1; a=b",
    "lb=\"x",
    "www.example.org",
    "a@b",
    "[::1]:80",
    "for=1.2.3.4",
    "10.0.0.1",
    "lb=t2; Path=/",
    "private",
];

fn fields() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![6 => prop::sample::select(NAMES).prop_map(str::to_owned), 1 => "[a-z_-]{1,12}"];
    let value = prop_oneof![
        4 => prop::sample::select(VALUES).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..24),
    ];
    prop::collection::vec((name, value), 0..14).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
                headers.append(name, value);
            }
        }
        headers
    })
}

fn paths() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "//", ".", "..", "%2e", "%2F", "%5c", "\\", ";", "admin", "%61", "a", "%zz", "%", "%00", "*", "app", "%25",
    ]);
    prop_oneof![
        3 => prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat())),
        1 => "/[!-~]{0,20}",
        1 => any::<String>(),
    ]
}

fn heads() -> impl Strategy<Value = request::Parts> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "PUT", "CONNECT", "TRACE", "BREW"]);
    let version = prop::sample::select(vec![Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]);
    let target = (prop::sample::select(vec!["", "", "http://www.example.org", "https://u@h:1", "h:5"]), paths());
    (method, version, target, fields()).prop_map(|(method, version, (before, path), headers)| {
        let mut head = http::Request::new(()).into_parts().0;
        head.method = Method::from_bytes(method.as_bytes()).unwrap();
        head.uri = Uri::try_from(format!("{before}{path}")).or_else(|_| Uri::try_from(path)).unwrap_or_default();
        head.version = version;
        head.headers = headers;
        head
    })
}

/// Heads that are accepted, with as much in them that is to be removed.
fn accepted() -> impl Strategy<Value = request::Parts> {
    heads().prop_map(|mut head| {
        head.method =
            if head.method == Method::CONNECT || head.method == Method::TRACE { Method::PUT } else { head.method };
        head.version = Version::HTTP_11;
        for name in ["transfer-encoding", "expect", "content-length"] {
            head.headers.remove(name);
        }
        head.headers.insert("host", HeaderValue::from_static("www.example.org:80"));
        head.headers = head.headers.iter().map(|(name, value)| (name.clone(), trimmed(value))).collect();
        if examine(&head).is_err() {
            head.uri = Uri::from_static("/admin//a?b");
        }
        head
    })
}

fn trimmed(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes().trim_ascii()).unwrap()
}

static BUSY: LazyLock<Policy> = LazyLock::new(|| busy(false));
static REDIRECTING: LazyLock<Policy> = LazyLock::new(|| busy(true));

/// A policy in which every kind of edit, condition and rewrite is used.
fn busy(redirect: bool) -> Policy {
    let edit = |name: &str, value: &str| HeaderEdit::Set { name: name.into(), value: value.into() };
    let all = "{client} {host} {method} {path} {query} {scheme} {server} {uri}";
    let edits = || {
        vec![
            HeaderEdit::Insert { name: "x-a".into(), value: all.replace("{server} ", "") },
            edit("x-s", all),
            HeaderEdit::Replace { name: "x-b".into(), pattern: "[^a]*".into(), with: "$0$0".into() },
            HeaderEdit::Delete { name: "expires".into() },
        ]
    };
    let rule = |when, rewrite, action| Rule {
        name: None,
        when,
        unless: vec![Condition::Header { name: "x-b".into(), value: HeaderMatch::Equals("5".into()) }],
        request_headers: edits(),
        response_headers: edits(),
        rewrite,
        action,
    };
    let rewrite = Rewrite::Regex { pattern: "([^/]*)/".into(), with: "$1/./".into() };
    let deny = Some(RuleAction::Deny { status: 403 });
    let away = Some(RuleAction::Redirect { location: "{path}{uri}".into(), status: 302 });
    let rules = vec![
        rule(vec![Condition::PathPrefix(vec!["/admin".into()])], None, deny),
        rule(vec![Condition::PathRegex(vec!["a$".into()])], Some(rewrite), None),
        rule(vec![Condition::Host(vec!["*.example.org".into()]), Condition::Path(vec!["/a".into()])], None, away),
        rule(vec![Condition::Method(vec!["PUT".into()])], None, Some(RuleAction::Pool("p".into()))),
    ];
    let mut request_headers = edits();
    request_headers.push(HeaderEdit::Replace { name: "host".into(), pattern: "w".into(), with: "".into() });
    let forwarded = Forwarded { x_forwarded: true, forwarded: true, trusted: vec!["172.26.11.7".parse().unwrap()] };
    let http = Http { rules, request_headers, response_headers: edits(), forwarded, ..Http::default() };
    let by = PersistenceBy::Cookie { name: "lb".into() };
    let persistence = Persistence { by, timeout: std::time::Duration::from_secs(60), prefix_v4: 32, prefix_v6: 128 };
    let service =
        VirtualService { persistence: Some(persistence), tls: redirect.then(|| tls_on(8443)), ..service(http) };
    Policy::new(&service, Pages::default()).unwrap()
}

/// What is of the connection and must not be sent on, but for an upgrade that was let through.
fn leftovers(headers: &HeaderMap, upgrade: bool) -> Vec<String> {
    let hop = ["keep-alive", "proxy-connection", "transfer-encoding", "http2-settings", "expect"];
    let mut left: Vec<String> =
        hop.iter().filter(|name| headers.contains_key(**name)).map(|name| (*name).into()).collect();
    let upgrading =
        headers.contains_key("upgrade") && headers.get("connection").is_some_and(|value| value == "upgrade");
    if upgrading != upgrade || (!upgrade && (headers.contains_key("upgrade") || headers.contains_key("connection"))) {
        left.push("upgrade".into());
    }
    if headers.get_all("te").iter().any(|value| value != "trailers") {
        left.push("te".into());
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_request_is_judged_and_what_is_sent_on_is_well_formed(
        mut head in prop_oneof![heads(), accepted()], redirect in prop::bool::weighted(0.1),
    ) {
        let policy = if redirect { &*REDIRECTING } else { &*BUSY };
        let facts = client(policy);
        let accepted = examine(&head).is_ok();
        let Decision::Forward(forward) = policy.request(&mut head, &facts) else { return Ok(()) };
        policy.named(&mut head, &forward, &facts, "web 1");
        prop_assert_eq!(leftovers(&head.headers, forward.upgrade), Vec::<String>::new());
        prop_assert!(head.uri.authority().is_none());
        if accepted {
            prop_assert_eq!(head.headers.get_all("host").iter().count(), 1);
            prop_assert!(host::is_valid(head.headers["host"].as_bytes()));
            prop_assert!(head.headers.get_all("content-length").iter().count() <= 1);
            prop_assert!(head.headers.get_all("cookie").iter().all(|value| !value.as_bytes().starts_with(b"lb=")));
            prop_assert!(to_http2(&mut head, true).is_ok());
        }
    }

    #[test]
    fn an_accepted_request_is_accepted_again_once_it_was_edited(mut head in accepted()) {
        let policy = &*BUSY;
        prop_assert_eq!(examine(&head), Ok(()));
        let facts = client(policy);
        if let Decision::Forward(_) = policy.request(&mut head, &facts) {
            head.version = Version::HTTP_11;
            prop_assert_eq!(examine(&head), Ok(()));
        }
    }

    #[test]
    fn any_answer_loses_what_is_of_the_connection(
        status in 100u16..600, headers in fields(), upgrade in any::<bool>(), cookie in any::<bool>(),
    ) {
        let policy = &*BUSY;
        let facts = client(policy);
        let asked = if upgrade { "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket" } else { "GET / HTTP/1.1\nHost: a" };
        let Decision::Forward(forward) = policy.request(&mut super::head(asked), &facts) else { panic!("it is answered") };
        let mut head: response::Parts = http::Response::new(()).into_parts().0;
        head.status = http::StatusCode::from_u16(status).unwrap();
        head.headers = headers;
        let coded = head.headers.contains_key("transfer-encoding");
        let _ = examine_answer(&head, forward.upgrade);
        let cookie = cookie.then(|| policy.set_cookie("t9", true).unwrap());
        policy.response(&mut head, &forward, &facts, Some("web1"), cookie.as_ref());
        let switched = head.headers.contains_key("upgrade");
        prop_assert!(!switched || (status == 101 && upgrade));
        prop_assert_eq!(leftovers(&head.headers, switched), Vec::<String>::new());
        prop_assert!(!(coded && head.headers.contains_key("content-length")));
        let ours = head.headers.get_all("set-cookie").iter().filter(|value| value.as_bytes().starts_with(b"lb=")).count();
        prop_assert_eq!(ours, usize::from(cookie.is_some()));
    }

    #[test]
    fn normalisation_is_done_at_once(path in paths()) {
        if let Ok(once) = clean(&path) {
            prop_assert_eq!(clean(&once), Ok(once.clone()));
        }
        if let Ok(once) = judged(&path) {
            prop_assert_eq!(judged(&once), Ok(once.clone()));
            prop_assert!(once.starts_with('/') || once == "*");
            prop_assert!(!once.contains("//") && !once.contains(';') && !once.contains('\\'));
            prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")));
        }
    }

    #[test]
    fn a_rule_on_a_path_is_not_dodged_by_writing_it_otherwise(
        escapes in prop::collection::vec(any::<bool>(), 5),
        upper in any::<bool>(),
        before in prop::sample::select(vec!["/", "//", "/./", "/x/../", "/%2e/", "/x/%2E%2e/", "/%2F", "/\\", "/;a/", "/x/y/.././../"]),
        after in prop::sample::select(vec!["", "/", "/x", ";a=b", ";a/x", "//x", "%2fx", "/.", "\\x"]),
    ) {
        let name: String = "admin".chars().zip(escapes).map(|(letter, escaped)| match (escaped, upper) {
            (false, _) => letter.to_string(),
            (true, false) => format!("%{:02x}", u32::from(letter)),
            (true, true) => format!("%{:02X}", u32::from(letter)),
        }).collect();
        let policy = &*BUSY;
        let mut head = super::head(&format!("GET {before}{name}{after} HTTP/1.1\nHost: a"));
        let Decision::Answer(answer) = policy.request(&mut head, &client(policy)) else { panic!("{}", head.uri) };
        prop_assert!(matches!(answer.status.as_u16(), 403 | 400));
    }
}
