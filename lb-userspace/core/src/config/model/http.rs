//! What is done with requests and answers: rules, edits of fields, pages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::view::Network;

/// What is done with requests and answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Http {
    /// Whether clients may speak HTTP/2: by ALPN over TLS, by prior knowledge without.
    pub http2: bool,
    /// Bytes of a request's line and fields together.
    pub max_header_bytes: u32,
    /// How a real server learns who the client is.
    pub forwarded: Forwarded,
    /// Edits of every request, after the rules' own.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits of every answer, after the rules' own.
    pub response_headers: Vec<HeaderEdit>,
    /// In this order; see [`Rule`].
    pub rules: Vec<Rule>,
    /// How often a request that may be repeated is tried on another real server.
    pub retries: u8,
    /// Retries are at most so many percent of the requests of the last seconds, and ten a second.
    pub retry_budget: u8,
    /// Pages in place of the built-in ones, by status (those that the balancer answers with itself: 400, 403, 408,
    /// 413, 414, 429, 431, 500, 502, 503, 504).
    pub error_pages: BTreeMap<u16, PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            http2: true,
            max_header_bytes: 32 << 10,
            forwarded: Forwarded::default(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            rules: Vec::new(),
            retries: 1,
            retry_budget: 20,
            error_pages: BTreeMap::new(),
        }
    }
}

/// Which headers tell a real server about the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forwarded {
    /// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Port and X-Forwarded-Host.
    pub x_forwarded: bool,
    /// Forwarded (RFC 7239).
    pub forwarded: bool,
    /// Clients, other proxies, whose own such headers are kept and added to; everybody else's are removed, because
    /// they may be lies.
    pub trusted: Vec<Network>,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self { x_forwarded: true, forwarded: false, trusted: Vec::new() }
    }
}

/// An edit of the fields of a request or an answer: of a real server's, and of the balancer's own.
///
/// Never of `Connection`, `Content-Length`, `Expect`, `HTTP2-Settings`, `Keep-Alive`, `Proxy-Connection`, `TE`,
/// `Trailer`, `Transfer-Encoding` or `Upgrade`; of a request's `Host` only by `Set`. In a text, `{` and letters up to `}` are one of the
/// placeholders that are named here; a brace before anything else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderEdit {
    /// Adds a field, beside those of that name.
    Insert {
        /// Name of the field.
        name: String,
        /// Value; `{client}`, `{host}`, `{method}`, `{path}`, `{query}`, `{uri}`, `{scheme}`, `{server}` are replaced.
        value: String,
    },
    /// Puts this one in place of all of that name.
    Set {
        /// Name of the field.
        name: String,
        /// As with `Insert`.
        value: String,
    },
    /// Removes all fields of that name.
    Delete {
        /// Name of the field.
        name: String,
    },
    /// Replaces what matches in the values of that name.
    Replace {
        /// Name of the field.
        name: String,
        /// Regular expression.
        pattern: String,
        /// `$1` is the first group.
        with: String,
    },
}

/// Rules are taken in order. Where the conditions of one hold, its edits and its rewrite are applied to the
/// request; the first that has an action as well is the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// For messages and the access log; `None`: its number.
    pub name: Option<String>,
    /// All must hold; empty: it always does. In the order of [`Condition`], at most one of each kind but of headers.
    pub when: Vec<Condition>,
    /// None may hold.
    pub unless: Vec<Condition>,
    /// Edits of the request.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits of its answer.
    pub response_headers: Vec<HeaderEdit>,
    /// Another path for the real server.
    pub rewrite: Option<Rewrite>,
    /// What becomes of the request; `None`: the next rule says.
    pub action: Option<RuleAction>,
}

/// Something about a request. It holds if one of its values fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The host, without port, in lower case: `www.example.org`; `*.example.org` is any name below it.
    Host(Vec<String>),
    /// The path is one of these, percent-encoding normalised, without the query.
    Path(Vec<String>),
    /// The path begins with one of these; a match ends at a `/` or the end: `/api` is not a prefix of `/apis`.
    PathPrefix(Vec<String>),
    /// One of these matches somewhere in the path.
    PathRegex(Vec<String>),
    /// The method.
    Method(Vec<String>),
    /// A field of the request.
    Header {
        /// Its name.
        name: String,
        /// What one of its values must be.
        value: HeaderMatch,
    },
    /// The client is in one of these networks.
    Client(Vec<Network>),
}

/// What the value of a field must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderMatch {
    /// Anything, as long as the field is there.
    Exists,
    /// This, letter case counting.
    Equals(String),
    /// Contains this.
    Contains(String),
    /// Matches this.
    Regex(String),
}

/// Another path for the real server; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewrite {
    /// The beginning is replaced, where it is one as in [`Condition::PathPrefix`].
    Prefix {
        /// What the path begins with.
        prefix: String,
        /// What takes its place; it begins with `/`. There is one `/` between it and the rest: with `/api` replaced by
        /// `/`, `/api/users` is `/users` and `/api` is `/`.
        with: String,
    },
    /// What matches is replaced.
    Regex {
        /// Regular expression over the path.
        pattern: String,
        /// `$1` is the first group.
        with: String,
    },
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    /// It goes to a real server of this pool.
    Pool(String),
    /// The client is sent elsewhere.
    Redirect {
        /// URL or path; `{host}`, `{path}`, `{query}`, `{uri}`, `{scheme}` are replaced, by what the client sent.
        location: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is refused with this status and its page.
    Deny {
        /// 400 to 599.
        status: u16,
    },
    /// The balancer answers by itself.
    Respond {
        /// 200 to 599.
        status: u16,
        /// Content-Type.
        content_type: String,
        /// The body.
        body: String,
    },
}
