//! Rewrites addresses and ports, and the checksums that cover them (`l4-nat`, `l4-snat`), and counts
//! the hop as a router does (RFC 1812 §5.3.1, RFC 8200 §3).

#![allow(clippy::cast_possible_truncation, reason = "fields are taken out of a number by their width")]

use super::at::At;
use super::{Packet, Reason, Route, Tables, Truncated, Verdict, send};
use crate::abi::{Address, FlowKey, Server, ServiceMode};
use crate::wire::checksum::Change;
use crate::wire::{Words, from_halves, halves, icmp, ipv4, ipv6, ports, protocol, tcp, udp};

/// Both ends of a packet. Addresses stay where they are until they are needed: the kernel program has
/// little room of its own.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    pub source: &'a Address,
    pub destination: &'a Address,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
}

/// What the balancer puts in the place of a client towards a real server: a number of `sources` and
/// a port. Number 0: the client's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Number of the source address.
    pub source: u32,
    /// Source port, host order.
    pub port: u16,
    /// Zero.
    pub spare: u16,
}

impl Binding {
    /// The client's own address and port.
    pub const NONE: Self = Self::new(0, 0);

    /// This port of this source address.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: u32, port: u16) -> Self {
        Self { source, port, spare: 0 }
    }

    /// As a number, to be handed to a function of the kernel program. Numbers of source addresses fit
    /// 16 bits.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.source << 16 | self.port as u32
    }

    /// The inverse of [`Self::to_bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self::new(bits >> 16, bits as u16)
    }
}

/// The port of a real server for a packet to `vip_port`.
#[inline(always)]
pub(super) const fn server_port(server: &Server, vip_port: u16) -> u16 {
    if server.port == 0 { vip_port } else { server.port }
}

/// The key of the replies to a flow: the real server's packets. `source` is what stands in the place of
/// the client, if anything does.
#[inline(always)]
#[must_use]
pub fn replies(key: &FlowKey, server: &Server, source: Option<(&Address, u16)>) -> FlowKey {
    let (vip, vip_port) = source.unwrap_or((&key.client, key.client_port));
    FlowKey {
        client: server.address,
        vip: *vip,
        client_port: server_port(server, key.vip_port),
        vip_port,
        protocol: key.protocol,
        spare8: 0,
        spare16: 0,
    }
}

/// The same, with the source address looked up.
#[inline(always)]
pub(super) fn reply_key<T: Tables>(tables: &T, key: &FlowKey, server: &Server, binding: Binding) -> Option<FlowKey> {
    if binding.source == 0 {
        return Some(replies(key, server, None));
    }
    Some(replies(key, server, Some((tables.source(binding.source)?, binding.port))))
}

/// Rewrites a client's packet towards its real server, and sends it.
#[inline(always)]
pub fn outbound<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let sent = tables.job(|job| {
        let server = tables.server(job.server).ok_or(Reason::NoServer)?;
        let snat = server.mode == ServiceMode::SourceNat as u8;
        let (source, source_port) = if snat {
            (tables.source(job.binding.source).ok_or(Reason::NoSourceAddress)?, job.binding.port)
        } else {
            (&job.key.client, job.key.client_port)
        };
        let ends = Ends {
            source,
            destination: &server.address,
            source_port,
            destination_port: server_port(server, job.key.vip_port),
        };
        let salt = if snat { salt(&job.key.client) } else { 0 };
        if server.ifindex == 0 {
            return Err(Reason::NextHopUnknown);
        }
        rewrite(packet, job.at, &ends, salt)?;
        let route = Route {
            id: job.server,
            server,
            binding: job.binding,
            reason: Reason::from_number(job.reason),
            new_flow: job.new_flow != 0,
        };
        Ok(send(packet, tables, job.tags, &route))
    });
    sent.unwrap_or(Err(Reason::NoServer)).unwrap_or_else(Verdict::drop)
}

/// Rewrites an ICMP error about a packet of a real server towards it, and sends it. What it quotes
/// becomes what the real server sent.
#[inline(always)]
pub fn outbound_error<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let sent = tables.job(|job| {
        let server = tables.server(job.server).ok_or(Reason::NoServer)?;
        let (source, source_port) = if server.mode == ServiceMode::SourceNat as u8 {
            (Some(tables.source(job.binding.source).ok_or(Reason::NoSourceAddress)?), job.binding.port)
        } else {
            (None, job.key.client_port)
        };
        let quoted = Ends {
            source: &server.address,
            destination: source.unwrap_or(&job.key.client),
            source_port: server_port(server, job.key.vip_port),
            destination_port: source_port,
        };
        if server.ifindex == 0 {
            return Err(Reason::NextHopUnknown);
        }
        rewrite_error(packet, job.at, source, &server.address, &quoted)?;
        Ok(send(packet, tables, job.tags, &Route::of(job.server, server, Reason::IcmpError)))
    });
    sent.unwrap_or(Err(Reason::NoServer)).unwrap_or_else(Verdict::drop)
}

