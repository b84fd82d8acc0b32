//! Reads the headers of a frame. In: bytes. Out: small values, or the verdict on a frame that
//! cannot be read. Knows no tables but the VIP filter it is handed.

use super::hop::Tags;
use super::{Packet, Reason, Truncated, Verdict};
use crate::abi::Address;
use crate::wire::{Words, ethernet, ipv4, ipv6, protocol, tcp, udp};

/// The link layer: how many VLAN tags, and what they carry.
pub(super) struct Link {
    /// 0 to 2.
    tags: u32,
    /// Control information of the outer tag.
    outer: u16,
    /// Control information of the inner tag.
    inner: u16,
    ether_type: u16,
    /// Start of the IP header.
    pub network: usize,
}

impl Link {
    /// The tags as they came.
    #[inline(always)]
    pub(super) const fn tags(&self) -> Tags {
        Tags { count: self.tags, control: (self.outer as u32) << 16 | self.inner as u32 }
    }
}

/// What the filters say about the addresses of a packet. They may say yes for a stranger.
#[derive(Clone, Copy)]
pub(super) struct Concern {
    /// The destination is a VIP.
    pub to_vip: bool,
    /// The source is a real server whose replies are translated. Not asked where the destination is a VIP: a
    /// flow that is known costs no second look at a filter.
    pub from_server: bool,
}

impl Concern {
    /// The verdict on a packet that cannot be read: only one to a VIP ends here.
    #[inline(always)]
    pub(super) const fn refuse(self, reason: Reason) -> Verdict {
        if self.to_vip { Verdict::drop(reason) } else { Verdict::pass(Reason::NotVip) }
    }
}

