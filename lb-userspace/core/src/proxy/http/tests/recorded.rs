//! Requests to a service with the rules of a real site, and what becomes of each.

use bytes::Bytes;
use std::path::Path;

use super::super::{Decision, Origin, Page, Pages, Policy, Reason};
use super::{answered, client, forwarded, head, lines, location, policy, service};
use crate::config::model::{
    Condition, Fallback, Forwarded, HeaderEdit, HeaderMatch, Http, Rewrite, Rule, RuleAction, VirtualService,
};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn set(name: &str, value: &str) -> HeaderEdit {
    HeaderEdit::Set { name: name.to_owned(), value: value.to_owned() }
}

fn insert(name: &str, value: &str) -> HeaderEdit {
    HeaderEdit::Insert { name: name.to_owned(), value: value.to_owned() }
}

fn delete(name: &str) -> HeaderEdit {
    HeaderEdit::Delete { name: name.to_owned() }
}

fn replace(name: &str, pattern: &str, with: &str) -> HeaderEdit {
    HeaderEdit::Replace { name: name.to_owned(), pattern: pattern.to_owned(), with: with.to_owned() }
}

fn rule(name: &str, when: Vec<Condition>, action: Option<RuleAction>) -> Rule {
    Rule {
        name: Some(name.to_owned()),
        when,
        unless: Vec::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        rewrite: None,
        action,
    }
}

fn prefix(paths: &[&str]) -> Condition {
    Condition::PathPrefix(texts(paths))
}

fn header(name: &str, value: HeaderMatch) -> Condition {
    Condition::Header { name: name.to_owned(), value }
}

fn pool(name: &str) -> Option<RuleAction> {
    Some(RuleAction::Pool(name.to_owned()))
}

fn redirect(location: &str, status: u16) -> Option<RuleAction> {
    Some(RuleAction::Redirect { location: location.to_owned(), status })
}

fn bare() -> Http {
    Http { forwarded: Forwarded { x_forwarded: false, forwarded: false, trusted: Vec::new() }, ..Http::default() }
}

/// A portal, its interface for programs, an archive, and an old name.
fn site() -> Http {
    let intranet = Condition::Client(vec!["172.26.0.0/16".parse().unwrap(), "10.1.2.3".parse().unwrap()]);
    let mut rules = vec![
        rule("admin", vec![prefix(&["/admin"])], Some(RuleAction::Deny { status: 403 })),
        rule("legacy", vec![prefix(&["/old"])], None),
        rule("api", vec![prefix(&["/api", "/v2"])], pool("api")),
        rule(
            "moved",
            vec![Condition::Host(texts(&["old.example.org"]))],
            redirect("https://new.example.org{uri}", 301),
        ),
        rule("archive", vec![Condition::Host(texts(&["*.pacs.example.org"]))], pool("archive")),
        rule("robots", vec![Condition::Path(texts(&["/robots.txt"]))], None),
        rule("images", vec![Condition::PathRegex(texts(&["(?i)\\.(png|jpe?g)$"]))], pool("images")),
        rule("mobile", vec![header("user-agent", HeaderMatch::Contains("Mobile".into()))], pool("mobile")),
        rule("beta", vec![header("x-beta", HeaderMatch::Exists), intranet], pool("beta")),
        rule("writes", vec![Condition::Method(texts(&["PUT", "DELETE"]))], pool("writers")),
    ];
    rules[0].unless = vec![Condition::Client(vec!["172.26.99.0/24".parse().unwrap()])];
    rules[1].rewrite = Some(Rewrite::Prefix { prefix: "/old".into(), with: "/api/v1".into() });
    rules[5].action =
        Some(RuleAction::Respond { status: 200, content_type: "text/plain".into(), body: "Disallow: /\n".into() });
    Http { rules, ..bare() }
}

