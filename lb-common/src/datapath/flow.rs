//! The flow of a packet: found and kept up to date.
//!
//! A flow of which one packet was seen may be spoofed. In `l4-dr` it is kept in `pending_flows`, where
//! the least recently used one makes room; the client's next packet moves it to `flows`, where nothing
//! is ever pushed out and only the daemon's sweep removes what is over. A translated flow is in `flows`
//! from the first packet on, because it has a reply entry and a port that must not be lost sight of.

use super::at::At;
use super::hop::{self, Tags};
use super::job::{self, Next};
use super::parse::{Header, Transport};
use super::select::{self, Arrival};
use super::translate::Binding;
use super::{Entry, Packet, Reason, Route, Tables, Verdict, fragment, held_server, is_server};
use crate::abi::{Flow, FlowKey, FlowState, NO_SERVER, Reply, Server, ServerId, Ticks};

/// What is known of a packet that may belong to a flow.
pub(super) struct Arrived<'p> {
    pub key: &'p FlowKey,
    pub transport: &'p Transport,
    pub at: At,
    pub tags: Tags,
    pub header: &'p Header,
    /// It is the first fragment of a datagram.
    pub part: bool,
}

/// What is to be done with the packet. Flows are looked up first: an established one costs one lookup.
#[inline(always)]
pub(super) fn route<P: Packet, T: Tables>(packet: &mut P, tables: &T, arrived: &Arrived<'_>) -> Result<Next, Verdict> {
    let Arrived { key, transport, .. } = *arrived;
    let now = tables.now();
    let entry = tables.flow(key);
    let mut previous = Previous { server: NO_SERVER, binding: Binding::NONE };
    if let Some(entry) = &entry {
        let flow = entry.read();
        if let Some(server) = held_server(tables, flow.server, flow.generation) {
            if !reopens(&flow, transport) {
                keep(packet, tables, arrived, entry, &flow, now);
                return deliver(packet, tables, arrived, &route_to(&flow, server, Reason::Established));
            }
            previous = Previous { server: flow.server, binding: binding(&flow) };
        }
    } else if let Some(entry) = tables.pending_flow(key) {
        let flow = entry.read();
        if let Some(server) = held_server(tables, flow.server, flow.generation) {
            let reason = answer(tables, key, &entry, flow, transport, now);
            return deliver(packet, tables, arrived, &route_to(&flow, server, reason));
        }
    }
    // The real server of one service may be a client of another.
    if is_server(tables, &key.client) && tables.reply(key).is_some() {
        return Ok(reply(tables, arrived));
    }
    let replaces = entry.is_some();
    Ok(job::note(tables, Next::Open, |job| {
        job.key = *key;
        job.at = arrived.at;
        job.tags = arrived.tags;
        job.arrival = Arrival { opens: transport.opens(), closes: transport.closes() }.to_bits();
        job.replaces = u32::from(replaces);
        job.previous = previous.server;
        job.binding = previous.binding;
        job.is_error = 0;
        job.is_part = u32::from(arrived.part);
        job.identification = arrived.header.identification;
    }))
}

/// The binding that the flow had with a real server.
#[derive(Clone, Copy)]
struct Previous {
    server: ServerId,
    binding: Binding,
}

/// To its server: at once, or once it is rewritten.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    arrived: &Arrived<'_>,
    route: &Route<'_>,
) -> Result<Next, Verdict> {
    if arrived.part {
        fragment::remember(tables, arrived.key, arrived.header.identification, route);
    }
    Ok(super::deliver(packet, tables, arrived.key, arrived.at, arrived.tags, route))
}

/// The packet of a real server is to be restored.
#[inline(always)]
pub(super) fn reply<T: Tables>(tables: &T, arrived: &Arrived<'_>) -> Next {
    if arrived.part {
        fragment::remember_reply(tables, arrived.key, arrived.header.identification);
    }
    job::note(tables, Next::Restore, |job| {
        job.key = *arrived.key;
        job.at = arrived.at;
        job.tags = arrived.tags;
    })
}

