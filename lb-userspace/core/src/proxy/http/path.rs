//! The path of a request as rules see it.
//!
//! Servers do not agree on what a path means: `/%61dmin`, `//admin`, `/x/../admin`, `/x/..;/admin` and
//! `/x/..%2fadmin` are `/admin` to some of them. HAProxy compares what the client sent, so that a rule on `/admin`
//! sees none of these; nginx compares the decoded path and sends that on when it rewrites. Here
//!
//! - rules compare the [`judged`] path, in which all of these are the same: that is what the most liberal server
//!   would make of it;
//! - a real server gets the path as the client sent it, byte for byte (signatures of S3 depend on that), or where a
//!   rule rewrites, a rewritten [`clean`] path, in which an encoded slash is still one;
//! - a path with dots on which servers differ, so that no comparison could be right for all of them, is refused with
//!   400: `..` after an encoded slash or after an empty segment, `..;x`, and the like. Also one that holds `%00` or
//!   a `%` without two digits.
//!
//! Nothing of this costs a service whose rules look at no path: its paths are not looked at and never refused.
//! Letter case counts, except in a regular expression that says otherwise.

use std::borrow::Cow;

/// Servers differ on what this path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// RFC 3986 section 6.2.2: unreserved characters decoded, digits of escapes in upper case, dot segments resolved.
pub(super) fn clean(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    resolve(&decoded).map(Cow::Owned)
}

/// The [`clean`] path as the most liberal server reads it: `%2F`, `%5C` and `\` are slashes, several slashes are
/// one, and what follows a `;` in a segment (path parameters, which servers of Java take out) is not there.
///
/// What begins with no slash is no path that rules could be compared with, but for the `*` of OPTIONS (RFC 9112
/// section 3.2): `\admin` would be `/admin` to some, and a name to others.
pub(super) fn judged(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if !path.starts_with('/') && path != "*" {
        return Err(Ambiguous);
    }
    let clean = clean(path)?;
    if is_plain(&clean) {
        return Ok(clean);
    }
    let mut out = String::with_capacity(clean.len());
    for (index, segment) in pieces(&clean).enumerate() {
        let name = without_parameters(segment);
        if index > 0 && !out.ends_with('/') {
            out.push('/');
        }
        out.push_str(name);
    }
    Ok(Cow::Owned(out))
}

/// Whether no server can read it as anything else: most paths.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    for byte in path.bytes() {
        let odd = matches!(byte, b'%' | b';' | b'\\') || (before == b'/' && matches!(byte, b'/' | b'.'));
        if odd {
            return false;
        }
        before = byte;
    }
    true
}

/// Decodes what needs no escape, and writes the other escapes in one way.
fn decode(path: &str) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, escaped)) = rest.split_once('%') {
        out.push_str(plain);
        let (digits, after) = escaped.split_at_checked(2).ok_or(Ambiguous)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Ambiguous);
        }
        match u8::from_str_radix(digits, 16).map_err(|_| Ambiguous)? {
            0 => return Err(Ambiguous),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Takes out `.` and `..`, where all servers agree on what they do.
fn resolve(path: &str) -> Result<String, Ambiguous> {
    let Some(relative) = path.strip_prefix('/') else { return Ok(path.to_owned()) };
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in relative.split('/') {
        open = is_dots(segment);
        match segment {
            "." => {}
            ".." => match kept.pop() {
                // Some merge slashes before they look at dots; some decode before.
                Some(left) if without_parameters(left).is_empty() || pieces(left).nth(1).is_some() => {
                    return Err(Ambiguous);
                }
                Some(_) | None => {}
            },
            _ if pieces(segment).any(|piece| is_dots(without_parameters(piece))) => return Err(Ambiguous),
            _ => kept.push(segment),
        }
    }
    // A path that ended in dots names a folder.
    if open {
        kept.push("");
    }
    Ok(format!("/{}", kept.join("/")))
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

fn without_parameters(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

/// Splits at everything that some server takes for a slash.
fn pieces(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let cut = text.bytes().enumerate().find_map(|(at, byte)| {
            let escape = text.get(at..at + 3);
            match byte {
                b'/' | b'\\' => Some((at, 1)),
                b'%' if escape == Some("%2F") || escape == Some("%5C") => Some((at, 3)),
                _ => None,
            }
        });
        let Some((at, length)) = cut else { return rest.take() };
        rest = text.get(at + length..);
        text.get(..at)
    })
}
