//! `${NAME}` in values.
//!
//! In: the text of a value, the environment. Out: the text with variables filled in. Absent: what is
//! filled in is never read as YAML again, so a variable cannot add keys.

use super::code::Code;
use super::decode::Context;
use super::places::Place;
use super::source::Span;
use super::tree::clip;

/// Longest text after filling in, in bytes; longer than any value that makes sense.
const MAX_BYTES: usize = 64 << 10;

/// Replaces `${NAME}`, and `$${` by `${`. `None` after a mistake was noted.
pub(crate) fn fill_in(cx: &mut Context<'_>, text: &str, span: Span, place: Place) -> Option<String> {
    if !text.contains("${") {
        return Some(text.to_owned());
    }
    let mut filled = String::with_capacity(text.len());
    let mut complete = true;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let name = &rest[at + 2..];
        let Some(end) = name.find('}') else {
            cx.problems
                .add(Code::BadVariable, place, span, "`${` without `}`")
                .help("write `${NAME}`, or `$${` for a plain `${`");
            return None;
        };
        match value_of(cx, &name[..end], span, place) {
            Some(value) => filled.push_str(&value),
            None => complete = false,
        }
        rest = &name[end + 1..];
        if filled.len() > MAX_BYTES {
            cx.problems.add(Code::TooLarge, place, span, format!("the value is longer than {MAX_BYTES} bytes"));
            return None;
        }
    }
    filled.push_str(rest);
    complete.then_some(filled)
}

/// The escape for [`fill_in`]: text that reads back as itself.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn value_of(cx: &mut Context<'_>, name: &str, span: Span, place: Place) -> Option<String> {
    let shown = clip(name);
    let at = within(cx, span, name);
    if !is_name(name) {
        cx.problems
            .add(Code::BadVariable, place, at, format!("`{shown}` is not the name of an environment variable"))
            .help("names have letters, digits and `_`; write `$${` for a plain `${`");
        return None;
    }
    let value = (cx.env)(name);
    if value.is_none() {
        cx.problems
            .add(Code::BadVariable, place, at, format!("the environment variable {shown} is not set"))
            .help(format!("set {shown} where lbd and lbctl are started, for example in /etc/default/lb"));
    }
    value
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The part of the value that is `${NAME}`, where the text is as it was typed.
fn within(cx: &Context<'_>, span: Span, name: &str) -> Span {
    let typed = cx.places.map().slice(span);
    let wanted = format!("${{{name}}}");
    let Some(start) = typed.find(&wanted).and_then(|at| u32::try_from(at).ok()) else { return span };
    let length = u32::try_from(wanted.len()).unwrap_or(0);
    Span { start: span.start + start, end: span.start + start + length, ..span }
}
