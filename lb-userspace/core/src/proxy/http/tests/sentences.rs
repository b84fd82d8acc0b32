//! What cannot be compiled says which rule it is in, and why.

use super::super::{Pages, Policy};
use super::service;
use crate::config::model::{Condition, HeaderEdit, HeaderMatch, Http, Rewrite, Rule, RuleAction};

fn wrong(http: Http) -> String {
    Policy::new(&service(http), Pages::default()).err().unwrap_or_default()
}

fn wrong_rule(change: impl Fn(&mut Rule)) -> String {
    let mut rule = Rule {
        name: None,
        when: Vec::new(),
        unless: Vec::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        rewrite: None,
        action: None,
    };
    change(&mut rule);
    wrong(Http { rules: vec![rule], ..Http::default() })
}

fn set(name: &str, value: &str) -> HeaderEdit {
    HeaderEdit::Set { name: name.to_owned(), value: value.to_owned() }
}

#[test]
fn an_edit_that_cannot_be_is_refused() {
    let edit = |edit: HeaderEdit| wrong(Http { request_headers: vec![edit], ..Http::default() });
    assert_eq!(
        edit(set("X", "{clinet}")),
        "{clinet} in `{clinet}` is no placeholder; there are {client}, {host}, {method}, {path}, {query}, {scheme}, \
         {server}, {uri}"
    );
    assert_eq!(edit(set("X Y", "a")), "`X Y` is no name of a field");
    assert!(edit(set("X", "a\r\nY: b")).contains("has a line break or another control character"));
    for name in
        ["Connection", "transfer-encoding", "Content-Length", "TE", "Upgrade", "Keep-Alive", "Trailer", "Expect"]
    {
        assert!(edit(set(name, "a")).ends_with("it cannot be edited"), "{name}");
        assert!(edit(HeaderEdit::Delete { name: name.to_owned() }).ends_with("it cannot be edited"), "{name}");
    }
    assert!(edit(HeaderEdit::Delete { name: "Host".into() }).starts_with("every request has exactly one Host"));
    let replace = |pattern: &str, with: &str| {
        edit(HeaderEdit::Replace { name: "X".into(), pattern: pattern.into(), with: with.into() })
    };
    assert!(replace("(", "a").starts_with("`(` is no regular expression: "));
    assert!(replace("a", "b\nc").contains("has a line break"));
    assert_eq!(edit(set("X", "plain {server}")), "");
}

#[test]
fn a_rule_that_cannot_be_is_named() {
    let when = |condition: Condition| wrong_rule(|rule| rule.when = vec![condition.clone()]);
    assert_eq!(when(Condition::Path(vec!["x".into()])), "rule 1: the path `x` does not begin with /");
    assert_eq!(
        when(Condition::PathPrefix(vec!["/x/..%2f".into()])),
        "rule 1: servers differ on what the path `/x/..%2f` means; write it plainly"
    );
    assert!(when(Condition::PathRegex(vec!["[".into()])).starts_with("rule 1: `[` is no regular expression"));
    assert!(when(Condition::PathRegex(vec!["(\\w{900}){900}".into()])).starts_with("rule 1: "));
    assert_eq!(when(Condition::Method(vec!["G T".into()])), "rule 1: `G T` is no method");
    assert_eq!(when(Condition::Method(vec!["get".into()])), "rule 1: `get` is no method; write GET");
    for host in ["*", "*example.org", "a:80", "a/b", "", "*.*.example.org", ".example.org:1"] {
        let sentence =
            format!("rule 1: `{host}` is no host; write one like www.example.org or *.example.org, without port");
        assert_eq!(when(Condition::Host(vec![host.into()])), sentence);
    }
    assert_eq!(when(Condition::Host(vec!["WWW.example.org.".into(), "[2001:db8::1]".into()])), "");
    let header = Condition::Header { name: "a b".into(), value: HeaderMatch::Exists };
    assert_eq!(when(header), "rule 1: `a b` is no name of a field");

    let acts = |action: RuleAction| wrong_rule(|rule| rule.action = Some(action.clone()));
    assert_eq!(acts(RuleAction::Deny { status: 200 }), "rule 1: status 200 is outside 400 to 599");
    let redirect = |location: &str| acts(RuleAction::Redirect { location: location.into(), status: 302 });
    assert_eq!(
        redirect("https://{server}/"),
        "rule 1: `https://{server}/` may hold only {host}, {path}, {query}, {scheme} and {uri}"
    );
    assert_eq!(redirect("https://{host}{uri}"), "");
    let respond = RuleAction::Respond { status: 204, content_type: "text/plain".into(), body: "x".into() };
    assert_eq!(acts(respond), "rule 1: an answer with status 204 has no body");

    let rewrites = |with: &str| {
        let rewrite = Rewrite::Prefix { prefix: "/a".into(), with: with.into() };
        wrong_rule(|rule| rule.rewrite = Some(rewrite.clone()))
    };
    assert_eq!(rewrites("/b?c"), "rule 1: `/b?c` cannot be in a path: it has the character `?`; write %3F");
    assert_eq!(rewrites("/b c"), "rule 1: `/b c` cannot be in a path: it has the character ` `; write %20");
    assert!(rewrites("/%zz").starts_with("rule 1: servers differ"));
    assert_eq!(rewrites("/b%20c"), "");
}

#[test]
fn a_service_that_is_none_of_http_has_no_policy() {
    let service = crate::config::model::VirtualService { http: None, ..service(Http::default()) };
    assert_eq!(Policy::new(&service, Pages::default()).err().as_deref(), Some("shop is no service of HTTP"));
}
