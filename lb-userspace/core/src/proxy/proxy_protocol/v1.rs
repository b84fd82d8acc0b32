//! Version 1: a line of text (section 2.1).

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Malformed, Pair, begins};
use crate::proxy::Parsed;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<Header>, Malformed> {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST { Ok(Parsed::More) } else { Err(Malformed::Endless) };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let header = line.strip_suffix(b"\r").and_then(header);
    let value = header.ok_or_else(|| Malformed::Line(String::from_utf8_lossy(line).into_owned()))?;
    Ok(Parsed::Done { value, length: end + 1 })
}

fn header(line: &[u8]) -> Option<Header> {
    let rest = line.strip_prefix(SIGNATURE)?;
    // Whatever follows UNKNOWN is to be ignored.
    if begins(rest, b"UNKNOWN") && rest.get(7).is_none_or(|next| *next == b' ') {
        return (rest.len() >= 7).then(Header::default);
    }
    let rest = str::from_utf8(rest).ok()?;
    let mut words = rest.split(' ');
    let mut word = || words.next();
    let (family, source, destination) = (word()?, word()?, word()?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if word().is_some() {
        return None;
    }
    let (source, destination) = (address(family, source)?, address(family, destination)?);
    Some(Header {
        source: Some(SocketAddr::new(source, source_port)),
        destination: Some(SocketAddr::new(destination, destination_port)),
        tls: false,
    })
}

fn address(family: &str, text: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    }
}

/// Digits alone, and no zero before others.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

pub(super) fn write(Pair { source, destination }: Pair, out: &mut Vec<u8>) {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    // Writing to a vector does not fail.
    let _ = write!(out, "PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
}

/// Version 1 has no word for it: the receiver is told that nothing is known, and goes by the connection.
pub(super) fn write_own(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PROXY UNKNOWN\r\n");
}

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Section 2.1: the longest line, with its end.
pub(super) const LONGEST: usize = 107;