#[test]
fn a_site_with_rules_sends_each_request_where_its_first_rule_says() {
    let policy = policy(site());
    // Request; pool, or status and rule; what the real server is asked for, or Location.
    let cases: &[(&str, &str, &str)] = &[
        ("GET / HTTP/1.1\nHost: a", "-", "/"),
        ("GET /admin HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET /admin/x HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET /administrator HTTP/1.1\nHost: a", "-", "/administrator"),
        ("GET /%61dmin HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET //admin HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET /x/../admin HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET /admin;x/ HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET /%2fadmin HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET http://a/admin HTTP/1.1\nHost: a", "403 admin", ""),
        ("GET https://a/admin HTTP/2.0", "403 admin", ""),
        ("GET /x/..%2fadmin HTTP/1.1\nHost: a", "400", ""),
        ("GET /x/..;/admin HTTP/1.1\nHost: a", "400", ""),
        ("GET /%zz HTTP/1.1\nHost: a", "400", ""),
        ("GET /?x=%zz/../admin HTTP/1.1\nHost: a", "-", "/?x=%zz/../admin"),
        ("GET /API HTTP/1.1\nHost: a", "-", "/API"),
        ("GET /api HTTP/1.1\nHost: a", "api", "/api"),
        ("GET /api/group%2fname//x?y=%20 HTTP/1.1\nHost: a", "api", "/api/group%2fname//x?y=%20"),
        ("GET /apis HTTP/1.1\nHost: a", "-", "/apis"),
        ("GET /v2?q HTTP/1.1\nHost: a", "api", "/v2?q"),
        ("GET /old HTTP/1.1\nHost: a", "api", "/api/v1"),
        ("GET /old/%7Ex/./y?a=/old HTTP/1.1\nHost: a", "api", "/api/v1/~x/y?a=/old"),
        ("GET /older HTTP/1.1\nHost: a", "-", "/older"),
        ("GET /x?y=1 HTTP/1.1\nHost: old.example.org", "301 moved", "https://new.example.org/x?y=1"),
        ("GET /x HTTP/1.1\nHost: OLD.example.org.:80", "301 moved", "https://new.example.org/x"),
        ("OPTIONS * HTTP/1.1\nHost: old.example.org", "301 moved", "https://new.example.org/"),
        ("GET / HTTP/1.1\nHost: a.b.PACS.example.org:104", "archive", "/"),
        ("GET / HTTP/1.1\nHost: pacs.example.org", "-", "/"),
        ("GET / HTTP/1.1\nHost: xpacs.example.org", "-", "/"),
        ("GET /robots.txt HTTP/1.1\nHost: a", "200 robots", ""),
        ("GET /robots.txt/ HTTP/1.1\nHost: a", "-", "/robots.txt/"),
        ("GET /x/y.JPEG?z HTTP/1.1\nHost: a", "images", "/x/y.JPEG?z"),
        ("GET /x HTTP/1.1\nHost: a\nUser-Agent: none\nUser-Agent: Mobile Safari", "mobile", "/x"),
        ("GET /x HTTP/1.1\nHost: a\nUser-Agent: mobile", "-", "/x"),
        ("GET /x HTTP/1.1\nHost: a\nX-Beta: ", "beta", "/x"),
        ("GET /x HTTP/1.1\nHost: a\nX-Beta: 1\nConnection: x-beta", "-", "/x"),
        ("PUT /x HTTP/1.1\nHost: a", "writers", "/x"),
        ("POST /x HTTP/1.1\nHost: a", "-", "/x"),
    ];
    for (request, expected, target) in cases {
        let mut head = head(request);
        let (got, at) = match policy.request(&mut head, &client(&policy)) {
            Decision::Forward(forward) => (forward.pool.as_deref().unwrap_or("-").to_owned(), head.uri.to_string()),
            Decision::Answer(answer) => {
                let by = match &answer.origin {
                    Origin::Rule(name) => format!("{} {name}", answer.status.as_u16()),
                    Origin::Refused(reason) => {
                        assert_eq!(*reason, Reason::AmbiguousPath);
                        answer.status.as_u16().to_string()
                    }
                    other => panic!("{other:?}"),
                };
                (by, answer.headers.get("location").map_or("", |value| value.to_str().unwrap()).to_owned())
            }
        };
        assert_eq!((got.as_str(), at.as_str()), (*expected, *target), "{request}");
    }
}

#[test]
fn a_path_that_no_rule_looks_at_is_nobodys_business() {
    let rules = vec![rule("hosts", vec![Condition::Host(texts(&["a"]))], pool("a"))];
    let policy = policy(Http { rules, ..bare() });
    for path in ["/%zz", "/x/..%2fadmin", "/x/..;/", "/%00", "//"] {
        let mut head = head(&format!("GET {path} HTTP/1.1\nHost: a"));
        assert_eq!(forwarded(policy.request(&mut head, &client(&policy))).rule.as_deref(), Some("a").map(|_| "hosts"));
        assert_eq!(head.uri.to_string(), path);
    }
}