/// A number that differs between clients. The identification of fragments is moved by it, because
/// behind one source address those of two clients would be taken for parts of one datagram.
#[inline(always)]
fn salt(client: &Address) -> u16 {
    let [a, b, c, d] = client.words();
    let mixed = (a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d).wrapping_mul(0x9e37_79b1);
    (mixed >> 16) as u16
}

/// Gives a packet other ends. Frames were parsed before: what is missing is counted as a bad length.
#[inline(always)]
pub(super) fn rewrite<P: Packet>(packet: &mut P, at: At, ends: &Ends<'_>, salt: u16) -> Result<(), Reason> {
    let network = at.network();
    let addresses = if at.is_v4() {
        let salt = if at.is_part() { salt } else { 0 };
        addresses_v4(packet, network, Some(ends.source), ends.destination, salt)?
    } else {
        addresses_v6(packet, network, Some(ends.source), ends.destination)?
    };
    if at.is_later() {
        return Ok(());
    }
    transport(packet, at, ends, addresses)
}

/// Source, destination, time to live and header checksum of an IPv4 packet.
#[inline(always)]
fn addresses_v4<P: Packet>(
    packet: &mut P,
    network: usize,
    source: Option<&Address>,
    destination: &Address,
    salt: u16,
) -> Result<Change, Reason> {
    let start = network + ipv4::IDENTIFICATION;
    // Identification and fragment; time to live, protocol, checksum; source; destination.
    let old = packet.load::<4>(start).map_err(|Truncated| Reason::BadLength)?.0;
    let (new_source, new_destination) = (source.map_or(old[2], |source| source.words()[3]), destination.words()[3]);
    let addresses = Change::NONE.word(old[2], new_source).word(old[3], new_destination);
    let [identification, fragment] = halves(old[0]);
    let moved = u16::from_be(identification).wrapping_add(salt).to_be();
    let [life, checksum] = halves(old[1]);
    let shorter = one_less(life)?;
    let checksum = addresses.half(identification, moved).half(life, shorter).apply(checksum);
    let new = [from_halves([moved, fragment]), from_halves([shorter, checksum]), new_source, new_destination];
    packet.store(start, Words(new)).map_err(|Truncated| Reason::BadLength)?;
    Ok(addresses)
}

/// Whether the packet may not be sent on: this is its last hop.
#[inline(always)]
pub(super) fn ends_here<P: Packet>(packet: &P, at: At) -> bool {
    let (word, byte) = if at.is_v4() { (ipv4::TIME_TO_LIVE, 0) } else { (ipv6::HOP_LIMIT_WORD, ipv6::HOP_LIMIT_BYTE) };
    packet.load::<1>(at.network() + word).is_ok_and(|word| word.byte(byte) <= 1)
}

/// A pair of time to live and protocol with one hop less.
#[inline(always)]
const fn one_less(life: u16) -> Result<u16, Reason> {
    let [hops, protocol] = life.to_ne_bytes();
    if hops <= 1 {
        return Err(Reason::HopLimit);
    }
    Ok(u16::from_ne_bytes([hops - 1, protocol]))
}

/// Source, destination and hop limit of an IPv6 packet, which has no checksum of its own.
#[inline(always)]
fn addresses_v6<P: Packet>(
    packet: &mut P,
    network: usize,
    source: Option<&Address>,
    destination: &Address,
) -> Result<Change, Reason> {
    let bad = |Truncated| Reason::BadLength;
    let Words([limits]) = packet.load::<1>(network + ipv6::HOP_LIMIT_WORD).map_err(bad)?;
    let [a, b, next, hops] = limits.to_ne_bytes();
    if hops <= 1 {
        return Err(Reason::HopLimit);
    }
    packet.store(network + ipv6::HOP_LIMIT_WORD, Words([u32::from_ne_bytes([a, b, next, hops - 1])])).map_err(bad)?;
    let change = match source {
        Some(source) => address_v6(packet, network + ipv6::SOURCE, source)?,
        None => Change::NONE,
    };
    Ok(change.and(address_v6(packet, network + ipv6::DESTINATION, destination)?))
}

/// Replaces an IPv6 address.
#[inline(always)]
fn address_v6<P: Packet>(packet: &mut P, at: usize, address: &Address) -> Result<Change, Reason> {
    let old = packet.load::<4>(at).map_err(|Truncated| Reason::BadLength)?;
    packet.store(at, Words(address.words())).map_err(|Truncated| Reason::BadLength)?;
    Ok(Change::NONE.words(old.0, address.words()))
}

