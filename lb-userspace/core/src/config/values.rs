//! Single values: numbers, durations, addresses, ports, names, paths.
//!
//! In: the text of a scalar. Out: a typed value in range, or a sentence that says what is expected;
//! the schema of each type; and the same value as text again. Absent: rules between values.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::code::Code;
use super::decode::{Context, Definitions, FromNode, ToJson};
use super::model::PortRange;
use super::places::Place;
use super::tree::{Kind, Node, clip};

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

/// `4s`, `100ms`; a number alone is seconds.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = if digits == text.len() { "s" } else { &text[digits..] };
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.checked_mul(*milliseconds)?))
}

/// In the largest unit that gives a whole number: 300 s is `5m`. Less than a millisecond is dropped.
pub(crate) fn print_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit);
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => "0s".to_owned(),
    }
}

/// An IPv4 or IPv6 address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub(crate) IpAddr);

impl FromNode for Address {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "an IP address")?;
        if let Ok(address) = text.parse() {
            return Some(Self(address));
        }
        let help = match text.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => format!("write {address}, without the prefix"),
            _ => match text.parse::<SocketAddr>() {
                Ok(socket) => format!("write {}; a port has its own key", socket.ip()),
                Err(_) => {
                    "write an address such as 192.168.94.110 or 2001:db8::10; host names are not looked up".to_owned()
                }
            },
        };
        cx.report(Code::BadAddress, place, format!("`{}` is not an IP address", clip(&text))).help(help);
        None
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]})
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket(pub(crate) SocketAddr);

impl FromNode for Socket {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "an address and a port")?;
        match text.parse::<SocketAddr>() {
            Ok(socket) if socket.port() != 0 => Some(Self(socket)),
            _ => {
                let message = format!("`{}` is not an address and a port", clip(&text));
                cx.report(Code::BadAddress, place, message).help("write 192.168.94.41:7778 or [2001:db8::41]:7778");
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "string", "pattern": "^.+:[0-9]+$"})
    }
}

/// Ports and ranges, in the order of the file; disjoint, never empty.
#[derive(Clone, Debug)]
pub(crate) struct Ports(pub(crate) Vec<PortRange>);

/// Entries of one port list.
const MAX_PORT_ENTRIES: usize = 256;

impl FromNode for Ports {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut complete = true;
        match &node.kind {
            Kind::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    let at = cx.places.index(place, index, item.span);
                    complete &= Self::read_text(item, at, cx, &mut ranges);
                }
            }
            Kind::Scalar { .. } | Kind::Mapping(_) => complete &= Self::read_text(node, place, cx, &mut ranges),
        }
        if ranges.is_empty() && complete {
            cx.report(Code::BadPorts, place, "the list of ports is empty").help(PORTS_HELP);
            return None;
        }
        complete &= Self::check(&ranges, place, cx);
        complete.then(|| Self(ranges.into_iter().map(|(range, _)| range).collect()))
    }

    fn schema(_: &mut Definitions) -> Value {
        let port = json!({"type": "integer", "minimum": 1, "maximum": 65535});
        let range = json!({"type": "string", "pattern": "^ *[0-9]+( *- *[0-9]+)? *$"});
        json!({"anyOf": [
            port.clone(),
            {"type": "string", "pattern": "^[0-9 ,-]+$"},
            {"type": "array", "minItems": 1, "maxItems": MAX_PORT_ENTRIES, "items": {"anyOf": [port, range]}}
        ]})
    }
}

const PORTS_HELP: &str = "write ports as 80, [1935, 554, 50000-65535] or \"1935,554,50000-65535\"";

impl Ports {
    /// Reads `80`, `50000-65535` or several of them with commas; `false` after a mistake was noted.
    fn read_text(node: &Node, place: Place, cx: &mut Context<'_>, ranges: &mut Vec<(PortRange, Place)>) -> bool {
        let Some(text) = cx.scalar(node, place, "a port or a range of ports") else { return false };
        let mut complete = true;
        for part in text.split(',').take(MAX_PORT_ENTRIES + 1) {
            match parse_range(part.trim()) {
                Ok(range) => ranges.push((range, place)),
                Err(message) => {
                    cx.report(Code::BadPorts, place, message).help(PORTS_HELP);
                    complete = false;
                }
            }
        }
        complete
    }