/// What the balancer puts in the place of the client.
#[inline(always)]
pub(super) const fn binding(flow: &Flow) -> Binding {
    Binding::new(flow.source, flow.source_port)
}

#[inline(always)]
fn route_to<'t>(flow: &Flow, server: &'t Server, reason: Reason) -> Route<'t> {
    Route { id: flow.server, server, binding: binding(flow), reason, new_flow: false }
}

/// Whether the client uses the ports of a finished connection for a new one (RFC 9293 §3.6.1).
#[inline(always)]
fn reopens(flow: &Flow, transport: &Transport) -> bool {
    flow.state == FlowState::Closing as u8 && transport.is_tcp && transport.opens()
}

/// A packet of an established flow. Writes only what changes, so that CPUs that share a flow do
/// not fight for its cache line.
#[inline(always)]
fn keep<P: Packet, T: Tables>(packet: &P, tables: &T, arrived: &Arrived<'_>, entry: &T::Flow, flow: &Flow, now: Ticks) {
    let Arrived { key, transport, tags, .. } = *arrived;
    // Only a translated flow has a last hop.
    let translated = flow.last_hop != 0;
    let mut state = next_state(flow.state, transport);
    // One that is over may have given way to the client's next by another VIP (`l4-nat`), whose replies these are.
    if translated && transport.closes() && flow.state != FlowState::Closing as u8 {
        let reset = arrived.at.rst();
        let by_this = if reset { Reply::BOTH_FIN } else { Reply::CLIENT_FIN };
        // Before the other side can see it: whoever comes second, on whatever CPU, finds that both have ended,
        // and is the last to write.
        entry.update(|flow| flow.state = FlowState::HalfClosed as u8);
        let ended = tables.follow(packet, key, (flow.server, binding(flow)), tags, by_this);
        if reset || ended == Reply::BOTH_FIN {
            entry.update(|flow| flow.state = FlowState::Closing as u8);
        }
        state = flow.state;
    }
    if state != flow.state {
        entry.update(|flow| flow.state = state);
        // Placed anew under its old entry, or translated, the flow never was among the pending ones. As
        // there, a reset or FIN answers nothing.
        if flow.state == FlowState::Pending as u8 && !transport.closes() {
            select::confirm_client(tables, key, flow);
        }
    }
    if flow.last_seen != now {
        entry.update(|flow| flow.last_seen = now);
        select::touch_client(tables, key, flow, now);
        if translated {
            let digest = hop::digest(packet, tags);
            if digest != flow.last_hop {
                tables.follow(packet, key, (flow.server, binding(flow)), tags, 0);
                entry.update(|flow| flow.last_hop = digest);
            }
        }
    }
}

#[inline(always)]
fn next_state(state: u8, transport: &Transport) -> u8 {
    if transport.closes() {
        FlowState::Closing as u8
    } else if state == FlowState::Pending as u8 && transport.answers() {
        FlowState::Established as u8
    } else {
        state
    }
}

/// A further packet of a pending flow. When the client answers the server, the flow becomes an
/// established one.
#[inline(always)]
fn answer<T: Tables>(
    tables: &T,
    key: &FlowKey,
    entry: &T::Flow,
    mut flow: Flow,
    transport: &Transport,
    now: Ticks,
) -> Reason {
    // A reset or FIN right after the first packet answers nothing, and is as easily forged.
    if !transport.answers() || transport.closes() {
        entry.update(|flow| flow.last_seen = now);
        return Reason::Pending;
    }
    flow.state = next_state(flow.state, transport);
    flow.last_seen = now;
    if tables.insert_flow(key, &flow).is_err() {
        entry.update(|pending| pending.last_seen = now);
        return Reason::FlowTableFull;
    }
    tables.remove_pending_flow(key);
    select::confirm_client(tables, key, &flow);
    Reason::Pending
}