/// Ports and checksum of TCP or UDP.
#[inline(always)]
fn transport<P: Packet>(packet: &mut P, at: At, ends: &Ends<'_>, addresses: Change) -> Result<(), Reason> {
    let bad = |Truncated| Reason::BadLength;
    let start = at.transport();
    let Words([old]) = packet.load::<1>(start).map_err(bad)?;
    let new = ports(ends.source_port, ends.destination_port);
    let change = addresses.word(old, new);
    packet.store(start, Words([new])).map_err(bad)?;
    if at.is_tcp() { tcp_checksum(packet, start, change) } else { udp_checksum(packet, start, change).map(|_| ()) }
        .map_err(bad)
}

#[inline(always)]
fn tcp_checksum<P: Packet>(packet: &mut P, start: usize, change: Change) -> Result<(), Truncated> {
    let Words([word]) = packet.load::<1>(start + tcp::CHECKSUM)?;
    let [checksum, urgent] = halves(word);
    packet.store(start + tcp::CHECKSUM, Words([from_halves([change.apply(checksum), urgent])]))
}

/// Returns what that does to a sum over the word.
#[inline(always)]
fn udp_checksum<P: Packet>(packet: &mut P, start: usize, change: Change) -> Result<Change, Truncated> {
    let Words([word]) = packet.load::<1>(start + udp::LENGTH)?;
    let [length, checksum] = halves(word);
    let changed = change.apply_udp(checksum);
    packet.store(start + udp::LENGTH, Words([from_halves([length, changed])]))?;
    Ok(Change::NONE.half(checksum, changed))
}

/// Gives an ICMP error another destination, another source if one is given, and gives the packet that
/// it quotes other ends (RFC 5508 §4.2).
#[inline(always)]
pub(super) fn rewrite_error<P: Packet>(
    packet: &mut P,
    at: At,
    source: Option<&Address>,
    destination: &Address,
    quoted: &Ends<'_>,
) -> Result<(), Reason> {
    let bad = |Truncated| Reason::BadLength;
    let (network, message) = (at.network(), at.transport());
    let quote = message + icmp::HEADER;
    let mut change = if at.is_v4() {
        // ICMP has no pseudo-header (RFC 792).
        addresses_v4(packet, network, source, destination, 0)?;
        Change::NONE
    } else {
        addresses_v6(packet, network, source, destination)?
    };
    let (start, protocol, addresses) = if at.is_v4() {
        let old = packet.load::<{ ipv4::HEADER / 4 }>(quote).map_err(bad)?;
        let (source, destination) = (quoted.source.words()[3], quoted.destination.words()[3]);
        let addresses = Change::NONE.word(old.0[3], source).word(old.0[4], destination);
        let [life, checksum] = halves(old.0[2]);
        let new = Words([from_halves([life, addresses.apply(checksum)]), source, destination]);
        packet.store(quote + ipv4::TIME_TO_LIVE, new).map_err(bad)?;
        // The quoted header with its checksum sums to what it did, so the message's sum does not change.
        let length = usize::from(old.byte(ipv4::VERSION_LENGTH) & 0x0f) * 4;
        (quote + length, old.byte(ipv4::PROTOCOL), addresses)
    } else {
        let source = address_v6(packet, quote + ipv6::SOURCE, quoted.source)?;
        let addresses = source.and(address_v6(packet, quote + ipv6::DESTINATION, quoted.destination)?);
        change = change.and(addresses);
        let limits = packet.load::<1>(quote + ipv6::HOP_LIMIT_WORD).map_err(bad)?;
        let (next, start) = (limits.byte(ipv6::NEXT_HEADER - ipv6::HOP_LIMIT_WORD), quote + ipv6::HEADER);
        if next == ipv6::FRAGMENT {
            let protocol = packet.load::<1>(start).map_err(bad)?.byte(0);
            (start + ipv6::FRAGMENT_HEADER, protocol, addresses)
        } else {
            (start, next, addresses)
        }
    };
    change = change.and(quoted_transport(packet, start, protocol, quoted, addresses)?);
    let Words([word]) = packet.load::<1>(message).map_err(bad)?;
    let [kind, checksum] = halves(word);
    packet.store(message, Words([from_halves([kind, change.apply(checksum)])])).map_err(bad)
}

/// Ports and checksum of the quoted packet, as far as it is quoted, and what that does to the sum
/// over the message.
#[inline(always)]
fn quoted_transport<P: Packet>(
    packet: &mut P,
    start: usize,
    protocol: u8,
    quoted: &Ends<'_>,
    addresses: Change,
) -> Result<Change, Reason> {
    let bad = |Truncated| Reason::BadLength;
    let Words([old]) = packet.load::<1>(start).map_err(bad)?;
    let new = ports(quoted.source_port, quoted.destination_port);
    packet.store(start, Words([new])).map_err(bad)?;
    let change = Change::NONE.word(old, new);
    // Only 8 bytes have to be quoted, and the checksum of TCP is beyond them: nobody verifies it.
    if protocol != protocol::UDP {
        return Ok(change);
    }
    // Some quote the ports and no more.
    Ok(match udp_checksum(packet, start, addresses.and(change)) {
        Ok(checksum) => change.and(checksum),
        Err(Truncated) => change,
    })
}
