//! Names, paths and other texts, each with its rule.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::code::Code;
use crate::config::decode::{Context, Definitions, FromNode, ToJson};
use crate::config::places::Place;
use crate::config::tree::{Node, clip};

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

/// Defines texts: `Name "what it is" "pattern" check;`.
macro_rules! rules {
    ($( $(#[doc = $doc:literal])* $name:ident $what:literal $pattern:literal $check:expr; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl $crate::config::values::text::TextRule for $name {
            const WHAT: &'static str = $what;
            const PATTERN: &'static str = $pattern;
            fn check(text: &str) -> Result<(), String> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(text)
            }
        }
    )* };
}

pub(super) use rules;

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
    CookieName "a cookie name" "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$" |text| check_token(text, 64);
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

/// RFC 9110 section 5.6.2.
pub(super) fn check_token(text: &str, most: usize) -> Result<(), String> {
    limit(text, 1, most)?;
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

pub(super) fn no_control(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) { Err("it has control characters".into()) } else { Ok(()) }
}

pub(super) fn limit(text: &str, least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&text.len()) { Ok(()) } else { Err(format!("it does not have {least} to {most} bytes")) }
}
