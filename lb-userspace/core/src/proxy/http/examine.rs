//! What is refused before anything else looks at a request: what hyper lets through, but servers read differently
//! from each other. Request smuggling lives on such differences.
//!
//! Some of it never comes here, because hyper and `http` settle it while they parse: white space before a colon,
//! folded lines, control characters in values; a fragment in the target, which is cut off; differing lengths; and of
//! Content-Length beside Transfer-Encoding the first goes and the connection ends after the answer (RFC 9112 section
//! 6.3). What can be seen of these is looked at all the same: the parser may change.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version, request, response};

use super::{fields, host};

/// A message that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the client gets.
    pub status: StatusCode,
    /// Why.
    pub reason: Reason,
}

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])* $name:ident = $text:literal, $status:ident; )*) => {
        /// Why a message is not accepted; each is counted by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $( $(#[doc = $doc])* $name, )* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// As it is counted and logged.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }

            /// What the client gets.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $( Self::$name => StatusCode::$status, )* }
            }
        }
    };
}

reasons! {
    /// CONNECT: the balancer is no proxy for the client to choose hosts.
    Connect = "connect", NOT_IMPLEMENTED;
    /// TRACE, which would show the client what the balancer adds.
    Trace = "trace", METHOD_NOT_ALLOWED;
    /// Neither HTTP/1.0 nor 1.1 nor 2.
    Version = "version", HTTP_VERSION_NOT_SUPPORTED;
    /// A target of a form that the method does not have, or of another scheme.
    Target = "target", BAD_REQUEST;
    /// Bytes in the target that no URI has.
    TargetBytes = "target-bytes", BAD_REQUEST;
    /// No Host in HTTP/1.1, or no authority in HTTP/2.
    NoHost = "no-host", BAD_REQUEST;
    /// More than one Host.
    SeveralHosts = "several-hosts", BAD_REQUEST;
    /// A host that is none: with a user, a path, or strange characters.
    BadHost = "bad-host", BAD_REQUEST;
    /// HTTP/2 with a Host that is not its authority.
    OtherHost = "other-host", BAD_REQUEST;
    /// Content-Length and Transfer-Encoding.
    TwoLengths = "two-lengths", BAD_REQUEST;
    /// Content-Length that is no number, or several different ones.
    BadLength = "bad-length", BAD_REQUEST;
    /// Transfer-Encoding in HTTP/1.0.
    OldTransferEncoding = "old-transfer-encoding", BAD_REQUEST;
    /// A Transfer-Encoding that is not just `chunked`.
    TransferEncoding = "transfer-encoding", NOT_IMPLEMENTED;
    /// An expectation other than 100-continue.
    Expectation = "expectation", EXPECTATION_FAILED;
    /// A value with white space at an end, which HTTP/2 can bring.
    BadValue = "bad-value", BAD_REQUEST;
    /// A field of a connection in HTTP/2.
    ConnectionField = "connection-field", BAD_REQUEST;
    /// A path on whose meaning servers differ, in a service whose rules look at paths.
    AmbiguousPath = "ambiguous-path", BAD_REQUEST;
    /// A rewritten target that is longer than one can be.
    LongTarget = "long-target", URI_TOO_LONG;
    /// A real server changes the protocol though nobody asked it to.
    Unasked = "unasked-upgrade", BAD_GATEWAY;
    /// A real server's answer with a Transfer-Encoding that is not just `chunked`.
    AnswerEncoding = "answer-encoding", BAD_GATEWAY;
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { status: reason.status(), reason }
    }
}

/// Judges a request as hyper gives it, before [`Policy::request`](super::Policy::request).
///
/// # Errors
/// When it is to be refused; on HTTP/1 the connection ends after the answer.
pub fn examine(head: &request::Parts) -> Result<(), Refused> {
    check(head).map_err(Refused::from)
}

/// Judges the answer of a real server, before [`Policy::response`](super::Policy::response).
///
/// # Errors
/// When it is not to be sent on.
pub fn examine_answer(head: &response::Parts, upgrade: bool) -> Result<(), Refused> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !upgrade {
        return Err(Reason::Unasked.into());
    }
    if head.headers.contains_key(TRANSFER_ENCODING) && !is_chunked(&head.headers) {
        return Err(Reason::AnswerEncoding.into());
    }
    Ok(())
}

