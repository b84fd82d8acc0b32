//! Settings of HTTP services, printed.

use serde_yaml::{Mapping, Value};

use super::{mapping, networks, path, put, put_some, text, texts};
use crate::config::model::{Condition, HeaderEdit, HeaderMatch, Http, Rewrite, Rule, RuleAction};

pub(super) fn put_http_settings(section: &mut Mapping, http: &Http) {
    let mut forwarded = Mapping::new();
    put(&mut forwarded, "x_forwarded", http.forwarded.x_forwarded);
    put(&mut forwarded, "forwarded", http.forwarded.forwarded);
    if !http.forwarded.trusted.is_empty() {
        put(&mut forwarded, "trusted", networks(&http.forwarded.trusted));
    }
    let mut settings = Mapping::new();
    put(&mut settings, "http2", http.http2);
    put(&mut settings, "max_header_bytes", http.max_header_bytes);
    put(&mut settings, "forwarded", Value::Mapping(forwarded));
    put(&mut settings, "retries", http.retries);
    put(&mut settings, "retry_budget", http.retry_budget);
    if !http.error_pages.is_empty() {
        let pages = http.error_pages.iter().map(|(status, file)| (Value::from(*status), path(file)));
        put(&mut settings, "error_pages", Value::Mapping(pages.collect()));
    }
    put(section, "http", Value::Mapping(settings));
    put(section, "request_headers", edits(&http.request_headers));
    put(section, "response_headers", edits(&http.response_headers));
    put(section, "rules", Value::Sequence(http.rules.iter().map(rule).collect()));
}

fn edits(list: &[HeaderEdit]) -> Value {
    Value::Sequence(list.iter().map(edit).collect())
}

fn edit(edit: &HeaderEdit) -> Value {
    match edit {
        HeaderEdit::Insert { name, value } => mapping([("insert", text(name)), ("value", text(value))]),
        HeaderEdit::Set { name, value } => mapping([("set", text(name)), ("value", text(value))]),
        HeaderEdit::Delete { name } => mapping([("delete", text(name))]),
        HeaderEdit::Replace { name, pattern, with } => {
            mapping([("replace", text(name)), ("pattern", text(pattern)), ("with", text(with))])
        }
    }
}

fn rule(rule: &Rule) -> Value {
    let mut section = Mapping::new();
    put_some(&mut section, "name", rule.name.as_ref().map(text));
    for (key, list) in [("when", &rule.when), ("unless", &rule.unless)] {
        if !list.is_empty() {
            put(&mut section, key, conditions(list));
        }
    }
    for (key, list) in [("request_headers", &rule.request_headers), ("response_headers", &rule.response_headers)] {
        if !list.is_empty() {
            put(&mut section, key, edits(list));
        }
    }
    match &rule.rewrite {
        None => {}
        Some(Rewrite::Prefix { prefix, with }) => {
            put(&mut section, "rewrite", mapping([("prefix", text(prefix)), ("with", text(with))]));
        }
        Some(Rewrite::Regex { pattern, with }) => {
            put(&mut section, "rewrite", mapping([("regex", text(pattern)), ("with", text(with))]));
        }
    }
    match &rule.action {
        None => {}
        Some(RuleAction::Pool(pool)) => put(&mut section, "pool", text(pool)),
        Some(RuleAction::Redirect { location, status }) => {
            put(&mut section, "redirect", mapping([("location", text(location)), ("status", (*status).into())]));
        }
        Some(RuleAction::Deny { status }) => put(&mut section, "deny", *status),
        Some(RuleAction::Respond { status, content_type, body }) => put(
            &mut section,
            "respond",
            mapping([("status", (*status).into()), ("content_type", text(content_type)), ("body", text(body))]),
        ),
    }
    Value::Mapping(section)
}

fn conditions(list: &[Condition]) -> Value {
    let mut section = Mapping::new();
    for condition in list {
        match condition {
            Condition::Host(hosts) => put(&mut section, "host", texts(hosts)),
            Condition::Path(paths) => put(&mut section, "path", texts(paths)),
            Condition::PathPrefix(prefixes) => put(&mut section, "path_prefix", texts(prefixes)),
            Condition::PathRegex(patterns) => put(&mut section, "path_regex", texts(patterns)),
            Condition::Method(methods) => put(&mut section, "method", texts(methods)),
            Condition::Header { .. } => put(&mut section, "header", headers(list)),
            Condition::Client(clients) => put(&mut section, "client", networks(clients)),
        }
    }
    Value::Mapping(section)
}

/// All of them stand under one key.
fn headers(list: &[Condition]) -> Value {
    let one = |condition: &Condition| match condition {
        Condition::Header { name, value } => Some(header(name, value)),
        _ => None,
    };
    Value::Sequence(list.iter().filter_map(one).collect())
}

fn header(name: &str, value: &HeaderMatch) -> Value {
    let name = ("name", text(name));
    match value {
        HeaderMatch::Exists => mapping([name]),
        HeaderMatch::Equals(value) => mapping([name, ("equals", text(value))]),
        HeaderMatch::Contains(value) => mapping([name, ("contains", text(value))]),
        HeaderMatch::Regex(value) => mapping([name, ("regex", text(value))]),
    }
}
