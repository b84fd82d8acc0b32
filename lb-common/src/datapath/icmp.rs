//! ICMP to a VIP. Errors quote a packet that a real server sent (RFC 792, RFC 4443 §2.1) and go to
//! that server, or path-MTU discovery would fail; everything else is for the balancer itself.

use super::parse::{Header, Link};
use super::select::Arrival;
use super::{Entry, Packet, Reason, Route, Tables, Truncated, Verdict, deliver, held_server};
use crate::abi::{Address, FlowKey, Server, ServerId};
use crate::wire::{icmp, ipv4, ipv6, protocol};

/// Bytes of an IPv6 fragment header (RFC 8200 §4.5).
const FRAGMENT_HEADER: usize = 8;

#[inline(always)]
pub(super) fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    header: &Header,
) -> Result<Verdict, Verdict> {
    if header.fragment.is_later() {
        return Err(Verdict::pass(Reason::Icmp));
    }
    let Ok(start) = packet.load_be16(header.transport) else {
        return Err(Verdict::pass(Reason::Icmp));
    };
    let kind = (start >> 8) as u8;
    let unknown = Verdict::pass(Reason::IcmpErrorUnknown);
    let quoted = header.transport + icmp::HEADER;
    let key = if header.protocol == protocol::ICMP {
        if !icmp::is_error(kind) {
            return Err(Verdict::pass(Reason::Icmp));
        }
        quoted_v4(packet, quoted)
    } else {
        if kind >= icmp::V6_INFORMATIONAL {
            return Err(Verdict::pass(Reason::Icmp));
        }
        quoted_v6(packet, quoted)
    };
    let Ok(Some(key)) = key else { return Err(unknown) };
    // The error must come to the address that the quoted packet came from.
    if key.vip != header.destination {
        return Err(unknown);
    }
    let (id, server) = owner(tables, &key);
    let Some(server) = server else { return Err(unknown) };
    deliver(packet, tables, link, &Route { id, server, reason: Reason::IcmpError, new_flow: false })
}

/// The server that the flow is with, or would be with if nobody remembers it.
#[inline(always)]
fn owner<'t, T: Tables>(tables: &'t T, key: &FlowKey) -> (ServerId, Option<&'t Server>) {
    let flow = match tables.flow(key) {
        Some(flow) => Some(flow),
        None => tables.pending_flow(key),
    };
    if let Some(flow) = flow {
        let flow = flow.read();
        return (flow.server, held_server(tables, flow.server, flow.generation));
    }
    // As a packet that ends the flow: placed by persistence or the ring, and not remembered.
    let placement = tables.place(key, Arrival { opens: false, closes: true });
    (placement.server, tables.server(placement.server))
}

/// The flow whose reply is quoted: the server's packet names VIP and client the other way round.
#[inline(always)]
fn quoted_v4<P: Packet>(packet: &P, at: usize) -> Result<Option<FlowKey>, Truncated> {
    let header = packet.load::<{ ipv4::HEADER / 4 }>(at)?;
    let length = usize::from(header.byte(ipv4::VERSION_LENGTH) & 0x0f) * 4;
    if length < ipv4::HEADER || header.be16(ipv4::FRAGMENT) & ipv4::OFFSET_MASK != 0 {
        return Ok(None);
    }
    let (vip, client) = (header.v4(ipv4::SOURCE), header.v4(ipv4::DESTINATION));
    ports(packet, at + length, header.byte(ipv4::PROTOCOL), client, vip)
}

#[inline(always)]
fn quoted_v6<P: Packet>(packet: &P, at: usize) -> Result<Option<FlowKey>, Truncated> {
    let header = packet.load::<{ ipv6::HEADER / 4 }>(at)?;
    let (vip, client) = (header.v6(ipv6::SOURCE), header.v6(ipv6::DESTINATION));
    let (mut protocol, mut transport) = (header.byte(ipv6::NEXT_HEADER), at + ipv6::HEADER);
    // Only the sender fragments in IPv6: a datagram that is too big for the path is quoted as one
    // of its fragments, and the first has the ports.
    if protocol == ipv6::FRAGMENT {
        let fragment = packet.load::<{ FRAGMENT_HEADER / 4 }>(transport)?;
        if fragment.be16(2) & ipv6::OFFSET_MASK != 0 {
            return Ok(None);
        }
        (protocol, transport) = (fragment.byte(0), transport + FRAGMENT_HEADER);
    }
    ports(packet, transport, protocol, client, vip)
}

#[inline(always)]
fn ports<P: Packet>(
    packet: &P,
    at: usize,
    protocol: u8,
    client: Address,
    vip: Address,
) -> Result<Option<FlowKey>, Truncated> {
    if !matches!(protocol, protocol::TCP | protocol::UDP) {
        return Ok(None);
    }
    let ports = packet.load::<1>(at)?;
    Ok(Some(FlowKey {
        client,
        vip,
        client_port: ports.be16(2),
        vip_port: ports.be16(0),
        protocol,
        spare8: 0,
        spare16: 0,
    }))
}
