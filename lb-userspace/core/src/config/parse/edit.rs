//! Edits of headers, and what texts may refer to: placeholders and groups of regular expressions.

use crate::config::code::Code;
use crate::config::decode::{At, Context, List};
use crate::config::model::HeaderEdit;
use crate::config::places::Place;
use crate::config::raw::EditSection;
use crate::config::tree::clip;
use crate::config::values::{FieldName, Pattern, Text};
use crate::config::words::closest;

/// Edits of one list.
const MAX_EDITS: usize = 64;

/// What is replaced in the text of a header.
const IN_HEADERS: &[&str] = &["client", "host", "method", "path", "query", "uri", "scheme", "server"];
/// What is replaced in a redirect, which is made before any real server is chosen.
pub(super) const IN_REDIRECTS: &[&str] = &["host", "path", "query", "uri", "scheme"];

/// Headers that say where a message ends or what becomes of its connection (RFC 9110 sections 7.6.1, 7.8 and
/// 10.1.1, RFC 9112 section 6).
const THE_PROXYS_OWN: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Answer,
}

pub(super) fn edits(list: Option<&At<List<EditSection>>>, side: Side, cx: &mut Context<'_>) -> Vec<HeaderEdit> {
    let Some(list) = list else { return Vec::new() };
    if list.value.0.len() > MAX_EDITS {
        cx.report_key(Code::TooMany, list.place, format!("more than {MAX_EDITS} edits in one list"));
    }
    list.value.0.iter().take(MAX_EDITS).filter_map(|at| edit(&at.value, side, cx)).collect()
}

fn edit(raw: &EditSection, side: Side, cx: &mut Context<'_>) -> Option<HeaderEdit> {
    let verbs = [("insert", &raw.insert), ("set", &raw.set), ("delete", &raw.delete), ("replace", &raw.replace)];
    let written: Vec<(&str, &At<Text<FieldName>>)> =
        verbs.into_iter().filter_map(|(verb, name)| Some((verb, name.as_ref()?))).collect();
    let (verb, name) = match written[..] {
        [one] => one,
        [] if raw.faulty => return None,
        [] => {
            cx.report(Code::MissingKey, raw.place, "the edit says neither insert, set, delete nor replace")
                .help("write one, for example {set: X-Frame-Options, value: DENY} or {delete: Server}");
            return None;
        }
        [(first, _), (second, at), ..] => {
            cx.report_key(Code::ChooseOne, at.place, format!("the edit says both {first} and {second}"))
                .help("write two edits, in the order in which they are to happen");
            return None;
        }
    };
    let own = match verb {
        "insert" | "set" => ["value"].as_slice(),
        "replace" => &["pattern", "with"],
        _ => &[],
    };
    only_its_keys(raw, verb, own, cx);
    may_be_edited(verb, name, side, cx);
    let text = |at: &At<Text<FieldName>>| at.value.text.clone();
    match verb {
        "delete" => Some(HeaderEdit::Delete { name: text(name) }),
        "replace" => {
            let (pattern, with) =
                (needed(raw.pattern.as_ref(), "pattern", raw, cx), needed(raw.with.as_ref(), "with", raw, cx));
            let (pattern, with) = (pattern?, with?);
            groups(&with.value.text, with.place, pattern, cx);
            let (pattern, with) = (pattern.value.text.clone(), with.value.text.clone());
            Some(HeaderEdit::Replace { name: text(name), pattern, with })
        }
        _ => {
            let value = needed(raw.value.as_ref(), "value", raw, cx)?;
            placeholders(&value.value.text, value.place, IN_HEADERS, cx);
            let (name, value) = (text(name), value.value.text.clone());
            Some(if verb == "set" { HeaderEdit::Set { name, value } } else { HeaderEdit::Insert { name, value } })
        }
    }
}

