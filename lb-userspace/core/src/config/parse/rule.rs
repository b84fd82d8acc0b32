//! Rules over requests.

use std::collections::HashMap;

use super::edit::{IN_REDIRECTS, Side, edits, groups, placeholders};
use crate::config::code::Code;
use crate::config::decode::{At, Context, Several};
use crate::config::model::{Condition, HeaderMatch, Rewrite, Rule, RuleAction};
use crate::config::places::Place;
use crate::config::raw::{self, ConditionsSection, HeaderSection, RedirectForm, RuleSection};
use crate::config::values::Text;

/// Rules of one service.
const MAX_RULES: usize = 256;
/// Values of one condition.
const MAX_VALUES: usize = 256;

pub(super) fn rules(service: &raw::Service, cx: &mut Context<'_>) -> Vec<Rule> {
    let Some(list) = &service.rules else { return Vec::new() };
    if list.value.0.len() > MAX_RULES {
        let message = format!("{} rules in one service; the limit is {MAX_RULES}", list.value.0.len());
        cx.report_key(Code::TooMany, list.place, message).help("a condition takes a list of values");
    }
    let written = &list.value.0[..list.value.0.len().min(MAX_RULES)];
    unique_names(written, cx);
    let rules = written.iter().map(|at| rule(&at.value, cx)).collect();
    let end = written.iter().position(|at| takes_all(&at.value));
    if let Some(never) = end.and_then(|end| written.get(end + 1)) {
        cx.report(Code::UnreachableRule, never.place, "no request comes to this rule")
            .label("the rule before it takes every request")
            .help("give that rule a condition, or put it last");
    }
    rules
}

/// Whether no request goes past it.
pub(super) fn takes_all(rule: &RuleSection) -> bool {
    // A section without a condition always holds, as `when`, and as `unless`: there is nothing that could hold.
    let is_empty = |section: &Option<At<ConditionsSection>>| {
        section.as_ref().is_none_or(|section| !section.value.faulty && is_empty(&section.value))
    };
    acts(rule) && !rule.faulty && is_empty(&rule.when) && is_empty(&rule.unless)
}

/// Whether it says what becomes of a request.
fn acts(rule: &RuleSection) -> bool {
    rule.pool.is_some() || rule.redirect.is_some() || rule.deny.is_some() || rule.respond.is_some()
}

fn does_nothing(rule: &RuleSection) -> bool {
    let edits = [&rule.request_headers, &rule.response_headers];
    !acts(rule) && rule.rewrite.is_none() && edits.into_iter().flatten().all(|list| list.value.0.is_empty())
}

fn is_empty(section: &ConditionsSection) -> bool {
    let ConditionsSection { host, path, path_prefix, path_regex, method, header, client, .. } = section;
    host.is_none()
        && path.is_none()
        && path_prefix.is_none()
        && path_regex.is_none()
        && method.is_none()
        && header.is_none()
        && client.is_none()
}

fn unique_names(rules: &[At<RuleSection>], cx: &mut Context<'_>) {
    let mut known: HashMap<&str, Place> = HashMap::new();
    for name in rules.iter().filter_map(|at| at.value.name.as_ref()) {
        let text = name.value.text.as_str();
        if let Some(first) = known.insert(text, name.place) {
            let label = format!("another is at {}", cx.places.reference(first));
            cx.report(Code::DuplicateName, name.place, format!("two rules of this service are named {text}"))
                .label(label)
                .help("give each rule its own name, or none");
        }
    }
}

fn rule(raw: &RuleSection, cx: &mut Context<'_>) -> Rule {
    let rule = Rule {
        name: raw.name.as_ref().map(|name| name.value.text.clone()),
        when: raw.when.as_ref().map_or_else(Vec::new, |section| conditions(&section.value, cx)),
        unless: raw.unless.as_ref().map_or_else(Vec::new, |section| conditions(&section.value, cx)),
        request_headers: edits(raw.request_headers.as_ref(), Side::Request, cx),
        response_headers: edits(raw.response_headers.as_ref(), Side::Answer, cx),
        rewrite: raw.rewrite.as_ref().and_then(|section| rewrite(&section.value, cx)),
        action: action(raw, cx),
    };
    for_the_real_server(raw, rule.action.as_ref(), cx);
    if !raw.faulty && does_nothing(raw) {
        cx.report(Code::MissingKey, raw.place, "the rule does nothing").help(
            "add pool, redirect, deny or respond, or what is to be changed: rewrite, request_headers, response_headers",
        );
    }
    rule
}

/// The balancer's own answers come from no real server.
fn for_the_real_server(raw: &RuleSection, action: Option<&RuleAction>, cx: &mut Context<'_>) {
    if matches!(action, None | Some(RuleAction::Pool(_))) {
        return;
    }
    let settings = [
        ("rewrite", raw.rewrite.as_ref().map(|at| at.place)),
        ("request_headers", raw.request_headers.as_ref().map(|at| at.place)),
    ];
    for (key, place) in settings {
        if let Some(place) = place {
            cx.report_key(Code::NoEffect, place, format!("`{key}` has no effect here"))
                .label("the request goes to no real server")
                .help(format!("remove `{key}`, or put it into a rule of its own without an action"));
        }
    }
}

