//! What real servers are told about the client: X-Forwarded-For and its kin, Forwarded (RFC 7239).
//!
//! A stranger's own such fields are removed, whatever is sent in their place: they may be lies. A trusted client is
//! a proxy; what it says is kept and added to.

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};

use super::client::ClientFacts;
use super::fields::Found;
use crate::config::model::Forwarded;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const HOST_NAME: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Puts the fields in; Host is still the client's.
pub(super) fn apply(headers: &mut HeaderMap, found: &Found, wanted: &Forwarded, client: &ClientFacts) {
    if !client.trusted {
        for name in &found.forwarding {
            headers.remove(name);
        }
    }
    if wanted.x_forwarded {
        x_forwarded(headers, client);
    }
    if wanted.forwarded {
        let element = element(headers, client);
        add(headers, FORWARDED, element);
    }
}

fn x_forwarded(headers: &mut HeaderMap, client: &ClientFacts) {
    add(headers, FOR, client.address_text.clone());
    keep_or_set(headers, PROTO, &client.scheme_text);
    keep_or_set(headers, PORT, &client.port_text);
    if let Some(host) = headers.get(HOST).cloned() {
        keep_or_set(headers, HOST_NAME, &host);
    }
}

/// The first proxy knows; those behind it see only the proxy before them.
fn keep_or_set(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    headers.entry(name).or_insert_with(|| value.clone());
}

/// Adds an element to a list. One field holds all of it, because many servers read the first field only.
fn add(headers: &mut HeaderMap, name: HeaderName, element: HeaderValue) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    let value = if list.is_empty() {
        element
    } else {
        list.extend_from_slice(element.as_bytes());
        HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or(element)
    };
    headers.insert(name, value);
}

/// `for=192.0.2.7;proto=https;host="www.example.org"`.
fn element(headers: &HeaderMap, client: &ClientFacts) -> HeaderValue {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // A host has no quotation mark and no backslash; `host::is_valid` saw to that.
    let text = format!("{};host=\"{host}\"", client.element);
    HeaderValue::try_from(text).unwrap_or_else(|_| client.address_text.clone())
}
