//! ICMP. An error to a VIP quotes a packet that a real server sent (RFC 792, RFC 4443 §2.1) and goes to
//! that server; an error about a translated packet to a real server goes to the client. Without
//! either path-MTU discovery would fail. Everything else is for the balancer itself.

use super::at::At;
use super::flow::binding;
use super::job::{self, Next};
use super::parse::{Header, Link};
use super::select::Arrival;
use super::translate::Binding;
use super::{Entry, Packet, Reason, Route, Tables, Truncated, Verdict, held_server, send};
use crate::abi::{Address, FlowKey, NO_SERVER, ServiceMode};
use crate::wire::{icmp, ipv4, ipv6, protocol};

#[inline(always)]
pub(super) fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    header: &Header,
) -> Result<Next, Verdict> {
    // To a stranger it may be an error about a packet of ours, and nothing else is said about it.
    let (other, unknown) = if header.concern.to_vip {
        (Verdict::pass(Reason::Icmp), Verdict::pass(Reason::IcmpErrorUnknown))
    } else {
        (Verdict::pass(Reason::NotVip), Verdict::pass(Reason::NotVip))
    };
    if header.fragment.is_later() {
        return Err(other);
    }
    let Ok(start) = packet.load_be16(header.transport) else { return Err(other) };
    let kind = (start >> 8) as u8;
    let quoted = header.transport + icmp::HEADER;
    let key = if header.protocol == protocol::ICMP {
        if !icmp::is_error(kind) {
            return Err(other);
        }
        quoted_v4(packet, quoted)
    } else {
        if kind >= icmp::V6_INFORMATIONAL {
            return Err(other);
        }
        quoted_v6(packet, quoted)
    };
    let Ok(Some(key)) = key else { return Err(unknown) };
    // The error must come to the address that the quoted packet came from.
    if key.vip != header.destination {
        return Err(unknown);
    }
    let at = At::new(link, header, 0);
    let note = |next, id, binding| {
        job::note(tables, next, |job| {
            job.key = key;
            job.at = at;
            job.tags = link.tags();
            job.server = id;
            job.binding = binding;
        })
    };
    // About a packet to a real server? Then the quoted ends are, the other way round, those of its replies.
    if tables.reply(&key).is_some() {
        return Ok(note(Next::RestoreError, 0, Binding::NONE));
    }
    if !header.concern.to_vip {
        return Err(unknown);
    }
    let flow = match tables.flow(&key) {
        Some(flow) => Some(flow),
        None => tables.pending_flow(&key),
    };
    let Some(flow) = flow else {
        // As a packet that ends the flow: placed by persistence or the ring, and not remembered.
        return Ok(job::note(tables, Next::Open, |job| {
            job.key = key;
            job.at = at;
            job.tags = link.tags();
            job.arrival = Arrival { opens: false, closes: true }.to_bits();
            job.replaces = 0;
            job.previous = NO_SERVER;
            job.is_error = 1;
            job.is_part = 0;
        }));
    };
    let (id, generation, binding) = flow.with(|flow| (flow.server, flow.generation, binding(flow)));
    let Some(server) = held_server(tables, id, generation) else { return Err(unknown) };
    if server.mode != ServiceMode::DirectRouting as u8 {
        return Ok(note(Next::OutboundError, id, binding));
    }
    Ok(Next::End(send(packet, tables, link.tags(), &Route::of(id, server, Reason::IcmpError))))
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
        let fragment = packet.load::<{ ipv6::FRAGMENT_HEADER / 4 }>(transport)?;
        if fragment.be16(2) & ipv6::OFFSET_MASK != 0 {
            return Ok(None);
        }
        (protocol, transport) = (fragment.byte(0), transport + ipv6::FRAGMENT_HEADER);
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
