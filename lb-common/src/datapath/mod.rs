//! The decision about one frame: [`forward`].
//!
//! In: a frame ([`Packet`]) and the tables ([`Tables`]). Out: a [`Verdict`], the frame rewritten,
//! and the tables updated with what was learnt. Absent: the kernel, BPF, anything that blocks,
//! loops without a constant bound, memory.
//!
//! ```text
//! link and IP headers -> VIP filter -> transport header -> flow? ------------------> rewrite
//!                                                            | no                     ^
//!                                                            v                        |
//!                                          service -> persistence -> scheduler -> remember
//! ```

mod explain;
mod flow;
mod fragment;
mod icmp;
mod packet;
mod parse;
mod rewrite;
mod select;
mod tables;
#[cfg(test)]
mod tests;
mod verdict;

pub use explain::{Explaining, Notes, Peek};
pub use packet::{Packet, Truncated};
pub use select::{Arrival, Placement, place};
pub use tables::{Entry, Full, Tables};
pub use verdict::{Action, Kind, Reason, Verdict};

use crate::abi::{FlowKey, Server, ServerId, ServerState, vip_filter_bit};
use parse::Link;

/// Decides about a frame, rewrites it, and counts the verdict.
#[inline(always)]
pub fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.length();
    let (Ok(verdict) | Err(verdict)) = decide(packet, tables);
    tables.count_verdict(verdict.reason, bytes);
    verdict
}

/// `Err` is a verdict reached early.
#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    let link = parse::link(packet)?;
    let header = parse::network(packet, &link, |vip| {
        let (word, bit) = vip_filter_bit(vip);
        tables.vip_filter(word) & bit != 0
    })?;
    if parse::is_icmp(&header) {
        return icmp::forward(packet, tables, &link, &header);
    }
    if !parse::has_ports(&header) {
        return Err(Verdict::pass(Reason::OtherProtocol));
    }
    if header.fragment.is_later() {
        return fragment::forward(packet, tables, &link, &header);
    }
    let transport = parse::transport(packet, &header)?;
    let key = FlowKey {
        client: header.source,
        vip: header.destination,
        client_port: transport.source_port,
        vip_port: transport.destination_port,
        protocol: header.protocol,
        spare8: 0,
        spare16: 0,
    };
    let route = flow::route(tables, &key, &transport)?;
    if header.fragment.is_first() {
        fragment::remember(tables, &header, &route);
    }
    deliver(packet, tables, &link, &route)
}

/// Where a frame goes, and why.
struct Route<'t> {
    id: ServerId,
    server: &'t Server,
    reason: Reason,
    new_flow: bool,
}

/// Sends the frame to the server of the route.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    route: &Route<'_>,
) -> Result<Verdict, Verdict> {
    let server = route.server;
    if server.ifindex == 0 {
        return Err(Verdict::drop(Reason::NextHopUnknown));
    }
    let bytes = packet.length();
    rewrite::direct(packet, link, server)?;
    tables.count_server(route.id, bytes, route.new_flow);
    let action = if server.ifindex == packet.ingress() { Action::Transmit } else { Action::Redirect(server.ifindex) };
    Ok(Verdict { action, reason: route.reason })
}

/// Whether a record made for `generation` of this server still holds.
#[inline(always)]
fn holds(server: &Server, generation: u32) -> bool {
    server.generation == generation && ServerState::from_u8(server.state) as u8 != ServerState::Down as u8
}

/// The server of a record, if the record still holds.
#[inline(always)]
fn held_server<T: Tables>(tables: &T, id: ServerId, generation: u32) -> Option<&Server> {
    let server = tables.server(id)?;
    if holds(server, generation) { Some(server) } else { None }
}

/// Whether the client claims the address of the VIP (a LAND attack).
#[inline(always)]
fn is_spoofed(key: &FlowKey) -> bool {
    key.client == key.vip
}
