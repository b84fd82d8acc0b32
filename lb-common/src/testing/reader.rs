//! Reads frames for tests, with nothing of the datapath's own: plain slices, and checksums computed
//! afresh (RFC 1071) over what is there.

use std::net::IpAddr;

use super::checksum;
use crate::wire::{ethernet, ipv6, protocol};

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// To whom it is sent.
    pub destination_mac: [u8; 6],
    /// By whom.
    pub source_mac: [u8; 6],
    /// Type and control information of each tag, the outer one first.
    pub tags: Vec<(u16, u16)>,
    /// What it carries.
    pub packet: SeenPacket,
}

/// What an IP packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Hop limit or time to live.
    pub hop_limit: u8,
    /// Protocol of the body.
    pub protocol: u8,
    /// Of a fragment; in IPv4 of any packet.
    pub identification: u32,
    /// Where in its datagram the body begins.
    pub offset: u16,
    /// Whether more of the datagram follows.
    pub more: bool,
    /// Options or extension headers as they are, the fragment header left out.
    pub extras: Vec<u8>,
    /// The header checksum of IPv4 is right.
    pub header_is_right: bool,
    /// What the headers of IP are in front of.
    pub body: Vec<u8>,
}

impl Seen {
    /// Reads a frame with at most two tags; `None` when it carries no IP packet, or not all of it.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let mut rest = frame.get(ethernet::ADDRESSES..)?;
        let mut tags = Vec::new();
        let be16 = |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        while tags.len() < 2 && matches!(be16(rest, 0)?, ethernet::TYPE_VLAN | ethernet::TYPE_SERVICE_VLAN) {
            tags.push((be16(rest, 0)?, be16(rest, 2)?));
            rest = rest.get(ethernet::TAG..)?;
        }
        let packet = match be16(rest, 0)? {
            ethernet::TYPE_IPV4 | ethernet::TYPE_IPV6 => SeenPacket::read(rest.get(2..)?)?,
            _ => return None,
        };
        Some(Self {
            destination_mac: frame[..6].try_into().ok()?,
            source_mac: frame[6..12].try_into().ok()?,
            tags,
            packet,
        })
    }
}