/// Reports it when it is missing.
fn needed<'r, T>(value: Option<&'r At<T>>, key: &str, raw: &EditSection, cx: &mut Context<'_>) -> Option<&'r At<T>> {
    if value.is_none() && !raw.faulty {
        cx.report(Code::MissingKey, raw.place, format!("`{key}` is missing"))
            .help(format!("add `{key}:` to this edit"));
    }
    value
}

fn only_its_keys(raw: &EditSection, verb: &str, own: &[&str], cx: &mut Context<'_>) {
    let keys = [
        ("value", raw.value.as_ref().map(|at| at.place), "insert and set"),
        ("pattern", raw.pattern.as_ref().map(|at| at.place), "replace"),
        ("with", raw.with.as_ref().map(|at| at.place), "replace"),
    ];
    for (key, place, owner) in keys {
        if let Some(place) = place
            && !own.contains(&key)
        {
            cx.report_key(Code::ChooseOne, place, format!("{verb} has no `{key}`"))
                .label(format!("it belongs to {owner}"))
                .help(format!("remove `{key}`"));
        }
    }
}

fn may_be_edited(verb: &str, name: &At<Text<FieldName>>, side: Side, cx: &mut Context<'_>) {
    let lower = name.value.text.to_ascii_lowercase();
    if THE_PROXYS_OWN.contains(&lower.as_str()) {
        cx.report(Code::HeaderNotEditable, name.place, format!("{} cannot be edited", name.value.text))
            .label("the proxy writes it by itself, on each side for that connection")
            .help("remove this edit");
    } else if lower == "host" && side == Side::Request && verb != "set" {
        cx.report(Code::HeaderNotEditable, name.place, format!("{verb} does not go with Host"))
            .label("a request has exactly one")
            .help("write {set: Host, value: …}");
    }
}

/// Reports `{names}` that nothing stands for.
pub(super) fn placeholders(text: &str, place: Place, known: &[&str], cx: &mut Context<'_>) {
    for (_, rest) in text.match_indices('{').map(|(at, _)| text.split_at(at + 1)) {
        let Some((name, _)) = rest.split_once('}') else { return };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !is_name || known.contains(&name) {
            continue;
        }
        let help = match closest(name, known) {
            Some(near) => format!("did you mean `{{{near}}}`?"),
            None => {
                let all: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
                format!("the placeholders here are {}", all.join(", "))
            }
        };
        cx.report(Code::UnknownPlaceholder, place, format!("`{{{}}}` stands for nothing", clip(name))).help(help);
    }
}

/// Reports groups that the expression does not have: they would be replaced by nothing.
pub(super) fn groups(with: &str, place: Place, pattern: &At<Text<Pattern>>, cx: &mut Context<'_>) {
    let Ok(expression) = regex::Regex::new(&pattern.value.text) else { return };
    let mut rest = with;
    while let Some((_, after)) = rest.split_once('$') {
        let length = after.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(length),
        };
        // `$$` is a plain one.
        rest = after.strip_prefix('$').unwrap_or(behind);
        let exists = match name.parse::<usize>() {
            Ok(number) => number < expression.captures_len(),
            Err(_) => expression.capture_names().flatten().any(|known| known == name),
        };
        if name.is_empty() || after.starts_with('$') || exists {
            continue;
        }
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let (number, letters) = name.split_at(digits);
        let message = format!("the expression has no group `{}`", clip(name));
        let help = match (number.is_empty(), letters.is_empty()) {
            (false, false) => format!("for group {number} before `{letters}` write `$${{{number}}}{letters}`"),
            _ => format!("it has {}; write `$$` for a plain `$`", how_many(expression.captures_len() - 1)),
        };
        cx.report(Code::UnknownGroup, place, message).help(help);
    }
}

fn how_many(groups: usize) -> String {
    match groups {
        0 => "no group: put parentheses around what is to be kept".to_owned(),
        1 => "one group, `$1`".to_owned(),
        groups => format!("{groups} groups, `$1` to `${groups}`"),
    }
}
