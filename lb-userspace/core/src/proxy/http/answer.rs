//! The balancer's own answers: pages for errors, redirects, the fallback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use super::examine::Reason;

/// An answer that comes from no real server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, but for those of the connection and the length.
    pub headers: HeaderMap,
    /// What GET gets; the answer to HEAD has none.
    pub body: Bytes,
    /// Why the balancer answers.
    pub origin: Origin,
}

/// Why the balancer answers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request cannot be accepted.
    Refused(Reason),
    /// A rule says so: its name or number.
    Rule(Arc<str>),
    /// It was sent to the TLS port.
    TlsRedirect,
    /// The real server's clients are sent elsewhere.
    ServerRedirect,
    /// What answers when no real server can.
    Fallback,
    /// Something went wrong on the way.
    Error,
}

impl Answer {
    /// The answer as hyper takes it.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    pub(super) fn redirect(status: StatusCode, location: HeaderValue, origin: Origin) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location);
        Self { status, headers, body: Bytes::new(), origin }
    }

    pub(super) fn respond(status: StatusCode, content_type: HeaderValue, body: Bytes, origin: Origin) -> Self {
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, content_type);
        }
        Self { status, headers, body, origin }
    }
}

/// A page from a file.
#[derive(Clone, Debug)]
pub struct Page {
    /// By the name of the file.
    content_type: HeaderValue,
    body: Bytes,
}

impl Page {
    /// What is in the file `path`.
    #[must_use]
    pub fn new(path: &Path, body: Bytes) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        // A page of HTML says itself how it is encoded.
        let content_type = match extension.to_ascii_lowercase().as_str() {
            "json" => "application/json",
            "txt" => "text/plain; charset=utf-8",
            "xml" => "application/xml",
            _ => "text/html",
        };
        Self { content_type: HeaderValue::from_static(content_type), body }
    }
}

/// The pages of a service, read from their files.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// In place of the built-in ones, by status.
    pub errors: BTreeMap<u16, Page>,
    /// When no real server can answer.
    pub fallback: Option<Page>,
}

impl Pages {
    pub(super) fn error(&self, status: StatusCode, origin: Origin) -> Answer {
        let page = self.errors.get(&status.as_u16()).cloned().unwrap_or_else(|| built_in(status));
        answer(status, page, origin)
    }

    pub(super) fn fallback(&self) -> Option<Answer> {
        let page = self.fallback.clone()?;
        Some(answer(StatusCode::SERVICE_UNAVAILABLE, page, Origin::Fallback))
    }
}

fn answer(status: StatusCode, page: Page, origin: Origin) -> Answer {
    let mut answer = Answer::respond(status, page.content_type, page.body, origin);
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110 section 15.5.6 wants it.
        answer.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    answer
}

fn built_in(status: StatusCode) -> Page {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1><p>{}</p></body>\n</html>\n",
        explanation(status)
    );
    Page { content_type: HeaderValue::from_static("text/html; charset=utf-8"), body: Bytes::from(body) }
}

/// One sentence for the person in front of the browser.
fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "You may not see this page.",
        404 => "There is no such page.",
        408 => "The request took too long to arrive.",
        413 => "The request is too large.",
        414 => "The address of the page is too long.",
        429 => "Too many requests came from you; please try again later.",
        431 => "The header of the request is too large.",
        502 => "The server behind this address gave no valid answer.",
        503 => "No server is available to handle this request; please try again later.",
        504 => "The server behind this address did not answer in time.",
        400..500 => "The request cannot be accepted.",
        _ => "Something went wrong on the way to the server.",
    }
}
