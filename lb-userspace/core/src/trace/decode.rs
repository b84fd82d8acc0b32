//! The first bytes of a frame, decoded: [`decode`]. Nothing of them is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::wire::{arp, ethernet, icmp, ipv4, ipv6, protocol, tcp};

use crate::view::{Fragment, Frame, TcpFlag};

/// What a frame of `length` bytes that begins with `bytes` says.
#[must_use]
pub fn decode(bytes: &[u8], length: u32) -> Frame {
    let bytes = Bytes(bytes);
    let mut frame = Frame {
        length,
        destination_mac: bytes.mac(0),
        source_mac: bytes.mac(6),
        protocol: "ethernet".to_owned(),
        ..Frame::default()
    };
    let mut at = ethernet::ADDRESSES;
    let kind = loop {
        match bytes.be16(at) {
            Some(ethernet::TYPE_VLAN | ethernet::TYPE_SERVICE_VLAN) if frame.vlans.len() < MOST_TAGS => {
                let Some(control) = bytes.be16(at + 2) else { break None };
                frame.vlans.push(control & ethernet::VLAN_MASK);
                at += ethernet::TAG;
            }
            kind => break kind,
        }
    };
    let inner = bytes.from(at + 2);
    let decoded = match kind {
        Some(ethernet::TYPE_IPV4) => packet_v4(&mut frame, inner, Depth::Frame),
        Some(ethernet::TYPE_IPV6) => packet_v6(&mut frame, inner, Depth::Frame),
        Some(ethernet::TYPE_ARP) => question(&mut frame, inner),
        Some(kind) => {
            frame.protocol = format!("ethertype {kind:#06x}");
            Some(())
        }
        None => None,
    };
    frame.cut_short = decoded.is_none();
    frame
}

/// As the datapath follows.
const MOST_TAGS: usize = 2;

/// Bytes that may end anywhere.
#[derive(Clone, Copy)]
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn be16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn be32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn v4(self, at: usize) -> Option<IpAddr> {
        self.array::<4>(at).map(|octets| Ipv4Addr::from(octets).into())
    }

    fn v6(self, at: usize) -> Option<IpAddr> {
        self.array::<16>(at).map(|octets| Ipv6Addr::from(octets).into())
    }

    fn mac(self, at: usize) -> Option<String> {
        let [a, b, c, d, e, f] = self.array(at)?;
        Some(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
    }

    /// What follows; nothing where the bytes end before.
    fn from(self, at: usize) -> Bytes<'b> {
        Bytes(self.0.get(at..).unwrap_or_default())
    }
}

/// An error quotes a packet; what that one quotes is nobody's concern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Frame,
    Quoted,
}

/// `None`: it ends before it is decoded.
fn packet_v4(frame: &mut Frame, bytes: Bytes<'_>, depth: Depth) -> Option<()> {
    "ipv4".clone_into(&mut frame.protocol);
    frame.source = bytes.v4(ipv4::SOURCE);
    frame.destination = bytes.v4(ipv4::DESTINATION);
    frame.destination?;
    let header = 4 * usize::from(bytes.byte(ipv4::VERSION_LENGTH)? & 0x0f);
    let flags = bytes.be16(ipv4::FRAGMENT)?;
    let (offset, more) = (8 * u32::from(flags & ipv4::OFFSET_MASK), flags & ipv4::MORE_FRAGMENTS != 0);
    if offset != 0 || more {
        let identification = bytes.be16(ipv4::IDENTIFICATION)?.into();
        frame.fragment = Some(Fragment { identification, offset, more });
    }
    let number = bytes.byte(ipv4::PROTOCOL)?;
    // A header shorter than a header can be is no header.
    let payload = if header < ipv4::HEADER { Bytes(&[]) } else { bytes.from(header) };
    transport(frame, number, payload, depth)
}

fn packet_v6(frame: &mut Frame, bytes: Bytes<'_>, depth: Depth) -> Option<()> {
    "ipv6".clone_into(&mut frame.protocol);
    frame.source = bytes.v6(ipv6::SOURCE);
    frame.destination = bytes.v6(ipv6::DESTINATION);
    frame.destination?;
    let mut next = bytes.byte(ipv6::NEXT_HEADER)?;
    let mut rest = bytes.from(ipv6::HEADER);
    // Each is eight bytes at least, so the bytes end before this goes on for long.
    loop {
        let size = match next {
            ipv6::FRAGMENT => {
                let field = rest.be16(2)?;
                let (offset, more) = (u32::from(field & ipv6::OFFSET_MASK), field & ipv6::MORE_FRAGMENTS != 0);
                frame.fragment = Some(Fragment { identification: rest.be32(4)?, offset, more });
                8
            }
            ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => 8 + 8 * usize::from(rest.byte(1)?),
            _ => break,
        };
        next = rest.byte(0)?;
        rest = rest.from(size);
    }
    transport(frame, next, rest, depth)
}