fn action(raw: &RuleSection, cx: &mut Context<'_>) -> Option<RuleAction> {
    let written = [
        ("pool", raw.pool.as_ref().map(|at| at.place)),
        ("redirect", raw.redirect.as_ref().map(|at| at.place)),
        ("deny", raw.deny.as_ref().map(|at| at.place)),
        ("respond", raw.respond.as_ref().map(|at| at.place)),
    ];
    let mut written = written.into_iter().filter_map(|(key, place)| Some((key, place?)));
    if let (Some((first, _)), Some((second, place))) = (written.next(), written.next()) {
        cx.report_key(Code::ChooseOne, place, format!("the rule says both {first} and {second}"))
            .help("keep one: it says what becomes of the request");
    }
    if let Some(pool) = &raw.pool {
        return Some(RuleAction::Pool(pool.value.text.clone()));
    }
    if let Some(form) = &raw.redirect {
        let (location, place, status) = match &form.value {
            RedirectForm::Location(location) => (location, form.place, 302),
            RedirectForm::Full(section) => {
                let location = section.location.as_ref()?;
                (&location.value, location.place, section.status.value.0)
            }
        };
        placeholders(&location.text, place, IN_REDIRECTS, cx);
        return Some(RuleAction::Redirect { location: location.text.clone(), status });
    }
    if let Some(status) = &raw.deny {
        return Some(RuleAction::Deny { status: status.value.0 });
    }
    let section = &raw.respond.as_ref()?.value;
    let (status, body) = (section.status.value.0, section.body.value.text.clone());
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        cx.report_key(Code::ChooseOne, section.body.place, format!("an answer with status {status} has no body"))
            .help("remove `body`, or write another status");
    }
    Some(RuleAction::Respond { status, content_type: section.content_type.value.text.clone(), body })
}

fn rewrite(raw: &raw::RewriteSection, cx: &mut Context<'_>) -> Option<Rewrite> {
    let with = raw.with.as_ref();
    match (&raw.prefix, &raw.regex) {
        (Some(prefix), None) => {
            let with = with?;
            if !with.value.text.starts_with('/') {
                cx.report(Code::BadText, with.place, "what takes the place of the beginning of a path begins with /")
                    .help(format!("write /{}", with.value.text));
            }
            Some(Rewrite::Prefix { prefix: prefix.value.text.clone(), with: with.value.text.clone() })
        }
        (None, Some(pattern)) => {
            let with = with?;
            groups(&with.value.text, with.place, pattern, cx);
            Some(Rewrite::Regex { pattern: pattern.value.text.clone(), with: with.value.text.clone() })
        }
        (None, None) if raw.faulty => None,
        (None, None) => {
            cx.report(Code::MissingKey, raw.place, "the rewrite names neither `prefix` nor `regex`")
                .help("write {prefix: /old, with: /new} or {regex: EXPRESSION, with: TEXT}");
            None
        }
        (Some(_), Some(regex)) => {
            cx.report_key(Code::ChooseOne, regex.place, "the rewrite names both `prefix` and `regex`").help("keep one");
            None
        }
    }
}

/// In the order of the reference, at most one of each kind but of headers.
fn conditions(raw: &ConditionsSection, cx: &mut Context<'_>) -> Vec<Condition> {
    let mut found = Vec::new();
    let lower = |host: &str| host.to_ascii_lowercase();
    found.extend(
        texts(raw.host.as_ref(), cx).map(|hosts| Condition::Host(hosts.iter().map(|host| lower(host)).collect())),
    );
    found.extend(texts(raw.path.as_ref(), cx).map(Condition::Path));
    found.extend(texts(raw.path_prefix.as_ref(), cx).map(Condition::PathPrefix));
    found.extend(texts(raw.path_regex.as_ref(), cx).map(Condition::PathRegex));
    found.extend(texts(raw.method.as_ref(), cx).map(Condition::Method));
    for header in values(raw.header.as_ref(), cx).unwrap_or_default() {
        found.extend(self::header(&header.value, cx));
    }
    let clients = values(raw.client.as_ref(), cx);
    found.extend(clients.map(|clients| Condition::Client(clients.iter().map(|at| at.value.0).collect())));
    found
}

fn values<'r, T>(several: Option<&'r At<Several<T>>>, cx: &mut Context<'_>) -> Option<&'r [At<T>]> {
    let several = several?;
    let values = &several.value.0;
    if values.len() > MAX_VALUES {
        let message = format!("{} values in one condition; the limit is {MAX_VALUES}", values.len());
        cx.report_key(Code::TooMany, several.place, message)
            .help("a regular expression or a network can stand for many");
    }
    Some(values)
}

fn texts<R>(several: Option<&At<Several<Text<R>>>>, cx: &mut Context<'_>) -> Option<Vec<String>> {
    values(several, cx).map(|values| values.iter().map(|at| at.value.text.clone()).collect())
}

fn header(raw: &HeaderSection, cx: &mut Context<'_>) -> Option<Condition> {
    let value = match (&raw.equals, &raw.contains, &raw.regex) {
        (None, None, None) => HeaderMatch::Exists,
        (Some(text), None, None) => HeaderMatch::Equals(text.value.text.clone()),
        (None, Some(text), None) => HeaderMatch::Contains(text.value.text.clone()),
        (None, None, Some(text)) => HeaderMatch::Regex(text.value.text.clone()),
        _ => {
            cx.report(Code::ChooseOne, raw.place, "more than one of equals, contains and regex is written")
                .help("keep one; `header` takes a list, of which each must fit");
            return None;
        }
    };
    Some(Condition::Header { name: raw.name.as_ref()?.value.text.clone(), value })
}