    fn check(ranges: &[(PortRange, Place)], place: Place, cx: &mut Context<'_>) -> bool {
        if ranges.len() > MAX_PORT_ENTRIES {
            let message = format!("more than {MAX_PORT_ENTRIES} ports and ranges in one service");
            cx.report(Code::TooMany, place, message).help("write neighbouring ports as a range");
            return false;
        }
        let mut sorted: Vec<(usize, PortRange, Place)> =
            ranges.iter().enumerate().map(|(index, (range, place))| (index, *range, *place)).collect();
        sorted.sort_by_key(|(index, range, _)| (*range, *index));
        let mut complete = true;
        for pair in sorted.windows(2) {
            let ((_, before, _), (_, range, at)) = (pair[0], pair[1]);
            if range.first <= before.last {
                let message = format!("port {} is listed twice: in {before} and in {range}", range.first);
                cx.report(Code::BadPorts, at, message).help("list each port once");
                complete = false;
            }
        }
        complete
    }
}

/// One port or an inclusive range.
fn parse_range(text: &str) -> Result<PortRange, String> {
    let port = |text: &str| -> Result<u16, String> {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(0) => Err("port 0 cannot be used; ports are 1 to 65535".to_owned()),
            Ok(port) if digits => Ok(port),
            _ if digits => Err(format!("port {} is outside 1 to 65535", clip(text))),
            _ => Err(format!("`{}` is not a port", clip(text))),
        }
    };
    let Some((first, last)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok(PortRange { first: port, last: port });
    };
    let range = PortRange { first: port(first)?, last: port(last)? };
    if range.first > range.last {
        return Err(format!("the range {} is reversed; write {}-{}", clip(text), range.last, range.first));
    }
    Ok(range)
}

/// A text with a rule of its own.
pub(crate) trait TextRule {
    /// What is expected, with its article.
    const WHAT: &'static str;
    /// Whether it is kept out of messages.
    const SECRET: bool = false;
    /// Regular expression of the schema (ECMA 262).
    const PATTERN: &'static str;
    /// Why a text is none.
    fn check(text: &str) -> Result<(), String>;
}

/// A text that keeps the rule `R`.
#[derive(Clone, Debug)]
pub(crate) struct Text<R> {
    pub(crate) text: String,
    rule: std::marker::PhantomData<R>,
}

impl<R> Text<R> {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), rule: std::marker::PhantomData }
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.text)
    }
}

impl<R: TextRule> FromNode for Text<R> {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, R::WHAT)?;
        match R::check(&text) {
            Ok(()) => Some(Self::new(&text)),
            Err(reason) => {
                let shown = if R::SECRET { "this".to_owned() } else { format!("`{}`", clip(&text)) };
                cx.report(Code::BadText, place, format!("{shown} is not {}: {reason}", R::WHAT));
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": ["string", "number"], "pattern": R::PATTERN})
    }
}

impl<R> ToJson for Text<R> {
    fn to_json(&self) -> Value {
        self.text.as_str().into()
    }
}

macro_rules! rules {
    ($( $(#[doc = $doc:literal])* $name:ident $what:literal $pattern:literal $check:expr; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl TextRule for $name {
            const WHAT: &'static str = $what;
            const PATTERN: &'static str = $pattern;
            fn check(text: &str) -> Result<(), String> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(text)
            }
        }
    )* };
}

