//! The cookie of persistence: found in requests and kept from the real server, put into answers.
//!
//! Its value is the caller's token for a real server; only texts that may stand in a cookie as they are count as
//! one (RFC 6265 section 4.1.1), and short ones.

use http::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

/// The most bytes of a token.
pub(super) const MOST_BYTES: usize = 128;

/// Takes every cookie of this name out of a request: the first token among them.
pub(super) fn take(headers: &mut HeaderMap, name: &str) -> Option<Box<str>> {
    let ours = |pair: &&[u8]| pair_name(pair) == name.as_bytes();
    if !pairs(headers).any(|pair| ours(&pair)) {
        return None;
    }
    let token = pairs(headers).filter(ours).find_map(token);
    let others: Vec<&[u8]> = pairs(headers).filter(|pair| !ours(pair)).collect();
    let rest = join(&others);
    put_back(headers, rest);
    token
}

/// Makes one field of several: HTTP/2 may split them, and HTTP/1.1 must not (RFC 9113 section 8.2.3).
pub(super) fn join_fields(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let all: Vec<&[u8]> = pairs(headers).collect();
        let rest = join(&all);
        put_back(headers, rest);
    }
}

/// `Set-Cookie` for a token.
pub(super) fn set(name: &str, token: &str, secure: bool) -> Option<HeaderValue> {
    if !is_token(token.as_bytes()) {
        return None;
    }
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

/// Puts the balancer's cookie into an answer, and nobody else's of that name. A cache that many share must not give
/// it to others.
pub(super) fn insert(headers: &mut HeaderMap, cookie: &HeaderValue) {
    headers.append(SET_COOKIE, cookie.clone());
    let private = |directive: &[u8]| {
        let name = directive.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"private") || name.eq_ignore_ascii_case(b"no-store")
    };
    if !super::fields::options(headers, &CACHE_CONTROL).any(private) {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Takes a real server's own cookie of this name out of an answer.
pub(super) fn take_set(headers: &mut HeaderMap, name: &str) {
    let ours = |value: &HeaderValue| pair_name(value.as_bytes()) == name.as_bytes();
    if !headers.get_all(SET_COOKIE).iter().any(ours) {
        return;
    }
    let others: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !ours(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in others {
        headers.append(SET_COOKIE, value);
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(COOKIE).into_iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn pair_name(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

fn token(pair: &[u8]) -> Option<Box<str>> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let value = pair.get(at + 1..)?.trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let value = quoted.unwrap_or(value);
    if !is_token(value) {
        return None;
    }
    std::str::from_utf8(value).ok().map(Box::from)
}

/// RFC 6265 section 4.1.1: `cookie-octet`.
fn is_token(value: &[u8]) -> bool {
    let octet = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    !value.is_empty() && value.len() <= MOST_BYTES && value.iter().all(octet)
}

fn join(pairs: &[&[u8]]) -> Option<HeaderValue> {
    let text = pairs.join(b"; ".as_slice());
    if text.is_empty() { None } else { HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok() }
}

fn put_back(headers: &mut HeaderMap, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(COOKIE, value)),
        None => drop(headers.remove(COOKIE)),
    }
}
