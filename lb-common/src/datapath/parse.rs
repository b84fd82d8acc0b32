//! Reads the headers of a frame. In: bytes. Out: small values, or the verdict on a frame that
//! cannot be read. Knows no tables but the VIP filter it is handed.

use super::{Packet, Reason, Truncated, Verdict};
use crate::abi::Address;
use crate::wire::{be16, ethernet, ipv4, ipv6, protocol, tcp, udp};

/// The link layer: how many VLAN tags, and what they carry.
pub(super) struct Link {
    /// 0 to 2.
    pub tags: u32,
    /// Control information of the outer tag.
    pub outer: u16,
    /// Control information of the inner tag.
    pub inner: u16,
    ether_type: u16,
    /// Start of the IP header.
    network: usize,
}

/// The network layer.
pub(super) struct Header {
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    pub fragment: Fragmentation,
    /// Shared by the fragments of a datagram.
    pub identification: u32,
    /// Start of the transport header.
    pub transport: usize,
    /// End of the IP packet; the frame may go on with padding.
    pub end: usize,
}

/// Which part of a datagram this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragmentation {
    /// In bytes.
    pub offset: u16,
    pub more: bool,
}

impl Fragmentation {
    const NONE: Self = Self { offset: 0, more: false };

    #[inline(always)]
    pub(super) const fn is_first(self) -> bool {
        self.offset == 0 && self.more
    }

    #[inline(always)]
    pub(super) const fn is_later(self) -> bool {
        self.offset != 0
    }
}

/// Ports and, for TCP, flags.
pub(super) struct Transport {
    pub source_port: u16,
    pub destination_port: u16,
    /// Zero for UDP.
    pub flags: u8,
    pub is_tcp: bool,
}

impl Transport {
    /// Whether this packet may be the first of a flow.
    #[inline(always)]
    pub(super) const fn opens(&self) -> bool {
        !self.is_tcp || self.flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
    }

    /// Whether a client that sends this as its second packet has seen an answer, or acts as if.
    #[inline(always)]
    pub(super) const fn answers(&self) -> bool {
        !self.is_tcp || self.flags & tcp::SYN == 0
    }

    /// Whether the client ends the flow.
    #[inline(always)]
    pub(super) const fn closes(&self) -> bool {
        self.flags & (tcp::FIN | tcp::RST) != 0
    }
}

impl From<Truncated> for Verdict {
    fn from(Truncated: Truncated) -> Self {
        Self::pass(Reason::Truncated)
    }
}

/// Ethernet and up to two VLAN tags.
#[inline(always)]
pub(super) fn link<P: Packet>(packet: &P) -> Result<Link, Verdict> {
    let header = packet.load::<{ ethernet::HEADER }>(0)?;
    let mut link =
        Link { tags: 0, outer: 0, inner: 0, ether_type: be16([header[12], header[13]]), network: ethernet::HEADER };
    if is_tag(link.ether_type) {
        (link.outer, link.ether_type) = tag(packet, ethernet::HEADER)?;
        (link.tags, link.network) = (1, ethernet::HEADER + ethernet::TAG);
        if is_tag(link.ether_type) {
            (link.inner, link.ether_type) = tag(packet, ethernet::HEADER + ethernet::TAG)?;
            (link.tags, link.network) = (2, ethernet::HEADER + 2 * ethernet::TAG);
        }
    }
    Ok(link)
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ethernet::TYPE_VLAN | ethernet::TYPE_SERVICE_VLAN)
}

/// Control information and the type that follows it.
#[inline(always)]
fn tag<P: Packet>(packet: &P, at: usize) -> Result<(u16, u16), Truncated> {
    let bytes = packet.load::<{ ethernet::TAG }>(at)?;
    Ok((be16([bytes[0], bytes[1]]), be16([bytes[2], bytes[3]])))
}

/// The IP header of a packet to what `is_vip` may take for a VIP. Nothing else is judged: it is
/// not ours, whatever is wrong with it.
#[inline(always)]
pub(super) fn network<P: Packet>(
    packet: &P,
    link: &Link,
    is_vip: impl Fn(&Address) -> bool,
) -> Result<Header, Verdict> {
    match link.ether_type {
        ethernet::TYPE_IPV4 => {
            let bytes = packet.load::<{ ipv4::HEADER }>(link.network)?;
            let destination = v4_address(&bytes, ipv4::DESTINATION);
            if !is_vip(&destination) {
                return Err(Verdict::pass(Reason::NotVip));
            }
            ipv4(packet, link, &bytes, destination)
        }
        ethernet::TYPE_IPV6 => {
            let bytes = packet.load::<{ ipv6::HEADER }>(link.network)?;
            let destination = v6_address(&bytes, ipv6::DESTINATION);
            if !is_vip(&destination) {
                return Err(Verdict::pass(Reason::NotVip));
            }
            ipv6(packet, link, &bytes, destination)
        }
        _ => Err(Verdict::pass(Reason::NotIp)),
    }
}

