//! Rules and edits that nobody wrote.

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::super::super::model::*;
use super::super::super::values;
use super::name;
use super::proxy::networks;

/// What YAML could mistake for something else, in the text of a header.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        Just(String::new()),
        "[!-~]([ -~]{0,10}[!-~])?".prop_filter("placeholders and groups are written below", |text| {
            !text.contains('{') && !text.contains('$')
        }),
        Just("{client} {host}, {uri}".to_owned()),
        Just("{\"group\": 1}".to_owned()),
        Just("true".to_owned()),
        Just("~".to_owned()),
    ]
    .boxed()
}

/// Encoded slashes or encoded dots: a path with both may be refused, as servers differ on what it means.
fn path() -> BoxedStrategy<String> {
    prop_oneof![
        "/([a-z$:*&!{}\\[\\],~-]|%(2[0-9A-DF]|[3-7][0-9A-F])){0,8}",
        "/([a-z$:*&!{}\\[\\],~-]|%(2[0-9A-E]|5[0-9ABD-F]|[3467][0-9A-F])){0,8}",
    ]
    .boxed()
}

fn field() -> BoxedStrategy<String> {
    "X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,9}".boxed()
}

/// With what it may be replaced by.
fn pattern() -> BoxedStrategy<(String, String)> {
    prop_oneof![
        Just(("^/(a)(b)$".to_owned(), "/$2$$$1".to_owned())),
        Just(("(?<name>[a-z]+)".to_owned(), "${name}x".to_owned())),
        "[a-z]{1,5}[+*]?".prop_map(|pattern| (pattern, "/x".to_owned())),
    ]
    .boxed()
}

fn edit() -> BoxedStrategy<HeaderEdit> {
    prop_oneof![
        (field(), text()).prop_map(|(name, value)| HeaderEdit::Insert { name, value }),
        (field(), text()).prop_map(|(name, value)| HeaderEdit::Set { name, value }),
        text().prop_map(|value| HeaderEdit::Set { name: "Host".into(), value }),
        field().prop_map(|name| HeaderEdit::Delete { name }),
        (field(), pattern()).prop_map(|(name, (pattern, with))| HeaderEdit::Replace { name, pattern, with }),
    ]
    .boxed()
}

/// In the order in which they are printed.
fn conditions() -> BoxedStrategy<Vec<Condition>> {
    let host = prop_oneof![
        "[a-z0-9-]{1,9}(\\.[a-z]{1,3})?",
        Just("*.example.org".to_owned()),
        Just("[2001:db8::1]".to_owned())
    ];
    let patterns = || vec(pattern().prop_map(|(pattern, _)| pattern), 1..3);
    let value = prop_oneof![
        Just(HeaderMatch::Exists),
        name().prop_map(HeaderMatch::Equals),
        name().prop_map(HeaderMatch::Contains),
        pattern().prop_map(|(pattern, _)| HeaderMatch::Regex(pattern)),
    ];
    let header = (field(), value).prop_map(|(name, value)| Condition::Header { name, value });
    (
        of(vec(host, 1..3).prop_map(Condition::Host)),
        of(vec(path(), 1..3).prop_map(Condition::Path)),
        of(vec(path(), 1..3).prop_map(Condition::PathPrefix)),
        of(patterns().prop_map(Condition::PathRegex)),
        of(vec("[A-Z]{3,7}", 1..3).prop_map(Condition::Method)),
        vec(header, 0..3),
        of(networks(1).prop_map(Condition::Client)),
    )
        .prop_map(|(host, path, prefix, regex, method, headers, client)| {
            let before = [host, path, prefix, regex, method].into_iter().flatten();
            before.chain(headers).chain(client).collect()
        })
        .boxed()
}

fn action() -> BoxedStrategy<RuleAction> {
    let status = prop_oneof![Just(301), Just(302), Just(303), Just(307), Just(308)];
    let location = prop_oneof![
        Just("{scheme}://{host}/new{uri}".to_owned()),
        path().prop_filter("no placeholder", |path| !path.contains('{'))
    ];
    prop_oneof![
        "pool [ab]".prop_map(RuleAction::Pool),
        (location, status).prop_map(|(location, status)| RuleAction::Redirect { location, status }),
        (400..600u16).prop_map(|status| RuleAction::Deny { status }),
        (200..600u16, "[a-z]{1,5}/[a-z]{1,5}", "(?s).{0,20}").prop_map(|(status, content_type, body)| {
            let has_body = !matches!(status, 204 | 205 | 304);
            let body = body.chars().filter(|c| has_body && (!c.is_control() || *c == '\n')).collect();
            RuleAction::Respond { status, content_type, body }
        }),
    ]
    .boxed()
}

fn rule() -> BoxedStrategy<Rule> {
    let rewrite = prop_oneof![
        (path(), path()).prop_map(|(prefix, with)| Rewrite::Prefix { prefix, with }),
        pattern().prop_map(|(pattern, with)| Rewrite::Regex { pattern, with }),
    ];
    (conditions(), conditions(), vec(edit(), 0..3), vec(edit(), 0..3), of(rewrite), of(action()), any::<bool>())
        .prop_map(|(when, unless, request_headers, response_headers, rewrite, action, is_named)| {
            let does_nothing = request_headers.is_empty() && response_headers.is_empty() && rewrite.is_none();
            let action = action.or(does_nothing.then_some(RuleAction::Deny { status: 403 }));
            let name = is_named.then(String::new);
            Rule { name, when, unless, request_headers, response_headers, rewrite, action }
        })
        .boxed()
}

pub(super) fn http_settings() -> BoxedStrategy<Http> {
    let statuses = prop::sample::select(values::ErrorPages::STATUSES.to_vec());
    (
        (any::<bool>(), 8192..=1_048_576u32, 0..=10u8, 0..=100u8),
        (any::<bool>(), any::<bool>(), networks(0)),
        btree_map(statuses, name().prop_map(Into::into), 0..3),
        vec(edit(), 0..3),
        vec(edit(), 0..3),
        (vec(rule(), 0..4), name()),
    )
        .prop_map(
            |(
                (http2, max_header_bytes, retries, retry_budget),
                forwarded,
                error_pages,
                request_headers,
                response_headers,
                (mut rules, name),
            )| {
                for (at, rule) in rules.iter_mut().enumerate() {
                    rule.name = rule.name.as_ref().map(|_| format!("{name}{at}"));
                }
                let (x_forwarded, forwarded, trusted) = forwarded;
                Http {
                    http2,
                    max_header_bytes,
                    forwarded: Forwarded { x_forwarded, forwarded, trusted },
                    request_headers,
                    response_headers,
                    rules,
                    retries,
                    retry_budget,
                    error_pages,
                }
            },
        )
        .boxed()
}

/// A rule names no pool that nobody is in.
pub(super) fn keep_known_pools(http: &mut Http, servers: &[RealServer]) {
    for rule in &mut http.rules {
        if let Some(RuleAction::Pool(pool)) = &rule.action
            && !servers.iter().any(|server| server.pool.as_ref() == Some(pool))
        {
            rule.action = Some(RuleAction::Deny { status: 404 });
        }
    }
}