fn check(head: &request::Parts) -> Result<(), Reason> {
    if !matches!(head.version, Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
        return Err(Reason::Version);
    }
    target(head)?;
    values(&head.headers)?;
    the_host(head)?;
    if head.version == Version::HTTP_2 {
        connection_fields(&head.headers)?;
    }
    length(head)?;
    match head.headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Reason::Expectation),
        Some(_) if head.headers.get_all(EXPECT).iter().nth(1).is_some() => Err(Reason::Expectation),
        Some(_) | None => Ok(()),
    }
}

fn target(head: &request::Parts) -> Result<(), Reason> {
    match head.method {
        Method::CONNECT => return Err(Reason::Connect),
        Method::TRACE => return Err(Reason::Trace),
        _ => {}
    }
    let uri = &head.uri;
    let Some(target) = uri.path_and_query() else { return Err(Reason::Target) };
    if uri.scheme().is_some_and(|scheme| !matches!(scheme.as_str(), "http" | "https")) {
        return Err(Reason::Target);
    }
    // A host without a scheme is the form of CONNECT.
    if uri.authority().is_some() && uri.scheme().is_none() {
        return Err(Reason::Target);
    }
    let form_fits = match target.path() {
        "*" => head.method == Method::OPTIONS && target.query().is_none(),
        path => path.starts_with('/'),
    };
    if !form_fits {
        return Err(Reason::Target);
    }
    let bytes = target.as_str().as_bytes();
    if bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') { Ok(()) } else { Err(Reason::TargetBytes) }
}

/// RFC 9113 section 8.2.1. Of control characters only the tab can be in a [`HeaderValue`].
fn values(headers: &HeaderMap) -> Result<(), Reason> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bad = |value: &HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
    if headers.values().any(bad) { Err(Reason::BadValue) } else { Ok(()) }
}

fn the_host(head: &request::Parts) -> Result<(), Reason> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Reason::SeveralHosts);
    }
    if field.is_some_and(|field| !host::is_valid(field.as_bytes())) {
        return Err(Reason::BadHost);
    }
    let Some(authority) = head.uri.authority() else {
        return if field.is_some() || head.version == Version::HTTP_10 { Ok(()) } else { Err(Reason::NoHost) };
    };
    if !host::is_valid(authority.as_str().as_bytes()) {
        return Err(Reason::BadHost);
    }
    let same = |field: &HeaderValue| field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    match (head.version, field) {
        // RFC 9112 section 3.2: the field is there even where the target has a host.
        (Version::HTTP_11, None) => Err(Reason::NoHost),
        (Version::HTTP_2, Some(field)) if !same(field) => Err(Reason::OtherHost),
        _ => Ok(()),
    }
}

/// RFC 9113 section 8.2.2.
fn connection_fields(headers: &HeaderMap) -> Result<(), Reason> {
    const FORBIDDEN: [HeaderName; 5] = [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    let te = |coding: &[u8]| !coding.eq_ignore_ascii_case(b"trailers");
    if FORBIDDEN.iter().any(|name| headers.contains_key(name)) || fields::options(headers, &TE).any(te) {
        return Err(Reason::ConnectionField);
    }
    Ok(())
}

fn length(head: &request::Parts) -> Result<(), Reason> {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    if first.is_some_and(|first| !is_number(first.as_bytes())) || lengths.any(|length| Some(length) != first) {
        return Err(Reason::BadLength);
    }
    if !head.headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    if first.is_some() {
        return Err(Reason::TwoLengths);
    }
    if head.version == Version::HTTP_10 {
        return Err(Reason::OldTransferEncoding);
    }
    if is_chunked(&head.headers) { Ok(()) } else { Err(Reason::TransferEncoding) }
}

/// RFC 9110 section 8.6: digits only.
fn is_number(value: &[u8]) -> bool {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits && std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(TRANSFER_ENCODING).iter();
    let first = fields.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && fields.next().is_none()
}
