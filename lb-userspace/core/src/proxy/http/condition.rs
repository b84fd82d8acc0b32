//! Conditions of rules, compiled.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use regex::Regex;

use super::client::ClientFacts;
use super::path::judged;
use super::{host, rule};
use crate::config::model::{Condition, HeaderMatch};
use crate::view::Network;

/// What a condition looks at.
pub(super) struct Subject<'a> {
    client: &'a ClientFacts,
    method: &'a Method,
    headers: &'a HeaderMap,
    host: &'a str,
    /// As it is judged.
    path: &'a str,
}

impl<'a> Subject<'a> {
    pub(super) fn new(head: &'a Parts, client: &'a ClientFacts, path: &'a str) -> Self {
        Self { client, method: &head.method, headers: &head.headers, host: host::name(&head.headers), path }
    }
}

/// One condition; it holds if one of its values fits.
#[derive(Debug)]
pub(super) enum Test {
    /// In lower case; a leading dot stands for any name below.
    Host(Box<[Box<str>]>),
    /// As they are judged.
    Path(Box<[Box<str>]>),
    PathPrefix(Box<[Box<str>]>),
    PathRegex(Box<[Regex]>),
    Method(Box<[Method]>),
    Header(HeaderName, ValueTest),
    Client(Box<[Network]>),
}

#[derive(Debug)]
pub(super) enum ValueTest {
    Exists,
    Equals(Box<[u8]>),
    Contains(Box<str>),
    Matches(regex::bytes::Regex),
}

impl Test {
    /// # Errors
    /// A sentence that says what cannot be.
    pub(super) fn new(condition: &Condition) -> Result<Self, String> {
        Ok(match condition {
            Condition::Host(hosts) => Self::Host(all(hosts, |host| pattern_of(host))?),
            Condition::Path(paths) => Self::Path(all(paths, |path| path_of(path))?),
            Condition::PathPrefix(paths) => Self::PathPrefix(all(paths, |path| path_of(path))?),
            Condition::PathRegex(patterns) => Self::PathRegex(all(patterns, |pattern| rule::compile(pattern))?),
            Condition::Method(methods) => Self::Method(all(methods, |method| method_of(method))?),
            Condition::Header { name, value } => {
                let field = HeaderName::from_bytes(name.as_bytes());
                Self::Header(field.map_err(|_| format!("`{name}` is no name of a field"))?, ValueTest::new(value)?)
            }
            Condition::Client(networks) => Self::Client(networks.as_slice().into()),
        })
    }

    /// Whether it looks at the path.
    pub(super) fn judges_path(&self) -> bool {
        matches!(self, Self::Path(_) | Self::PathPrefix(_) | Self::PathRegex(_))
    }

    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Host(hosts) => hosts.iter().any(|host| host_fits(host, subject.host)),
            Self::Path(paths) => paths.iter().any(|path| **path == *subject.path),
            Self::PathPrefix(prefixes) => prefixes.iter().any(|prefix| rule::below(subject.path, prefix).is_some()),
            Self::PathRegex(patterns) => patterns.iter().any(|pattern| pattern.is_match(subject.path)),
            Self::Method(methods) => methods.contains(subject.method),
            Self::Header(name, test) => subject.headers.get_all(name).iter().any(|value| test.holds(value.as_bytes())),
            Self::Client(networks) => networks.iter().any(|network| network.contains(subject.client.address)),
        }
    }
}

impl ValueTest {
    fn new(value: &HeaderMatch) -> Result<Self, String> {
        Ok(match value {
            HeaderMatch::Exists => Self::Exists,
            HeaderMatch::Equals(text) => Self::Equals(text.as_bytes().into()),
            HeaderMatch::Contains(text) => Self::Contains(text.as_str().into()),
            HeaderMatch::Regex(pattern) => {
                let compiled = regex::bytes::RegexBuilder::new(pattern).size_limit(1 << 20).build();
                Self::Matches(compiled.map_err(|error| format!("`{pattern}` is no regular expression: {error}"))?)
            }
        })
    }

    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(wanted) => **wanted == *value,
            Self::Contains(wanted) => String::from_utf8_lossy(value).contains(&**wanted),
            Self::Matches(pattern) => pattern.is_match(value),
        }
    }
}

fn all<T, U>(values: &[T], compile: impl Fn(&T) -> Result<U, String>) -> Result<Box<[U]>, String> {
    values.iter().map(compile).collect()
}

/// `*.example.org` as `.example.org`.
fn pattern_of(pattern: &str) -> Result<Box<str>, String> {
    let lower = pattern.to_ascii_lowercase();
    let host = lower.strip_suffix('.').unwrap_or(&lower);
    let name = host.strip_prefix("*.").unwrap_or(host);
    if host::split(name).1.is_some() || !host::is_valid(name.as_bytes()) {
        return Err(format!("`{pattern}` is no host; write one like www.example.org or *.example.org, without port"));
    }
    Ok(host.strip_prefix('*').unwrap_or(host).into())
}

fn method_of(method: &str) -> Result<Method, String> {
    let parsed = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    // RFC 9110 section 9.1: letter case counts, and all that are registered are in capitals.
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("`{method}` is no method; write {}", method.to_ascii_uppercase()));
    }
    Ok(parsed)
}

fn host_fits(pattern: &str, host: &str) -> bool {
    if !pattern.starts_with('.') {
        return host.eq_ignore_ascii_case(pattern);
    }
    let Some(at) = host.len().checked_sub(pattern.len()).filter(|at| *at > 0) else { return false };
    host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(pattern))
}

fn path_of(path: &str) -> Result<Box<str>, String> {
    if !path.starts_with('/') {
        return Err(format!("the path `{path}` does not begin with /"));
    }
    judged(path)
        .map(Into::into)
        .map_err(|_| format!("servers differ on what the path `{path}` means; write it plainly"))
}
