//! Ethernet frames and IP packets of the probes. Pure.
//!
//! In: ends and transport bytes, or whatever a socket received. Out: frames, or the headers that a probe
//! asks about. Absent: checksums of what is received, because the kernel hands frames of its own machine
//! on without them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::wire::{be16, ethernet, ipv4, ipv6, protocol};

use super::Path;
use crate::netlink::announce::internet_checksum;

/// Who sends a packet, and who it is for: two addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    V4 { from: Ipv4Addr, to: Ipv4Addr },
    V6 { from: Ipv6Addr, to: Ipv6Addr },
}

/// The outside of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) destination: [u8; 6],
    pub(super) source: [u8; 6],
    pub(super) ether_type: u16,
    pub(super) payload: &'a [u8],
}

/// A received IP packet, or as much of it as was received or quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) ends: Ends,
    pub(super) hop_limit: u8,
    pub(super) protocol: u8,
    pub(super) transport: &'a [u8],
}

impl Ends {
    /// `None`: the addresses are of different families.
    pub(super) const fn new(from: IpAddr, to: IpAddr) -> Option<Self> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Some(Self::V4 { from, to }),
            (IpAddr::V6(from), IpAddr::V6(to)) => Some(Self::V6 { from, to }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// Those of an answer.
    pub(super) const fn reversed(self) -> Self {
        match self {
            Self::V4 { from, to } => Self::V4 { from: to, to: from },
            Self::V6 { from, to } => Self::V6 { from: to, to: from },
        }
    }

    pub(super) const fn ether_type(self) -> u16 {
        match self {
            Self::V4 { .. } => ethernet::TYPE_IPV4,
            Self::V6 { .. } => ethernet::TYPE_IPV6,
        }
    }

    /// A whole IP packet. The transport's checksum is filled in where it covers the addresses.
    pub(super) fn packet(self, hop_limit: u8, protocol: u8, transport: &[u8]) -> Vec<u8> {
        let transport = self.with_checksum(protocol, transport);
        match self {
            Self::V4 { from, to } => {
                let mut header = [&[0x45, 0][..], &length(ipv4::HEADER + transport.len()), &[0; 4]].concat();
                header.extend([hop_limit, protocol, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = internet_checksum(header.iter().copied());
                put(&mut header, 10, sum);
                [header, transport].concat()
            }
            Self::V6 { from, to } => {
                let header = [&[0x60, 0, 0, 0][..], &length(transport.len()), &[protocol, hop_limit]].concat();
                [&header[..], &from.octets(), &to.octets(), &transport].concat()
            }
        }
    }

    fn with_checksum(self, protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut transport = transport.to_vec();
        let at = match protocol {
            protocol::TCP => 16,
            protocol::UDP => 6,
            protocol::ICMPV6 => 2,
            _ => return transport,
        };
        // RFC 9293 section 3.1, RFC 8200 section 8.1: the addresses, the protocol, the length.
        let mut covered = match self {
            Self::V4 { from, to } => [from.octets(), to.octets()].concat(),
            Self::V6 { from, to } => [from.octets(), to.octets()].concat(),
        };
        covered.extend([0, protocol]);
        covered.extend(length(transport.len()));
        covered.extend(&transport);
        // RFC 768: a computed zero is sent as all ones, for which the receiver's sum is the same.
        let sum = match internet_checksum(covered.into_iter()) {
            0 => 0xffff,
            sum => sum,
        };
        put(&mut transport, at, sum);
        transport
    }
}

impl Path {
    /// The frame that carries an IP packet along this path.
    pub(super) fn frame(&self, ether_type: u16, packet: &[u8]) -> Vec<u8> {
        frame((self.destination_mac, self.source_mac), (self.outer_vlan, self.inner_vlan), ether_type, packet)
    }
}

/// From destination and source, outer and inner VLAN; tagged as the datapath tags.
pub(super) fn frame(macs: ([u8; 6], [u8; 6]), vlans: (u16, u16), ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [macs.0, macs.1].concat();
    let mut tag = |kind: u16, vlan: u16| {
        frame.extend(kind.to_be_bytes());
        frame.extend((vlan & ethernet::VLAN_MASK).to_be_bytes());
    };
    match vlans {
        (0, _) => {}
        (outer, 0) => tag(ethernet::TYPE_VLAN, outer),
        (outer, inner) => {
            tag(ethernet::TYPE_SERVICE_VLAN, outer);
            tag(ethernet::TYPE_VLAN, inner);
        }
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

impl<'a> Frame<'a> {
    /// Tags are passed over: the kernel may have taken them off, or left one or both.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk::<6>()?;
        let (source, mut rest) = rest.split_first_chunk::<6>()?;
        for _ in 0..=MOST_TAGS {
            let (kind, payload) = rest.split_first_chunk::<2>()?;
            match be16(*kind) {
                ethernet::TYPE_VLAN | ethernet::TYPE_SERVICE_VLAN => rest = payload.get(2..)?,
                ether_type => return Some(Self { destination: *destination, source: *source, ether_type, payload }),
            }
        }
        None
    }

    /// The IP packet in it.
    pub(super) fn packet(&self) -> Option<Packet<'a>> {
        let packet = Packet::parse(self.payload)?;
        (packet.ends.ether_type() == self.ether_type).then_some(packet)
    }
}

impl<'a> Packet<'a> {
    /// `None` for what no answer to a probe is: later fragments, extension headers.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header_length = usize::from(bytes.first()? & 0xf) * 4;
                let transport = bytes.get(header_length.max(ipv4::HEADER)..)?;
                let first = field(bytes, ipv4::FRAGMENT).map(be16)? & ipv4::OFFSET_MASK == 0;
                let from = field::<4>(bytes, ipv4::SOURCE)?.into();
                let to = field::<4>(bytes, ipv4::DESTINATION)?.into();
                let [hop_limit, protocol] = field(bytes, ipv4::PROTOCOL - 1)?;
                first.then_some(Self { ends: Ends::V4 { from, to }, hop_limit, protocol, transport })
            }
            6 => {
                let from = field::<16>(bytes, ipv6::SOURCE)?.into();
                let to = field::<16>(bytes, ipv6::DESTINATION)?.into();
                let [protocol, hop_limit] = field(bytes, ipv6::NEXT_HEADER)?;
                let transport = bytes.get(ipv6::HEADER..)?;
                Some(Self { ends: Ends::V6 { from, to }, hop_limit, protocol, transport })
            }
            _ => None,
        }
    }
}

/// The bytes from `at` on, if all are there.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value.to_be_bytes();
    }
}

/// Of packets made here, which have a few dozen bytes.
const fn length(bytes: usize) -> [u8; 2] {
    let [.., high, low] = bytes.to_be_bytes();
    [high, low]
}

/// 802.1ad and 802.1Q.
const MOST_TAGS: usize = 2;
