//! The text format of Prometheus, version 0.0.4: names, labels, values.
//!
//! In: names and values. Out: lines. Absent: which there are.

use std::fmt::Write as _;

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// The lines before the samples of a family.
pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str("# HELP ");
    text.push_str(name);
    text.push(' ');
    escape(text, help, false);
    // Writing to a String cannot fail.
    let _ = write!(text, "\n# TYPE {name} {kind}\n");
}

/// The line of one sample.
pub(super) fn sample<'a>(
    text: &mut String,
    name: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: Value,
) {
    text.push_str(name);
    let mut separator = '{';
    for (label, value) in labels {
        text.push(separator);
        text.push_str(label);
        text.push_str("=\"");
        escape(text, value, true);
        text.push('"');
        separator = ',';
    }
    text.push_str(if separator == '{' { " " } else { "} " });
    let _ = match value {
        Value::Whole(value) => write!(text, "{value}"),
        Value::Real(value) if value.is_finite() => write!(text, "{value}"),
        Value::Real(value) if value.is_nan() => write!(text, "NaN"),
        Value::Real(value) => write!(text, "{}Inf", if value > 0.0 { '+' } else { '-' }),
    };
    text.push('\n');
}

/// Backslashes and ends of line are escaped everywhere, quotes where the text stands in quotes.
fn escape(text: &mut String, raw: &str, quoted: bool) {
    let mut rest = raw;
    while let Some(at) = rest.find(|c| matches!(c, '\\' | '\n') || quoted && c == '"') {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        let mut special = special.chars();
        match special.next() {
            Some('\n') => text.push_str("\\n"),
            Some(other) => text.extend(['\\', other]),
            None => {}
        }
        rest = special.as_str();
    }
    text.push_str(rest);
}