rules! {
    /// A name of the administrator's choice.
    Name "a name" "^[^/]{1,64}$" check_name;
    /// A network interface (Linux `dev_valid_name`).
    Device "the name of a network interface" "^[^/:\\s]{1,15}$" check_device;
    /// A file, as typed; what is relative is taken from the directory of the main configuration file.
    FilePath "a file name" "^.{1,4096}$" |text| no_control(text).and_then(|()| limit(text, 1, 4096));
    /// The path of a health check: of a request, or of a program.
    AbsolutePath "a path" "^/.*$" check_path;
    /// A name in TLS and HTTP.
    Host "a host name" "^[A-Za-z0-9._:\\[\\]-]{1,253}$" check_host;
    /// An absolute URL.
    Url "a URL" "^https?://[^\\s]+$" check_url;
    /// A cookie name (RFC 6265 section 4.1.1: a token).
    CookieName "a cookie name" "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$" check_token;
    /// An application entity title (DICOM PS3.5 section 6.2, AE).
    AeTitle "an AE title" "^[ -\\[\\]-~]{1,16}$" check_ae_title;
    /// A regular expression.
    Pattern "a regular expression" "^.+$" check_pattern;
    /// A text to look for.
    Expected "a text to look for" "^.+$" |text| limit(text, 1, 65_536);
}

/// A password or a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecretText;

impl TextRule for SecretText {
    const WHAT: &'static str = "a secret";
    const SECRET: bool = true;
    const PATTERN: &'static str = "^.+$";
    fn check(text: &str) -> Result<(), String> {
        limit(text, 1, 4096)
    }
}

/// Names are shown in tables and typed as `SERVICE/SERVER`.
pub(crate) fn check_name(text: &str) -> Result<(), String> {
    no_control(text)?;
    if text.contains('/') {
        return Err("`/` separates service and real server in commands".into());
    }
    if text.trim() != text {
        return Err("it begins or ends with a space".into());
    }
    if !(1..=64).contains(&text.chars().count()) {
        return Err("it does not have 1 to 64 characters".into());
    }
    Ok(())
}

fn check_device(text: &str) -> Result<(), String> {
    no_control(text)?;
    limit(text, 1, 15)?;
    if matches!(text, "." | "..") || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return Err("Linux allows no /, : or spaces in it".into());
    }
    Ok(())
}

fn check_path(text: &str) -> Result<(), String> {
    no_control(text)?;
    limit(text, 1, 4096)?;
    if !text.starts_with('/') {
        return Err("it does not begin with /".into());
    }
    Ok(())
}

fn check_host(text: &str) -> Result<(), String> {
    limit(text, 1, 253)?;
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-:[]".contains(*c)) {
        Some(c) => Err(format!("`{}` is not allowed in it", clip(&c.to_string()))),
        None => Ok(()),
    }
}

fn check_url(text: &str) -> Result<(), String> {
    no_control(text)?;
    limit(text, 1, 4096)?;
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Err("it does not begin with http:// or https://".into());
    };
    if rest.is_empty() || rest.starts_with('/') {
        return Err("it has no host".into());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("spaces and letters beyond ASCII have to be percent-encoded".into());
    }
    Ok(())
}

fn check_token(text: &str) -> Result<(), String> {
    limit(text, 1, 64)?;
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"!#$%&'*+.^_`|~-".contains(*c)) {
        Some(c) => Err(format!("`{}` is not allowed in it", clip(&c.to_string()))),
        None => Ok(()),
    }
}

fn check_ae_title(text: &str) -> Result<(), String> {
    if !(1..=16).contains(&text.chars().count()) {
        return Err("it does not have 1 to 16 characters".into());
    }
    if text.chars().any(|c| !(' '..='~').contains(&c) || c == '\\') {
        return Err("letters, digits and signs of ASCII other than \\ are allowed".into());
    }
    if text.trim_matches(' ').is_empty() {
        return Err("it is only spaces".into());
    }
    Ok(())
}

fn check_pattern(text: &str) -> Result<(), String> {
    limit(text, 1, 4096)?;
    match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err("it is too large when compiled".into()),
        // The last line of the message has the reason; those before draw the expression.
        Err(error) => {
            let message = error.to_string();
            Err(message.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned())
        }
    }
}

fn no_control(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) { Err("it has control characters".into()) } else { Ok(()) }
}

fn limit(text: &str, least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&text.len()) { Ok(()) } else { Err(format!("it does not have {least} to {most} bytes")) }
}
