//! The cookie of persistence.

use http::HeaderMap;
use proptest::prelude::*;

use super::super::cookie::{self, MOST_BYTES};
use super::{client, forwarded, head, lines, with_cookie};

fn cookies(fields: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append("cookie", field.parse().unwrap());
    }
    headers
}

#[test]
fn the_token_is_found_and_kept_from_the_real_server() {
    let cases: &[(&[&str], Option<&str>, &[&str])] = &[
        (&["lb=t1"], Some("t1"), &[]),
        (&["a=b; lb=t1; c=d"], Some("t1"), &["cookie: a=b; c=d"]),
        (&["lb=\"t1\""], Some("t1"), &[]),
        (&["a=b", "lb=t1; c=d"], Some("t1"), &["cookie: a=b; c=d"]),
        (&["lb=t1; lb=t2"], Some("t1"), &[]),
        (&["lb=; lb=t2"], Some("t2"), &[]),
        (&["lb; a=b"], None, &["cookie: a=b"]),
        (&["lb=\"t1"], None, &[]),
        (&["lb=t 1"], None, &[]),
        (&["lb = t1 ;a=b"], Some("t1"), &["cookie: a=b"]),
        (&["xlb=t1; LB=t2; lbx=3"], None, &["cookie: xlb=t1; LB=t2; lbx=3"]),
        (&["a=\"x; lb=t1; y\""], Some("t1"), &["cookie: a=\"x; y\""]),
        (&["a=b;;  c=d"], None, &["cookie: a=b;;  c=d"]),
        (&[], None, &[]),
    ];
    for (fields, token, rest) in cases {
        let mut headers = cookies(fields);
        assert_eq!(cookie::take(&mut headers, "lb").as_deref(), *token, "{fields:?}");
        assert_eq!(lines(&headers), *rest, "{fields:?}");
    }
}

#[test]
fn a_token_that_is_too_long_is_none() {
    let longest = "x".repeat(MOST_BYTES);
    assert_eq!(cookie::take(&mut cookies(&[&format!("lb={longest}")]), "lb").as_deref(), Some(longest.as_str()));
    assert_eq!(cookie::take(&mut cookies(&[&format!("lb={longest}x")]), "lb"), None);
}

#[test]
fn cookies_that_http2_has_split_are_one_field_again() {
    let policy = super::policy(crate::config::model::Http::default());
    let mut head = head("GET https://a/ HTTP/2.0\nCookie: a=b\nCookie: c=d");
    forwarded(policy.request(&mut head, &client(&policy)));
    assert_eq!(head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b; c=d"]);
}

#[test]
fn a_client_is_bound_by_a_cookie_that_no_cache_shares() {
    let policy = with_cookie("lb");
    let facts = client(&policy);
    let mut request = head("GET / HTTP/1.1\nHost: a\nCookie: lb=old; x=y");
    let forward = forwarded(policy.request(&mut request, &facts));
    assert_eq!(forward.cookie.as_deref(), Some("old"));
    assert_eq!(request.headers["cookie"], "x=y");

    let cookie = policy.set_cookie("t1", false).unwrap();
    assert_eq!(cookie, "lb=t1; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(policy.set_cookie("t1", true).unwrap(), "lb=t1; Path=/; HttpOnly; SameSite=Lax; Secure");
    let answer = |cache: &str| {
        let response = http::Response::builder().header("set-cookie", "lb=forged").header("set-cookie", "s=1; Path=/");
        let mut response = response.header("cache-control", cache).body(()).unwrap().into_parts().0;
        policy.response(&mut response, &forward, &facts, Some("web1"), Some(&cookie));
        lines(&response.headers)
    };
    let bound = "set-cookie: lb=t1; Path=/; HttpOnly; SameSite=Lax";
    assert_eq!(
        answer("max-age=60"),
        ["cache-control: max-age=60", "cache-control: private", "set-cookie: s=1; Path=/", bound]
    );
    assert_eq!(answer("No-Store"), ["cache-control: No-Store", "set-cookie: s=1; Path=/", bound]);
    assert_eq!(answer("private=\"x\", max-age=1")[0], "cache-control: private=\"x\", max-age=1");
}

#[test]
fn a_token_that_would_break_the_cookie_is_refused() {
    let policy = with_cookie("lb");
    for token in ["", "a b", "a;b", "a\"b", "a\nb", "\u{e9}", "a\\b", "a,b"] {
        assert_eq!(policy.set_cookie(token, false), None, "{token:?}");
    }
    assert_eq!(super::policy(crate::config::model::Http::default()).set_cookie("t1", false), None);
}

proptest! {
    #[test]
    fn a_token_comes_back_as_it_was_set(
        token in "[!#-+\\--:<-\\[\\]-~]{1,128}",
        before in prop::collection::vec("[a-k]=[!#-+\\--:<-\\[\\]-~]{0,20}", 0..4),
        split in any::<bool>(),
    ) {
        let set = cookie::set("lb", &token, true).unwrap();
        let pair = set.to_str().unwrap().split("; ").next().unwrap().to_owned();
        let mut fields: Vec<String> = before.clone();
        fields.push(pair);
        let joined = fields.join("; ");
        let fields: Vec<&str> = if split { fields.iter().map(String::as_str).collect() } else { vec![&joined] };
        let mut headers = cookies(&fields);
        prop_assert_eq!(cookie::take(&mut headers, "lb"), Some(token.into()));
        let rest = headers.get("cookie").map(|value| value.to_str().unwrap().to_owned());
        prop_assert_eq!(rest.unwrap_or_default(), before.join("; "));
    }

    #[test]
    fn reading_twice_finds_nothing_the_second_time(fields in prop::collection::vec("(lb|a)?=?[ -~]{0,12}(; ?lb=[a-z\"]{0,5})?", 0..4)) {
        let trimmed: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let mut headers = cookies(&trimmed);
        cookie::take(&mut headers, "lb");
        let once = headers.clone();
        prop_assert_eq!(cookie::take(&mut headers, "lb"), None);
        prop_assert_eq!(headers, once);
    }
}
