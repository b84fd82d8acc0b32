//! Single values: numbers, durations, addresses, ports, names, paths.
//!
//! In: the text of a scalar. Out: a typed value in range, or a sentence that says what is expected;
//! the schema of each type; and the same value as text again. Absent: rules between values.

mod address;
mod http;
mod ports;
mod text;

use std::time::Duration;

pub(crate) use address::{Address, Clients, Socket, SourceChoice};
pub(crate) use http::{
    Body, ContentType, ErrorPages, FieldName, HeaderText, HostPattern, Location, Method, RedirectStatus, Replacement,
    RequestPath,
};
pub(crate) use ports::{Ports, SourcePorts};
use serde_json::{Value, json};
pub(crate) use text::{
    AbsolutePath, AeTitle, CookieName, Device, Expected, FilePath, Host, Name, Pattern, SecretText, Text, Url,
    check_name,
};

use crate::config::code::Code;
use crate::config::decode::{Context, Definitions, FromNode, ToJson};
use crate::config::places::Place;
use crate::config::tree::{Node, clip};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<T, const MIN: u64, const MAX: u64>(pub(crate) T);

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> FromNode for Number<T, MIN, MAX> {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "a number")?;
        // `u64::from_str` would take a leading plus sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Ok(number) = text.parse::<u64>()
            && digits
            && (MIN..=MAX).contains(&number)
            && let Ok(number) = T::try_from(number)
        {
            return Some(Self(number));
        }
        let is_number = text.strip_prefix('-').unwrap_or(&text).bytes().all(|byte| byte.is_ascii_digit());
        let message = if is_number && !text.is_empty() {
            format!("{} is outside {MIN} to {MAX}", clip(&text))
        } else {
            format!("`{}` is not a number", clip(&text))
        };
        cx.report(Code::BadNumber, place, message).help(format!("write a whole number from {MIN} to {MAX}"));
        None
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

impl<T: Copy + Into<u64>, const MIN: u64, const MAX: u64> ToJson for Number<T, MIN, MAX> {
    fn to_json(&self) -> Value {
        let number: u64 = self.0.into();
        number.into()
    }
}

/// A transport port.
pub(crate) type Port = Number<u16, 1, 65535>;

/// `true` or `false`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch(pub(crate) bool);

impl FromNode for Switch {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        match cx.scalar(node, place, "true or false")?.as_str() {
            "true" => Some(Self(true)),
            "false" => Some(Self(false)),
            other => {
                let message = format!("`{}` is neither true nor false", clip(other));
                cx.report(Code::UnknownWord, place, message).help("write true or false");
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "boolean"})
    }
}

impl ToJson for Switch {
    fn to_json(&self) -> Value {
        self.0.into()
    }
}

/// A duration from `MIN` to `MAX` milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period<const MIN: u64, const MAX: u64>(pub(crate) Duration);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    /// Whole seconds.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl<const MIN: u64, const MAX: u64> FromNode for Period<MIN, MAX> {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "a duration")?;
        let (least, most) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        match parse_duration(&text) {
            Some(duration) if (least..=most).contains(&duration) => Some(Self(duration)),
            parsed => {
                let (least, most) = (print_duration(least), print_duration(most));
                let message = match parsed {
                    Some(_) => format!("{} is outside {least} to {most}", clip(&text)),
                    None => format!("`{}` is not a duration", clip(&text)),
                };
                cx.report(Code::BadDuration, place, message)
                    .help("write a whole number and a unit: 100ms, 4s, 5m, 6h, 1d; a number alone means seconds");
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"anyOf": [
            {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)?$"},
            {"type": "integer", "minimum": 0, "description": "Seconds."}
        ]})
    }
}

impl<const MIN: u64, const MAX: u64> ToJson for Period<MIN, MAX> {
    fn to_json(&self) -> Value {
        print_duration(self.0).into()
    }
}

/// Units and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration as it is typed: `4s`, `100ms`; a number alone is seconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = if digits == text.len() { "s" } else { &text[digits..] };
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.checked_mul(*milliseconds)?))
}

/// In the largest unit that gives a whole number: 300 s is `5m`. Less than a millisecond is dropped.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit);
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => "0s".to_owned(),
    }
}
