//! The cookie in a Remote Desktop client's first message: MS-RDPBCGR 2.2.1.1, X.224 Connection Request.
//!
//! In: the first bytes of a connection. Out: whom the client names, if anybody. Absent: which real server that is.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Parsed;

/// Whom a client names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// `mstshash`: its user, as far as the client says: Microsoft's cuts the name, with its domain, after nine bytes.
    User(Vec<u8>),
    /// `msts`: the real server on which a Connection Broker has found or placed the user's session.
    Chosen(SocketAddrV4),
}

/// Reads the cookie of the request that `bytes` begin with. What is no such request has no cookie; more bytes are
/// asked for only as long as it could be one, and never more than [`LONGEST`].
pub fn cookie(bytes: &[u8]) -> Parsed<Option<Cookie>> {
    const NONE: Parsed<Option<Cookie>> = Parsed::Done { value: None, length: 0 };
    if !begins_request(bytes) {
        return NONE;
    }
    let Some(length) = request_length(bytes) else { return Parsed::More };
    if !(FIXED..=LONGEST).contains(&length) {
        return NONE;
    }
    let request = bytes.get(..length).unwrap_or(bytes);
    let variable = request.get(FIXED..).unwrap_or_default();
    if !could_begin(variable, USER) && !could_begin(variable, CHOSEN) {
        return NONE;
    }
    match variable.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => Parsed::Done { value: value(variable.get(..end).unwrap_or_default()), length: FIXED + end + 2 },
        None if bytes.len() < length => Parsed::More,
        None => NONE,
    }
}

/// TPKT version 3, then the code of a connection request; the references and lengths between may be anything.
fn begins_request(bytes: &[u8]) -> bool {
    let is = |at: usize, matches: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| matches(*byte));
    is(0, |byte| byte == 3) && is(1, |byte| byte == 0) && is(5, |byte| byte & 0xf0 == 0xe0)
}

fn request_length(bytes: &[u8]) -> Option<usize> {
    let [_, _, high, low, ..] = bytes else { return None };
    Some(usize::from(u16::from_be_bytes([*high, *low])))
}

fn could_begin(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(byte, expected)| byte == expected)
}

fn value(line: &[u8]) -> Option<Cookie> {
    match (line.strip_prefix(USER), line.strip_prefix(CHOSEN)) {
        (Some([]), _) | (None, None) => None,
        (Some(user), _) => Some(Cookie::User(user.to_vec())),
        (None, Some(token)) => chosen(token).map(Cookie::Chosen),
    }
}

/// `3640205228.15629.0000`: address and port in network order, read as little-endian numbers, in decimal. The last part
/// is reserved, and may be absent; a space may fill it up to an even length (`IMsRdpClientAdvancedSettings`).
fn chosen(token: &[u8]) -> Option<SocketAddrV4> {
    let mut parts = str::from_utf8(token).ok()?.trim_end_matches(' ').split('.');
    let (address, port) = (number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some_and(|reserved| !reserved.bytes().all(|byte| byte.is_ascii_digit()))
        || parts.next().is_some()
    {
        return None;
    }
    let address = Ipv4Addr::from(u32::try_from(address).ok()?.to_le_bytes());
    let port = u16::try_from(port).ok()?.swap_bytes();
    Some(SocketAddrV4::new(address, port))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

const USER: &[u8] = b"Cookie: mstshash=";
const CHOSEN: &[u8] = b"Cookie: msts=";

/// TPKT header (4 bytes) and the fixed part of the X.224 Connection Request (7).
const FIXED: usize = 11;

/// A request's length indicator is one byte, so an honest one is a good deal shorter.
pub const LONGEST: usize = 1024;