#[test]
fn who_is_excepted_from_a_rule_goes_on_to_the_next() {
    let policy = policy(site());
    let administrator = policy.client("172.26.99.5:5".parse().unwrap(), "192.0.2.80:80".parse().unwrap(), false);
    let mut head = head("GET /admin HTTP/1.1\nHost: a");
    assert_eq!(forwarded(policy.request(&mut head, &administrator)).pool, None);
}

#[test]
fn edits_are_made_in_order_and_say_what_was_asked() {
    let mut first = rule("1", vec![prefix(&["/app"])], None);
    first.request_headers = vec![
        set("X-Original", "{method} {scheme}://{host}{uri} {path} [{query}] {client}"),
        replace("cookie", "session=[^;]*", "session=x"),
        delete("accept"),
    ];
    first.rewrite = Some(Rewrite::Regex { pattern: "^/app/([^/]+)/(.*)$".into(), with: "/$2/$1".into() });
    first.response_headers = vec![set("X-Path", "{path} of {host}"), insert("Vary", "Origin")];
    let mut second = rule("2", vec![header("x-original", HeaderMatch::Regex("^GET".into()))], pool("app"));
    second.request_headers = vec![insert("Accept", "text/html"), set("X-Server", "{server}{path}")];
    let policy = policy(Http {
        rules: vec![first, second],
        request_headers: vec![set("X-Last", "{path}"), set("Host", "internal.example.org")],
        response_headers: vec![delete("server"), set("X-Served-By", "{server}"), set("X-Json", "{\"a\": {}}")],
        ..bare()
    });
    let facts = client(&policy);
    let mut head = head(
        "GET /app/one/two?x=1 HTTP/1.1\nHost: www.example.org:80\nAccept: a\nAccept: b\n\
         Cookie: a=b; session=secret; session=y",
    );
    let forward = forwarded(policy.request(&mut head, &facts));
    policy.named(&mut head, &forward, &facts, "web1");
    assert_eq!((head.uri.to_string().as_str(), forward.pool.as_deref()), ("/two/one?x=1", Some("app")));
    assert_eq!(
        lines(&head.headers),
        [
            "accept: text/html",
            "cookie: a=b; session=x; session=x",
            "host: internal.example.org",
            "x-last: /two/one",
            "x-original: GET http://www.example.org/app/one/two?x=1 /app/one/two [x=1] 172.26.11.7",
            "x-server: web1/two/one",
        ]
    );
    let response = http::Response::builder().header("server", "x").header("vary", "Accept");
    let mut response = response.body(()).unwrap().into_parts().0;
    policy.response(&mut response, &forward, &facts, Some("web1"), None);
    assert_eq!(
        lines(&response.headers),
        [
            "vary: Accept",
            "vary: Origin",
            "x-json: {\"a\": {}}",
            "x-path: /app/one/two of www.example.org",
            "x-served-by: web1",
        ]
    );
}

#[test]
fn a_host_that_a_rule_would_spoil_stays() {
    for edit in [replace("host", "example", "/"), set("host", "{query}"), replace("host", "^.*$", "")] {
        let policy = policy(Http { request_headers: vec![edit], ..bare() });
        let mut head = head("GET /?@x HTTP/1.1\nHost: www.example.org");
        forwarded(policy.request(&mut head, &client(&policy)));
        assert_eq!(lines(&head.headers), ["host: www.example.org"]);
    }
}

#[test]
fn a_replacement_that_explodes_leaves_no_field() {
    let policy = policy(Http { request_headers: vec![replace("x", "a", &"b".repeat(4000))], ..bare() });
    let mut head = head(&format!("GET / HTTP/1.1\nHost: a\nX: {}", "a".repeat(1000)));
    forwarded(policy.request(&mut head, &client(&policy)));
    assert_eq!(lines(&head.headers), ["host: a"]);
}

#[test]
fn a_rewrite_that_explodes_is_refused() {
    let mut long = rule("long", vec![], None);
    long.rewrite = Some(Rewrite::Regex { pattern: "a".into(), with: "b".repeat(4000) });
    let policy = policy(Http { rules: vec![long], ..bare() });
    let answer =
        answered(policy.request(&mut head(&format!("GET /{} HTTP/1.1\nHost: a", "a".repeat(99))), &client(&policy)));
    assert_eq!((answer.status.as_u16(), &answer.origin), (414, &Origin::Refused(Reason::LongTarget)));
}

