//! ICMP and ICMPv6 echo on the wire (RFC 792, RFC 4443), everything in network byte order.
//!
//! In: what raw sockets receive. Out: requests, and answers to ours. Absent: sockets, matching.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// What tells one echo request from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) ident: u16,
    pub(crate) sequence: u16,
    /// Cannot be guessed, so only who received the request can answer it.
    pub(crate) token: u64,
}

/// What a packet says of an echo request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reply(Echo),
    /// A router or this machine could not deliver the request.
    Undelivered {
        ident: u16,
        sequence: u16,
        destination: IpAddr,
        why: &'static str,
    },
}

/// Header and payload of a request.
pub(super) const REQUEST_LEN: usize = HEADER + 32;

/// An echo request. The checksum of ICMPv6 covers addresses that only the kernel knows, so it fills it in.
pub(crate) fn request(family: Family, echo: Echo) -> [u8; REQUEST_LEN] {
    let mut packet = [0; REQUEST_LEN];
    packet[0] = family.request_type();
    packet[4..6].copy_from_slice(&echo.ident.to_be_bytes());
    packet[6..8].copy_from_slice(&echo.sequence.to_be_bytes());
    packet[8..16].copy_from_slice(&echo.token.to_be_bytes());
    if family == Family::V4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// What `packet` answers; a raw IPv4 socket gives the IP header too, an IPv6 one does not. `None`:
/// nothing to do with an echo request.
pub(super) fn answer(family: Family, packet: &[u8]) -> Option<Answer> {
    let message = match family {
        Family::V4 => packet.get(ipv4_header_len(packet)?..)?,
        Family::V6 => packet,
    };
    if let Some(echo) = reply(family, message) {
        return Some(Answer::Reply(echo));
    }
    let kind = *message.first()?;
    let why = family.why_undelivered(kind, *message.get(1)?)?;
    let quoted = message.get(HEADER..)?;
    let (destination, request) = match family {
        Family::V4 => {
            let destination = Ipv4Addr::from(*quoted.get(16..)?.first_chunk::<4>()?);
            (IpAddr::V4(destination), quoted.get(ipv4_header_len(quoted)?..)?)
        }
        // Our requests have no extension headers.
        Family::V6 => {
            let destination = Ipv6Addr::from(*quoted.get(24..)?.first_chunk::<16>()?);
            (IpAddr::V6(destination), quoted.get(40..)?)
        }
    };
    if *request.first()? != family.request_type() {
        return None;
    }
    Some(Answer::Undelivered { ident: be16(request, 4)?, sequence: be16(request, 6)?, destination, why })
}

/// Which request an ICMP message replies to.
pub(crate) fn reply(family: Family, message: &[u8]) -> Option<Echo> {
    if *message.first()? != family.reply_type() {
        return None;
    }
    let token = u64::from_be_bytes(*message.get(HEADER..)?.first_chunk()?);
    Some(Echo { ident: be16(message, 4)?, sequence: be16(message, 6)?, token })
}

impl Family {
    pub(crate) const fn request_type(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    pub(super) const fn reply_type(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }

    /// The message types that say that a packet was not delivered: unreachable, time exceeded.
    pub(crate) const fn error_types(self) -> [u8; 2] {
        match self {
            Self::V4 => [3, 11],
            Self::V6 => [1, 3],
        }
    }

    // RFC 792 and RFC 1812 section 5.2.7.1 name the codes of ICMP, RFC 4443 section 3 those of ICMPv6.
    fn why_undelivered(self, kind: u8, code: u8) -> Option<&'static str> {
        let [unreachable, time_exceeded] = self.error_types();
        if kind == time_exceeded {
            return Some("the packet went through too many routers: is there a routing loop?");
        }
        if kind != unreachable {
            return None;
        }
        Some(match (self, code) {
            (Self::V4 | Self::V6, 0) => "a router has no route to its network",
            (Self::V4, 1) | (Self::V6, 3) => "no machine answers at this address",
            (Self::V4, 9 | 10 | 13) | (Self::V6, 1 | 5) => "a firewall on the way forbids it",
            _ => "a router could not deliver the packet",
        })
    }
}

fn ipv4_header_len(packet: &[u8]) -> Option<usize> {
    let len = usize::from(packet.first()? & 0xf) * 4;
    (len >= 20).then_some(len)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum = words.iter().fold(0u32, |sum, word| sum + u32::from(u16::from_be_bytes(*word)));
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

const HEADER: usize = 8;