fn transport(frame: &mut Frame, number: u8, bytes: Bytes<'_>, depth: Depth) -> Option<()> {
    frame.protocol = match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        other => format!("ip protocol {other}"),
    };
    if frame.fragment.is_some_and(|fragment| fragment.offset > 0) {
        // What begins here is the middle of a datagram.
        return Some(());
    }
    match number {
        protocol::TCP | protocol::UDP => {
            frame.source_port = bytes.be16(0);
            frame.destination_port = bytes.be16(2);
            frame.destination_port?;
            // An error quotes no more than the ports for sure.
            if number == protocol::TCP && depth == Depth::Frame {
                let set = bytes.byte(tcp::DATA_OFFSET + 1)?;
                let flags = TcpFlag::ALL.iter().enumerate().filter(|(bit, _)| set >> bit & 1 != 0);
                frame.tcp_flags = flags.map(|(_, flag)| *flag).collect();
            }
            Some(())
        }
        protocol::ICMP | protocol::ICMPV6 => message(frame, number, bytes, depth),
        _ => Some(()),
    }
}

fn message(frame: &mut Frame, number: u8, bytes: Bytes<'_>, depth: Depth) -> Option<()> {
    let (kind, code) = (bytes.byte(0)?, bytes.byte(1)?);
    let is_v6 = number == protocol::ICMPV6;
    let (says, mtu) = if is_v6 { says_v6(kind, code) } else { says_v4(kind, code) };
    let mtu = if mtu { bytes.be32(4) } else { None };
    // The older of the two has 16 bits for it.
    let mtu = mtu.map(|mtu| format!(", MTU {}", if is_v6 { mtu } else { mtu & 0xffff }));
    frame.message =
        Some(says.map_or_else(|| format!("type {kind} code {code}"), str::to_owned) + &mtu.unwrap_or_default());
    let is_error = if is_v6 { kind < icmp::V6_INFORMATIONAL } else { icmp::is_error(kind) };
    if is_error && depth == Depth::Frame {
        let mut about = Frame::default();
        let quoted = bytes.from(icmp::HEADER);
        let decoded = if is_v6 {
            packet_v6(&mut about, quoted, Depth::Quoted)
        } else {
            packet_v4(&mut about, quoted, Depth::Quoted)
        };
        about.cut_short = decoded.is_none();
        frame.about = Some(Box::new(about));
    }
    Some(())
}

/// RFC 792, RFC 1191; and whether an MTU follows.
const fn says_v4(kind: u8, code: u8) -> (Option<&'static str>, bool) {
    let says = match (kind, code) {
        (0, _) => "echo reply",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => return (Some("fragmentation needed"), true),
        (3, 9 | 10 | 13) => "administratively prohibited",
        (3, _) => "destination unreachable",
        (5, _) => "redirect",
        (8, _) => "echo request",
        (11, 0) => "hop limit exceeded",
        (11, _) => "reassembly time exceeded",
        (12, _) => "parameter problem",
        _ => return (None, false),
    };
    (Some(says), false)
}

/// RFC 4443, RFC 4861; and whether an MTU follows.
const fn says_v6(kind: u8, code: u8) -> (Option<&'static str>, bool) {
    let says = match (kind, code) {
        (1, 0) => "no route to the destination",
        (1, 1) => "administratively prohibited",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, _) => "destination unreachable",
        (2, _) => return (Some("packet too big"), true),
        (3, 0) => "hop limit exceeded",
        (3, _) => "reassembly time exceeded",
        (4, _) => "parameter problem",
        (128, _) => "echo request",
        (129, _) => "echo reply",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbour solicitation",
        (136, _) => "neighbour advertisement",
        (137, _) => "redirect",
        _ => return (None, false),
    };
    (Some(says), false)
}

fn question(frame: &mut Frame, bytes: Bytes<'_>) -> Option<()> {
    "arp".clone_into(&mut frame.protocol);
    frame.source = bytes.v4(arp::SENDER);
    frame.destination = bytes.v4(arp::TARGET);
    frame.destination?;
    frame.message = Some(match bytes.be16(arp::OPERATION)? {
        arp::REQUEST if frame.source == frame.destination => "announces its address".to_owned(),
        arp::REQUEST => "asks who has it".to_owned(),
        arp::REPLY => "says that it has its address".to_owned(),
        operation => format!("operation {operation}"),
    });
    Some(())
}