#[test]
fn rewrites_keep_one_slash_between_both_parts() {
    let cases = [
        ("/api", "/", "/api/x", "/x"),
        ("/api", "/", "/api", "/"),
        ("/api", "", "/api", "/"),
        ("/api", "/v2", "/api/x?y", "/v2/x?y"),
        ("/api/", "/v2", "/api/x", "/v2/x"),
        ("/api/", "/v2/", "/api/x", "/v2/x"),
        ("/", "/app", "/x/y", "/app/x/y"),
        ("/", "/app/", "/", "/app/"),
        ("/api", "/v2", "/apis", "/apis"),
        ("/api", "/v2", "/%61pi/a%2fb", "/v2/a%2Fb"),
    ];
    for (prefix, with, path, expected) in cases {
        let mut all = rule("all", vec![], None);
        all.rewrite = Some(Rewrite::Prefix { prefix: prefix.into(), with: with.into() });
        let policy = policy(Http { rules: vec![all], ..bare() });
        let mut head = head(&format!("GET {path} HTTP/1.1\nHost: a"));
        forwarded(policy.request(&mut head, &client(&policy)));
        assert_eq!(head.uri.to_string(), expected, "{prefix} {with} {path}");
    }
}

#[test]
fn nobody_is_sent_to_another_site_by_the_path_he_asks_for() {
    let policy = policy(Http { rules: vec![rule("r", vec![], redirect("{uri}", 302))], ..bare() });
    for (path, expected) in
        [("//evil.example/x", "/evil.example/x"), ("/\\evil.example", "/evil.example"), ("/x?y", "/x?y")]
    {
        let answer = answered(policy.request(&mut head(&format!("GET {path} HTTP/1.1\nHost: a")), &client(&policy)));
        assert_eq!(location(&answer), expected, "{path}");
    }
}

#[test]
fn what_a_rule_answers_has_the_edits_of_answers() {
    let mut deny = rule("deny", vec![], Some(RuleAction::Deny { status: 403 }));
    deny.response_headers = vec![set("X-Why", "{method} {path}")];
    let http = Http { rules: vec![deny], response_headers: vec![set("X-Frame-Options", "DENY")], ..bare() };
    let page = Page::new(Path::new("403.txt"), Bytes::from_static(b"no"));
    let pages = Pages { errors: [(403, page)].into(), fallback: None };
    let policy = Policy::new(&service(http), pages).unwrap();
    let answer = answered(policy.request(&mut head("GET /x HTTP/1.1\nHost: a"), &client(&policy)));
    let fields = [
        "cache-control: no-store",
        "content-type: text/plain; charset=utf-8",
        "x-frame-options: DENY",
        "x-why: GET /x",
    ];
    assert_eq!(lines(&answer.headers), fields);
    assert_eq!(&answer.body[..], b"no");
    assert_eq!(answer.into_response().status().as_u16(), 403);
}

#[test]
fn errors_have_a_page_and_the_fallback_is_what_was_configured() {
    let plain = policy(bare());
    for status in [400, 403, 405, 408, 413, 414, 417, 429, 431, 500, 501, 502, 503, 504] {
        let answer = plain.error(status.try_into().unwrap());
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(body.contains(&format!("<h1>{status} ")), "{body}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    }
    assert!(plain.fallback().is_none());

    let with = |fallback, pages| {
        Policy::new(&VirtualService { fallback: Some(fallback), ..service(bare()) }, pages).unwrap().fallback()
    };
    let redirect = with(Fallback::Redirect("https://sorry.example.org/".into()), Pages::default()).unwrap();
    assert_eq!((redirect.status.as_u16(), location(&redirect)), (302, "https://sorry.example.org/"));
    let page = Page::new(Path::new("sorry.html"), Bytes::from_static(b"<p>sorry"));
    let pages = Pages { fallback: Some(page), ..Pages::default() };
    let page = with(Fallback::Page("sorry.html".into()), pages).unwrap();
    assert_eq!((page.status.as_u16(), &page.body[..], page.origin), (503, &b"<p>sorry"[..], Origin::Fallback));
    assert!(with(Fallback::Server { address: [10, 0, 0, 1].into(), port: None }, Pages::default()).is_none());
}
