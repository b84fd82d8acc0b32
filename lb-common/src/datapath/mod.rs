//! The decision about one frame: [`forward`].
//!
//! In: a frame ([`Packet`]) and the tables ([`Tables`]). Out: a [`Verdict`], the frame rewritten,
//! and the tables updated with what was learnt. Absent: the kernel, BPF, anything that blocks,
//! loops without a constant bound, memory.
//!
//! One step after the other; what a step has to know waits in the CPU's [`Job`]:
//!
//! ```text
//! client  -> decide: headers -> filters -> flow? -> outbound (l4-dr: sent at once) -> real server
//!                                            | no      ^
//!                                            v         |
//!            open: service -> persistence -> scheduler -> bind (entries of a translated flow)
//! client <- restore <- reply? <- decide <- real server, in l4-nat and l4-snat
//! ```

mod at;
mod bind;
mod explain;
mod flow;
mod fragment;
mod hash;
mod hop;
mod icmp;
mod job;
mod open;
mod packet;
mod parse;
mod reply;
mod select;
mod source_port;
mod tables;
#[cfg(test)]
mod tests;
mod translate;
mod verdict;

pub use at::At;
pub use bind::bind;
pub use explain::{Explaining, Notes, Part, Peek};
pub use hop::Tags;
pub use job::{Job, Next};
pub use open::open;
pub use packet::{Packet, Truncated};
pub use reply::{follow, restore, restore_error};
pub use select::{Arrival, Placement, place};
pub use tables::{Entry, Full, Refusal, Tables};
pub use translate::{Binding, outbound, outbound_error, replies};
pub use verdict::{Action, Kind, Reason, Verdict};

use crate::abi::{Address, FlowKey, Server, ServerId, ServerState, ServiceMode, filter_bit};
use flow::Arrived;
use hop::Hop;

/// Decides about a frame, rewrites it, and counts the verdict.
#[inline(always)]
pub fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.length();
    let mut next = tables.decide(packet);
    if next == Next::Open {
        next = tables.open(packet);
    }
    if next == Next::Bind {
        next = match tables.bind(packet) {
            Ok(()) => Next::Outbound,
            Err(reason) => Next::End(Verdict::drop(reason)),
        };
    }
    let verdict = match next {
        Next::End(verdict) => verdict,
        Next::Open | Next::Bind | Next::Outbound => tables.outbound(packet),
        Next::OutboundError => tables.outbound_error(packet),
        Next::Restore => tables.restore(packet),
        Next::RestoreError => tables.restore_error(packet),
    };
    tables.count_verdict(verdict.reason, bytes);
    verdict
}

/// Decides about a frame, and sends what needs no other addresses.
#[inline(always)]
pub fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Next {
    match early(packet, tables) {
        Ok(next) => next,
        Err(verdict) => Next::End(verdict),
    }
}

/// `Err` is a verdict reached early.
#[inline(always)]
fn early<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Next, Verdict> {
    let link = parse::link(packet)?;
    let is_vip = |address: &Address| {
        let (word, bit) = filter_bit(address);
        tables.vip_filter(word) & bit != 0
    };
    let header = parse::network(packet, &link, is_vip, |address| is_server(tables, address))?;
    if parse::is_icmp(&header) {
        return icmp::forward(packet, tables, &link, &header);
    }
    if !parse::has_ports(&header) {
        let reason = if header.concern.to_vip { Reason::OtherProtocol } else { Reason::ReplyUnknown };
        return Err(Verdict::pass(reason));
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
    let arrived = Arrived {
        key: &key,
        transport: &transport,
        header: &header,
        at: At::new(&link, &header, transport.flags),
        tags: link.tags(),
        part: header.fragment.is_first(),
    };
    if header.concern.to_vip { flow::route(packet, tables, &arrived) } else { Ok(flow::reply(tables, &arrived)) }
}

/// Whether this may be a real server whose replies are translated.
#[inline(always)]
fn is_server<T: Tables>(tables: &T, address: &Address) -> bool {
    let (word, bit) = filter_bit(address);
    tables.reply_filter(word) & bit != 0
}

/// Where a frame goes, and why.
struct Route<'t> {
    id: ServerId,
    server: &'t Server,
    /// What the balancer puts in the place of the client.
    binding: Binding,
    reason: Reason,
    new_flow: bool,
}

impl<'t> Route<'t> {
    /// Of a packet that opens nothing.
    #[inline(always)]
    const fn of(id: ServerId, server: &'t Server, reason: Reason) -> Self {
        Self { id, server, binding: Binding::NONE, reason, new_flow: false }
    }
}

/// To the server of the route: at once, or once the packet is rewritten.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    key: &FlowKey,
    at: At,
    tags: Tags,
    route: &Route<'_>,
) -> Next {
    if route.server.mode == ServiceMode::DirectRouting as u8 {
        return Next::End(send(packet, tables, tags, route));
    }
    job::note(tables, Next::Outbound, |job| {
        job.key = *key;
        job.at = at;
        job.tags = tags;
        job.server = route.id;
        job.binding = route.binding;
        job.reason = route.reason as u32;
        job.new_flow = 0;
    })
}

/// Sends the frame to the server of the route, as it is from the IP header on.
#[inline(always)]
fn send<P: Packet, T: Tables>(packet: &mut P, tables: &T, tags: Tags, route: &Route<'_>) -> Verdict {
    let server = route.server;
    if server.ifindex == 0 {
        return Verdict::drop(Reason::NextHopUnknown);
    }
    let bytes = packet.length();
    if hop::address(packet, tags, &Hop::towards(server)).is_err() {
        return Verdict::drop(Reason::NoHeadroom);
    }
    tables.count_server(route.id, bytes, route.new_flow);
    Verdict { action: towards(packet, server.ifindex), reason: route.reason }
}

/// Out by this interface.
#[inline(always)]
fn towards<P: Packet>(packet: &P, ifindex: u32) -> Action {
    if ifindex == packet.ingress() { Action::Transmit } else { Action::Redirect(ifindex) }
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
