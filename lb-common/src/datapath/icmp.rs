//! ICMP to a VIP. Errors quote a packet that a real server sent (RFC 792, RFC 4443 §2.1) and go to
//! that server, or path-MTU discovery would fail; everything else is for the balancer itself.

use super::parse::{Header, Link};
use super::select;
use super::{Entry, Packet, Reason, Route, Tables, Truncated, Verdict, deliver, held_server};
use crate::abi::{Address, FlowKey};
use crate::wire::{be16, icmp, ipv4, ipv6, protocol};

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
    let Ok(start) = packet.load::<2>(header.transport) else {
        return Err(Verdict::pass(Reason::Icmp));
    };
    let unknown = Verdict::pass(Reason::IcmpErrorUnknown);
    let quoted = header.transport + icmp::HEADER;
    let key = if header.protocol == protocol::ICMP {
        if !icmp::is_error(start[0]) {
            return Err(Verdict::pass(Reason::Icmp));
        }
        quoted_v4(packet, quoted)
    } else {
        if start[0] >= icmp::V6_INFORMATIONAL {
            return Err(Verdict::pass(Reason::Icmp));
        }
        quoted_v6(packet, quoted)
    };
    let Ok(Some(key)) = key else { return Err(unknown) };
    // The error must come to the address that the quoted packet came from.
    if key.vip != header.destination {
        return Err(unknown);
    }
    let (id, server) = owner(tables, &key).ok_or(unknown)?;
    deliver(packet, tables, link, &Route { id, server, reason: Reason::IcmpError, new_flow: false })
}

/// The server that the flow is with, or would be with if nobody remembers it.
#[inline(always)]
fn owner<'t, T: Tables>(tables: &'t T, key: &FlowKey) -> Option<(u32, &'t crate::abi::Server)> {
    let flow = match tables.flow(key) {
        Some(flow) => Some(flow),
        None => tables.pending_flow(key),
    };
    if let Some(flow) = flow {
        let flow = flow.read();
        return held_server(tables, flow.server, flow.generation).map(|server| (flow.server, server));
    }
    select::without_record(tables, key)
}

/// The flow whose reply is quoted: the server's packet names VIP and client the other way round.
#[inline(always)]
fn quoted_v4<P: Packet>(packet: &P, at: usize) -> Result<Option<FlowKey>, Truncated> {
    let bytes = packet.load::<{ ipv4::HEADER }>(at)?;
    let length = usize::from(bytes[0] & 0x0f) * 4;
    let fragment = be16([bytes[ipv4::FRAGMENT], bytes[ipv4::FRAGMENT + 1]]);
    if length < ipv4::HEADER || fragment & ipv4::OFFSET_MASK != 0 {
        return Ok(None);
    }
    let (s, d) = (ipv4::SOURCE, ipv4::DESTINATION);
    let vip = Address::v4([bytes[s], bytes[s + 1], bytes[s + 2], bytes[s + 3]]);
    let client = Address::v4([bytes[d], bytes[d + 1], bytes[d + 2], bytes[d + 3]]);
    ports(packet, at + length, bytes[ipv4::PROTOCOL], client, vip)
}

#[inline(always)]
fn quoted_v6<P: Packet>(packet: &P, at: usize) -> Result<Option<FlowKey>, Truncated> {
    let protocol = packet.load::<8>(at)?[ipv6::NEXT_HEADER];
    let vip = Address::v6(packet.load::<16>(at + ipv6::SOURCE)?);
    let client = Address::v6(packet.load::<16>(at + ipv6::DESTINATION)?);
    ports(packet, at + ipv6::HEADER, protocol, client, vip)
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
    let ports = packet.load::<4>(at)?;
    Ok(Some(FlowKey {
        client,
        vip,
        client_port: be16([ports[2], ports[3]]),
        vip_port: be16([ports[0], ports[1]]),
        protocol,
        spare: [0; 3],
    }))
}
