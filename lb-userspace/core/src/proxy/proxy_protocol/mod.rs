//! The PROXY protocol, versions 1 and 2: who a proxy's connection is really from, told in its first bytes.
//!
//! In: the first bytes of a connection; addresses. Out: addresses; the bytes to begin a connection with. Absent: whose
//! header is believed, which the configuration says.
//!
//! The source is HAProxy's `doc/proxy-protocol.txt`; section numbers below are its own.

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Parsed;
use crate::config::model::ProxyProtocol;

/// What a PROXY header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Who opened the connection; `None`: the proxy itself did, or does not know. Then the connection's own
    /// addresses are the true ones.
    pub source: Option<SocketAddr>,
    /// Where it was opened to; there when `source` is.
    pub destination: Option<SocketAddr>,
    /// The client spoke TLS to the proxy. Only version 2 is able to say so.
    pub tls: bool,
}

/// Why a connection does not begin with a PROXY header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither version begins like this.
    #[error("there is no PROXY header; let the sender add one, or take it out of `accept_proxy_protocol`")]
    Absent,
    /// Version 1, and it goes on and on.
    #[error("the PROXY header of version 1 has no end within {} bytes", v1::LONGEST)]
    Endless,
    /// Version 1, not as section 2.1 has it.
    #[error("the PROXY header {0:?} has not the form \"PROXY TCP4 <source> <destination> <port> <port>\"")]
    Line(String),
    /// Section 2.2: the 13th byte, high half.
    #[error("the PROXY header has version {0}; versions 1 and 2 are known")]
    Version(u8),
    /// Section 2.2: the 13th byte, low half.
    #[error("the PROXY header of version 2 has command {0}; 0 (LOCAL) and 1 (PROXY) are known")]
    Command(u8),
    /// Section 2.2: the 14th byte.
    #[error("the PROXY header of version 2 has address family and protocol {0:#04x}, which the protocol does not know")]
    Family(u8),
    /// Section 2.2: the 15th and 16th byte say less than the addresses need.
    #[error("the PROXY header of version 2 has {got} bytes where its addresses need {needed}")]
    Short {
        /// For addresses of that family.
        needed: usize,
        /// By the header's own length.
        got: usize,
    },
    /// Longer than anybody's.
    #[error("the PROXY header of version 2 has {0} bytes; at most {LONGEST} are read")]
    Long(usize),
    /// A TLV that reaches beyond the header, or is too short for what it is.
    #[error("the PROXY header of version 2 has a field of type {0:#04x} with a wrong length")]
    Field(u8),
    /// Section 2.2.3.
    #[error("the PROXY header of version 2 has checksum {said:#010x}, but its bytes give {counted:#010x}")]
    Checksum {
        /// What the sender wrote.
        said: u32,
        /// What it should have written.
        counted: u32,
    },
}

/// Reads the header at the beginning of a connection. It asks for more bytes only as long as what is there could
/// become a header, and never for more than [`LONGEST`].
pub fn parse(bytes: &[u8]) -> Result<Parsed<Header>, Malformed> {
    if begins(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Malformed::Absent)
    }
}

/// Appends the header that says a connection is from `source`, which had opened it to `destination`.
pub fn write(version: ProxyProtocol, source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let pair = Pair::new(source, destination);
    match version {
        ProxyProtocol::V1 => v1::write(pair, out),
        ProxyProtocol::V2 => v2::write(pair, out),
    }
}

/// Appends the header that says a connection is from the proxy itself, as one that checks health is.
pub fn write_own(version: ProxyProtocol, out: &mut Vec<u8>) {
    match version {
        ProxyProtocol::V1 => v1::write_own(out),
        ProxyProtocol::V2 => v2::write_own(out),
    }
}

/// Two addresses of one family: no header can mix them.
#[derive(Clone, Copy, Debug)]
struct Pair {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Pair {
    /// IPv4 when both are (also where a socket for both families shows them as IPv6), else IPv6.
    fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
        let (from, to) = match (from, to) {
            (IpAddr::V4(_), IpAddr::V4(_)) => (from, to),
            _ => (as_ipv6(from).into(), as_ipv6(to).into()),
        };
        Self { source: SocketAddr::new(from, source.port()), destination: SocketAddr::new(to, destination.port()) }
    }
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Whether `bytes` begin with `signature`, as far as they have come.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// A header of version 2 may say 64 kB. What is known fits in a fraction of this, with a client's certificate.
pub const LONGEST: usize = 16 * 1024;
