//! Rules, compiled.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};
use regex::{Regex, RegexBuilder};

use super::condition::{Subject, Test};
use super::edit::Edits;
use super::path::clean;
use super::template::Template;
use crate::config::model::{Rewrite, Rule, RuleAction};

/// One rule.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Its name, or its number.
    pub(super) name: Arc<str>,
    when: Box<[Test]>,
    unless: Box<[Test]>,
    /// Edits of the request; those that name the real server apart.
    pub(super) request: Edits,
    pub(super) named: Edits,
    pub(super) response: Edits,
    pub(super) rewrite: Option<Rewriting>,
    pub(super) action: Option<Action>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Action {
    Pool(Arc<str>),
    Redirect { location: Template, status: StatusCode },
    Deny(StatusCode),
    Respond { status: StatusCode, content_type: HeaderValue, body: Bytes },
}

/// Another path for the real server.
#[derive(Debug)]
pub(super) enum Rewriting {
    Prefix { prefix: Box<str>, with: Box<str> },
    Regex { pattern: Regex, with: Box<str> },
}

/// Why there is no other path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPath {
    /// Servers differ on what the old or the new one means.
    Ambiguous,
    /// The new one is longer than a target can be.
    TooLong,
}

impl Compiled {
    /// `number` begins at 1.
    ///
    /// # Errors
    /// A sentence that says which rule cannot be, and why.
    pub(super) fn new(rule: &Rule, number: usize) -> Result<Self, String> {
        let name = rule.name.clone().unwrap_or_else(|| number.to_string());
        Self::compile(rule, name.as_str().into()).map_err(|why| format!("rule {name}: {why}"))
    }

    fn compile(rule: &Rule, name: Arc<str>) -> Result<Self, String> {
        let (request, named) = Edits::of_requests(&rule.request_headers)?;
        Ok(Self {
            name,
            when: rule.when.iter().map(Test::new).collect::<Result<_, _>>()?,
            unless: rule.unless.iter().map(Test::new).collect::<Result<_, _>>()?,
            request,
            named,
            response: Edits::new(&rule.response_headers)?,
            rewrite: rule.rewrite.as_ref().map(Rewriting::new).transpose()?,
            action: rule.action.as_ref().map(Action::new).transpose()?,
        })
    }

    pub(super) fn applies(&self, subject: &Subject<'_>) -> bool {
        self.when.iter().all(|test| test.holds(subject)) && !self.unless.iter().any(|test| test.holds(subject))
    }

    /// Whether it looks at the path or changes it.
    pub(super) fn judges_path(&self) -> bool {
        self.rewrite.is_some() || self.when.iter().chain(&self.unless).any(Test::judges_path)
    }

    /// Whether something of it is left to do once there is a real server.
    pub(super) fn has_more(&self) -> bool {
        !self.named.is_empty() || !self.response.is_empty()
    }
}

impl Action {
    fn new(action: &RuleAction) -> Result<Self, String> {
        Ok(match action {
            RuleAction::Pool(pool) => Self::Pool(pool.as_str().into()),
            RuleAction::Redirect { location, status } => {
                Self::Redirect { location: Template::location(location)?, status: status_of(*status, 300, 399)? }
            }
            RuleAction::Deny { status } => Self::Deny(status_of(*status, 400, 599)?),
            RuleAction::Respond { status, content_type, body } => {
                if matches!(status, 204 | 205 | 304) && !body.is_empty() {
                    return Err(format!("an answer with status {status} has no body"));
                }
                let content_type = HeaderValue::from_str(content_type);
                Self::Respond {
                    status: status_of(*status, 200, 599)?,
                    content_type: content_type.map_err(|_| "the content type has a control character".to_owned())?,
                    body: Bytes::from(body.clone()),
                }
            }
        })
    }
}

fn status_of(status: u16, first: u16, last: u16) -> Result<StatusCode, String> {
    let fits = StatusCode::from_u16(status).ok().filter(|_| (first..=last).contains(&status));
    fits.ok_or_else(|| format!("status {status} is outside {first} to {last}"))
}

impl Rewriting {
    fn new(rewrite: &Rewrite) -> Result<Self, String> {
        let (Rewrite::Prefix { with, .. } | Rewrite::Regex { with, .. }) = rewrite;
        let outside = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#' | b'<' | b'>' | b'`' | b'^');
        if let Some(byte) = with.bytes().find(|byte| outside(*byte)) {
            let shown = char::from(byte).escape_default();
            return Err(format!("`{with}` cannot be in a path: it has the character `{shown}`; write %{byte:02X}"));
        }
        let unclear = |path: &str| format!("servers differ on what the path `{path}` means; write it plainly");
        clean(with).map_err(|_| unclear(with))?;
        Ok(match rewrite {
            Rewrite::Prefix { prefix, with } => {
                let prefix = clean(prefix).map_err(|_| unclear(prefix))?;
                if !prefix.starts_with('/') {
                    return Err(format!("the path `{prefix}` does not begin with /"));
                }
                Self::Prefix { prefix: prefix.into(), with: with.as_str().into() }
            }
            Rewrite::Regex { pattern, with } => Self::Regex { pattern: compile(pattern)?, with: with.as_str().into() },
        })
    }

    /// The new target; `None`: the path stays.
    pub(super) fn apply(&self, target: &PathAndQuery) -> Result<Option<PathAndQuery>, NoPath> {
        let path = clean(target.path()).map_err(|_| NoPath::Ambiguous)?;
        let Some(path) = self.path(&path)? else { return Ok(None) };
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let path = clean(&path).map_err(|_| NoPath::Ambiguous)?;
        let target = match target.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        PathAndQuery::try_from(target).map(Some).map_err(|_| NoPath::TooLong)
    }

    fn path(&self, path: &str) -> Result<Option<String>, NoPath> {
        match self {
            Self::Prefix { prefix, with } => Ok(below(path, prefix).map(|rest| joined(with, rest))),
            Self::Regex { pattern, with } => replace(path, pattern, with),
        }
    }
}

/// What follows a prefix that ends at a segment's end.
pub(super) fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')).then_some(rest)
}

/// With one slash between both, whichever of them brings it.
fn joined(with: &str, rest: &str) -> String {
    match (with.ends_with('/'), rest.strip_prefix('/')) {
        (true, Some(rest)) => format!("{with}{rest}"),
        (false, None) if !rest.is_empty() => format!("{with}/{rest}"),
        _ => format!("{with}{rest}"),
    }
}

/// All that matches, in bounds; `None`: nothing does.
fn replace(path: &str, pattern: &Regex, with: &str) -> Result<Option<String>, NoPath> {
    let mut out = String::new();
    let mut done = None;
    for groups in pattern.captures_iter(path) {
        let Some(whole) = groups.get(0) else { continue };
        out.push_str(path.get(done.unwrap_or(0)..whole.start()).unwrap_or_default());
        groups.expand(with, &mut out);
        done = Some(whole.end());
        if out.len() > usize::from(u16::MAX) {
            return Err(NoPath::TooLong);
        }
    }
    let Some(done) = done else { return Ok(None) };
    out.push_str(path.get(done..).unwrap_or_default());
    Ok(Some(out))
}

/// # Errors
/// When it is none, or too large.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    compiled.map_err(|error| format!("`{pattern}` is no regular expression: {error}"))
}
