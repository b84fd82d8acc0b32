//! The host of a request: what a Host field may hold, and the name in it.
//!
//! Stricter than RFC 3986 (no percent-encoding, no `!$&'()*+,;=`): no host has these, and each is read differently
//! by some server.

use std::net::Ipv6Addr;

use http::HeaderMap;
use http::header::HOST;

/// Whether this is a host, perhaps with a port, and nothing beside: no user, no path, no second host.
pub(super) fn is_valid(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = split(host);
    let port_fits = port.is_none_or(|port| {
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    });
    port_fits && is_name(name)
}

fn is_name(name: &str) -> bool {
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !name.is_empty() && name.len() <= 255 && name.bytes().all(fits)
}

/// Name and port: `[2001:db8::1]:80` is `[2001:db8::1]` and `80`.
pub(super) fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // The colon of an address in brackets is none of a port.
        Some((_, rest)) if rest.ends_with(']') => (host, None),
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

/// The name in the Host field without port and without the dot of the root; letter case as it came; empty without
/// a field.
pub(super) fn name(headers: &HeaderMap) -> &str {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (name, _) = split(host);
    name.strip_suffix('.').unwrap_or(name)
}