/// The network layer.
pub(super) struct Header {
    pub concern: Concern,
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
    let ether_type = packet.load_be16(ethernet::ADDRESSES)?;
    let mut link = Link { tags: 0, outer: 0, inner: 0, ether_type, network: ethernet::HEADER };
    if is_tag(ether_type) {
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
    let words = packet.load::<1>(at)?;
    Ok((words.be16(0), words.be16(2)))
}

/// The IP header of a packet that may concern a virtual service: by its addresses, or because it is
/// ICMP, which may quote a packet of ours. Nothing else is judged: it is not ours, whatever is wrong
/// with it.
#[inline(always)]
pub(super) fn network<P: Packet>(
    packet: &P,
    link: &Link,
    is_vip: impl Fn(&Address) -> bool,
    is_server: impl Fn(&Address) -> bool,
) -> Result<Header, Verdict> {
    match link.ether_type {
        ethernet::TYPE_IPV4 => {
            let header = packet.load::<{ ipv4::HEADER / 4 }>(link.network)?;
            let to_vip = is_vip(&header.v4(ipv4::DESTINATION));
            let concern = Concern { to_vip, from_server: !to_vip && is_server(&header.v4(ipv4::SOURCE)) };
            if !concern.to_vip && !concern.from_server && header.byte(ipv4::PROTOCOL) != protocol::ICMP {
                return Err(Verdict::pass(Reason::NotVip));
            }
            ipv4(packet, link, &header, concern)
        }
        ethernet::TYPE_IPV6 => {
            let header = packet.load::<{ ipv6::HEADER / 4 }>(link.network)?;
            let destination = header.v6(ipv6::DESTINATION);
            // An IPv4 address has no place in an IPv6 header (RFC 4291 §2.5.5.2 gives it to APIs), and
            // would be taken for the IPv4 VIP.
            if destination.is_v4() {
                return Err(Verdict::pass(Reason::NotVip));
            }
            let to_vip = is_vip(&destination);
            let concern = Concern { to_vip, from_server: !to_vip && is_server(&header.v6(ipv6::SOURCE)) };
            if !concern.to_vip && !concern.from_server && header.byte(ipv6::NEXT_HEADER) != protocol::ICMPV6 {
                return Err(Verdict::pass(Reason::NotVip));
            }
            ipv6(packet, link, &header, concern)
        }
        _ => Err(Verdict::pass(Reason::NotIp)),
    }
}

#[inline(always)]
fn ipv4<P: Packet>(
    packet: &P,
    link: &Link,
    header: &Words<{ ipv4::HEADER / 4 }>,
    concern: Concern,
) -> Result<Header, Verdict> {
    let header_length = usize::from(header.byte(ipv4::VERSION_LENGTH) & 0x0f) * 4;
    let total = usize::from(header.be16(ipv4::TOTAL_LENGTH));
    let end = link.network + total;
    if header.byte(ipv4::VERSION_LENGTH) >> 4 != 4
        || header_length < ipv4::HEADER
        || total < header_length
        || end > packet.length() as usize
    {
        return Err(concern.refuse(Reason::BadLength));
    }
    let fragment = header.be16(ipv4::FRAGMENT);
    Ok(Header {
        concern,
        source: header.v4(ipv4::SOURCE),
        destination: header.v4(ipv4::DESTINATION),
        protocol: header.byte(ipv4::PROTOCOL),
        fragment: Fragmentation {
            // The field counts 8-byte units; 13 bits of it times eight fit 16 bits.
            offset: (fragment & ipv4::OFFSET_MASK) << 3,
            more: fragment & ipv4::MORE_FRAGMENTS != 0,
        },
        identification: u32::from(header.be16(ipv4::IDENTIFICATION)),
        transport: link.network + header_length,
        end,
    })
}

#[inline(always)]
fn ipv6<P: Packet>(
    packet: &P,
    link: &Link,
    fixed: &Words<{ ipv6::HEADER / 4 }>,
    concern: Concern,
) -> Result<Header, Verdict> {
    let payload = usize::from(fixed.be16(ipv6::PAYLOAD_LENGTH));
    let end = link.network + ipv6::HEADER + payload;
    if fixed.byte(0) >> 4 != 6 || end > packet.length() as usize {
        return Err(concern.refuse(Reason::BadLength));
    }
    let mut header = Header {
        concern,
        source: fixed.v6(ipv6::SOURCE),
        destination: fixed.v6(ipv6::DESTINATION),
        protocol: fixed.byte(ipv6::NEXT_HEADER),
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
        let Ok(extension) = packet.load::<2>(header.transport) else {
            return Err(header.concern.refuse(Reason::BadLength));
        };
        if header.protocol == ipv6::FRAGMENT {
            let field = extension.be16(2);
            header.fragment =
                Fragmentation { offset: field & ipv6::OFFSET_MASK, more: field & ipv6::MORE_FRAGMENTS != 0 };
            header.identification = extension.be32(4);
            header.transport += 8;
        } else {
            // RFC 8200 §4.3: the length counts 8-byte units beyond the first.
            header.transport += (usize::from(extension.byte(1)) + 1) * 8;
        }
        header.protocol = extension.byte(0);
        if header.fragment.is_later() || !is_extension(header.protocol) {
            return Ok(());
        }
    }
    Err(header.concern.refuse(Reason::TooManyExtensions))
}

/// Whether this is the ICMP of its own family; the other family's means nothing here.
#[inline(always)]
pub(super) fn is_icmp(header: &Header) -> bool {
    match header.protocol {
        protocol::ICMP => header.destination.is_v4(),
        protocol::ICMPV6 => !header.destination.is_v4(),
        _ => false,
    }
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
        return Err(header.concern.refuse(reason));
    }
    // `room` proves that the loads succeed; the branch is what the BPF verifier wants to see.
    let bad = header.concern.refuse(Reason::BadLength);
    let ports = packet.load::<1>(header.transport).map_err(|Truncated| bad)?;
    let (length, flags) = if is_tcp {
        let field = packet.load_be16(header.transport + tcp::DATA_OFFSET).map_err(|Truncated| bad)?;
        (usize::from(field >> 12) * 4, (field & 0xff) as u8)
    } else {
        let length = packet.load_be16(header.transport + udp::LENGTH).map_err(|Truncated| bad)?;
        (usize::from(length), 0)
    };
    if length < least || (length > room && !header.fragment.is_first()) {
        return Err(bad);
    }
    let transport = Transport { source_port: ports.be16(0), destination_port: ports.be16(2), flags, is_tcp };
    if transport.source_port == 0 || transport.destination_port == 0 {
        return Err(header.concern.refuse(Reason::PortZero));
    }
    Ok(transport)
}