#[inline(always)]
fn v4_address<const N: usize>(bytes: &[u8; N], at: usize) -> Address {
    Address::v4([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn v6_address(bytes: &[u8; ipv6::HEADER], at: usize) -> Address {
    let mut octets = [0; 16];
    let mut i = 0;
    while i < 16 {
        octets[i] = bytes[at + i];
        i += 1;
    }
    Address::v6(octets)
}

#[inline(always)]
fn ipv4<P: Packet>(
    packet: &P,
    link: &Link,
    bytes: &[u8; ipv4::HEADER],
    destination: Address,
) -> Result<Header, Verdict> {
    let header_length = usize::from(bytes[ipv4::VERSION_LENGTH] & 0x0f) * 4;
    let total = usize::from(be16([bytes[ipv4::TOTAL_LENGTH], bytes[ipv4::TOTAL_LENGTH + 1]]));
    let end = link.network + total;
    if bytes[ipv4::VERSION_LENGTH] >> 4 != 4
        || header_length < ipv4::HEADER
        || total < header_length
        || end > packet.length() as usize
    {
        return Err(Verdict::drop(Reason::BadLength));
    }
    let fragment = be16([bytes[ipv4::FRAGMENT], bytes[ipv4::FRAGMENT + 1]]);
    Ok(Header {
        source: v4_address(bytes, ipv4::SOURCE),
        destination,
        protocol: bytes[ipv4::PROTOCOL],
        fragment: Fragmentation {
            // The field counts 8-byte units; 13 bits of it times eight fit 16 bits.
            offset: (fragment & ipv4::OFFSET_MASK) << 3,
            more: fragment & ipv4::MORE_FRAGMENTS != 0,
        },
        identification: u32::from(be16([bytes[ipv4::IDENTIFICATION], bytes[ipv4::IDENTIFICATION + 1]])),
        transport: link.network + header_length,
        end,
    })
}

#[inline(always)]
fn ipv6<P: Packet>(
    packet: &P,
    link: &Link,
    bytes: &[u8; ipv6::HEADER],
    destination: Address,
) -> Result<Header, Verdict> {
    let payload = usize::from(be16([bytes[ipv6::PAYLOAD_LENGTH], bytes[ipv6::PAYLOAD_LENGTH + 1]]));
    let end = link.network + ipv6::HEADER + payload;
    if bytes[0] >> 4 != 6 || end > packet.length() as usize {
        return Err(Verdict::drop(Reason::BadLength));
    }
    let mut header = Header {
        source: v6_address(bytes, ipv6::SOURCE),
        destination,
        protocol: bytes[ipv6::NEXT_HEADER],
        fragment: Fragmentation::NONE,
        identification: 0,
        transport: link.network + ipv6::HEADER,
        end,
    };
    if is_extension(header.protocol) {
        extensions(packet, &mut header)?;
    }
    Ok(header)
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::FRAGMENT | ipv6::DESTINATION_OPTIONS)
}

/// Follows extension headers up to the transport header.
#[inline(always)]
fn extensions<P: Packet>(packet: &P, header: &mut Header) -> Result<(), Verdict> {
    for _ in 0..ipv6::MAX_EXTENSIONS {
        let Ok(extension) = packet.load::<8>(header.transport) else {
            return Err(Verdict::drop(Reason::BadLength));
        };
        if header.protocol == ipv6::FRAGMENT {
            let field = be16([extension[2], extension[3]]);
            header.fragment =
                Fragmentation { offset: field & ipv6::OFFSET_MASK, more: field & ipv6::MORE_FRAGMENTS != 0 };
            header.identification = u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
            header.transport += 8;
        } else {
            // RFC 8200 §4.3: the length counts 8-byte units beyond the first.
            header.transport += (usize::from(extension[1]) + 1) * 8;
        }
        header.protocol = extension[0];
        if header.fragment.is_later() || !is_extension(header.protocol) {
            return Ok(());
        }
    }
    Err(Verdict::drop(Reason::TooManyExtensions))
}

#[inline(always)]
pub(super) fn is_icmp(header: &Header) -> bool {
    matches!(header.protocol, protocol::ICMP | protocol::ICMPV6)
}

#[inline(always)]
pub(super) fn has_ports(header: &Header) -> bool {
    matches!(header.protocol, protocol::TCP | protocol::UDP)
}

/// Ports and flags of a whole packet or a first fragment.
#[inline(always)]
pub(super) fn transport<P: Packet>(packet: &P, header: &Header) -> Result<Transport, Verdict> {
    let room = header.end.saturating_sub(header.transport);
    let is_tcp = header.protocol == protocol::TCP;
    let least = if is_tcp { tcp::HEADER } else { udp::HEADER };
    if room < least {
        let reason = if header.fragment.is_first() { Reason::FragmentTooSmall } else { Reason::BadLength };
        return Err(Verdict::drop(reason));
    }
    // `room` proves that both loads succeed; the branch is what the BPF verifier wants to see.
    let bad = Verdict::drop(Reason::BadLength);
    let transport = if is_tcp {
        let bytes = packet.load::<{ tcp::FLAGS_END }>(header.transport).map_err(|Truncated| bad)?;
        let length = usize::from(bytes[tcp::DATA_OFFSET] >> 4) * 4;
        if length < tcp::HEADER || (length > room && !header.fragment.is_first()) {
            return Err(bad);
        }
        Transport {
            source_port: be16([bytes[0], bytes[1]]),
            destination_port: be16([bytes[2], bytes[3]]),
            flags: bytes[tcp::FLAGS],
            is_tcp,
        }
    } else {
        let bytes = packet.load::<{ udp::HEADER }>(header.transport).map_err(|Truncated| bad)?;
        let length = usize::from(be16([bytes[udp::LENGTH], bytes[udp::LENGTH + 1]]));
        if length < udp::HEADER || (length > room && !header.fragment.is_first()) {
            return Err(bad);
        }
        Transport {
            source_port: be16([bytes[0], bytes[1]]),
            destination_port: be16([bytes[2], bytes[3]]),
            flags: 0,
            is_tcp,
        }
    };
    if transport.source_port == 0 || transport.destination_port == 0 {
        return Err(Verdict::drop(Reason::PortZero));
    }
    Ok(transport)
}