impl SeenPacket {
    /// Reads a packet. One that is quoted in an error may end anywhere behind its headers.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::read_v4(packet),
            6 => Self::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Self> {
        let length = usize::from(packet[0] & 0x0f) * 4;
        let header = packet.get(..length).filter(|header| header.len() >= 20)?;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]])).min(packet.len());
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        Some(Self {
            source: IpAddr::from(<[u8; 4]>::try_from(&header[12..16]).ok()?),
            destination: IpAddr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?),
            hop_limit: header[8],
            protocol: header[9],
            identification: u16::from_be_bytes([header[4], header[5]]).into(),
            offset: (fragment & 0x1fff) * 8,
            more: fragment & 0x2000 != 0,
            extras: header[20..].to_vec(),
            header_is_right: checksum(header) == 0,
            body: packet.get(length..total)?.to_vec(),
        })
    }

    fn read_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..40)?;
        let total = (40 + usize::from(u16::from_be_bytes([header[4], header[5]]))).min(packet.len());
        let mut rest = packet.get(40..total)?;
        let mut seen = Self {
            source: IpAddr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?),
            destination: IpAddr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?),
            hop_limit: header[7],
            protocol: header[6],
            identification: 0,
            offset: 0,
            more: false,
            extras: Vec::new(),
            header_is_right: true,
            body: Vec::new(),
        };
        while matches!(seen.protocol, ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::FRAGMENT | ipv6::DESTINATION_OPTIONS)
            && seen.offset == 0
        {
            let is_fragment = seen.protocol == ipv6::FRAGMENT;
            let length = if is_fragment { 8 } else { (usize::from(*rest.get(1)?) + 1) * 8 };
            let (extension, behind) = rest.split_at_checked(length)?;
            if is_fragment {
                let field = u16::from_be_bytes([extension[2], extension[3]]);
                (seen.offset, seen.more) = (field & 0xfff8, field & 1 != 0);
                seen.identification = u32::from_be_bytes(extension[4..8].try_into().ok()?);
            } else {
                seen.extras.extend_from_slice(extension);
            }
            (seen.protocol, rest) = (extension[0], behind);
        }
        seen.body = rest.to_vec();
        Some(seen)
    }

    /// Source and destination with their ports, of TCP and UDP.
    #[must_use]
    pub fn ends(&self) -> ((IpAddr, u16), (IpAddr, u16)) {
        let port = |at: usize| u16::from_be_bytes([self.body[at], self.body[at + 1]]);
        ((self.source, port(0)), (self.destination, port(2)))
    }

    /// Where the checksum is in the body, if the protocol has one.
    fn checksum_at(&self) -> Option<usize> {
        match self.protocol {
            protocol::TCP => Some(16),
            protocol::UDP => Some(6),
            protocol::ICMP | protocol::ICMPV6 => Some(2),
            _ => None,
        }
    }

    /// The checksum in the body of a packet that is no later fragment.
    #[must_use]
    pub fn checksum(&self) -> Option<u16> {
        let at = self.checksum_at()?;
        Some(u16::from_be_bytes([*self.body.get(at)?, *self.body.get(at + 1)?]))
    }

    /// The body behind the ports, without the checksum: what nobody on the way may change.
    #[must_use]
    pub fn untouchable(&self) -> Vec<u8> {
        let mut body = self.body.clone();
        if let Some(field) = self.checksum_at().and_then(|at| body.get_mut(at..at + 2)) {
            field.fill(0);
        }
        body.split_off(4.min(body.len()))
    }

    /// Whether the checksum of the body, which is whole, is the one computed afresh. No checksum is as
    /// good in UDP over IPv4 (RFC 768); a UDP checksum of 0 is written as 0xffff.
    #[must_use]
    pub fn body_is_right(&self) -> bool {
        let (Some(at), Some(is)) = (self.checksum_at(), self.checksum()) else { return false };
        if self.protocol == protocol::UDP && self.source.is_ipv4() && is == 0 {
            return true;
        }
        let mut covered = match (self.source, self.destination) {
            _ if self.protocol == protocol::ICMP => Vec::new(),
            (IpAddr::V4(s), IpAddr::V4(d)) => [s.octets(), d.octets()].concat(),
            (IpAddr::V6(s), IpAddr::V6(d)) => [s.octets(), d.octets()].concat(),
            _ => return false,
        };
        if self.protocol != protocol::ICMP {
            let length = u16::try_from(self.body.len()).expect("an IP length fits 16 bits");
            covered.extend_from_slice(&[0, self.protocol]);
            covered.extend_from_slice(&length.to_be_bytes());
        }
        let begin = covered.len();
        covered.extend_from_slice(&self.body);
        covered[begin + at..begin + at + 2].fill(0);
        let afresh = match checksum(&covered) {
            0 if self.protocol == protocol::UDP => 0xffff,
            sum => sum,
        };
        afresh == is
    }

    /// The packet that an ICMP error quotes.
    #[must_use]
    pub fn quoted(&self) -> Option<Self> {
        Self::read(self.body.get(8..)?)
    }

    /// A datagram from all its fragments, in order.
    #[must_use]
    pub fn whole(fragments: &[Self]) -> Option<Self> {
        let mut whole = fragments.first()?.clone();
        for next in &fragments[1..] {
            let fits = usize::from(next.offset) == whole.body.len() && whole.more;
            let same = (next.source, next.destination, next.identification, next.protocol)
                == (whole.source, whole.destination, whole.identification, whole.protocol);
            if !fits || !same {
                return None;
            }
            whole.body.extend_from_slice(&next.body);
            whole.more = next.more;
        }
        if whole.more { None } else { Some(whole) }
    }
}
