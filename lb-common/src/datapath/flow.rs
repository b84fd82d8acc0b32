//! The flow of a packet: found and kept up to date, or opened.
//!
//! A flow of which one packet was seen may be spoofed. It is kept in `pending_flows`, where the
//! least recently used one makes room; the client's next packet moves it to `flows`, where nothing
//! is ever pushed out and only the daemon's sweep removes what is over.

use super::parse::Transport;
use super::select::{self, Placement};
use super::{Entry, Reason, Route, Tables, Verdict, held_server};
use crate::abi::{Flow, FlowKey, FlowState, Server, ServerId, Ticks};

/// Where the packet goes. Flows are looked up first: an established one costs one lookup.
#[inline(always)]
pub(super) fn route<'t, T: Tables>(tables: &'t T, key: &FlowKey, transport: &Transport) -> Result<Route<'t>, Verdict> {
    let now = tables.now();
    let entry = tables.flow(key);
    if let Some(entry) = &entry {
        let flow = entry.read();
        if let Some(server) = held_server(tables, flow.server, flow.generation)
            && !reopens(&flow, transport)
        {
            keep(tables, key, entry, &flow, transport, now);
            return Ok(route_to(flow.server, server, Reason::Established));
        }
    } else if let Some(entry) = tables.pending_flow(key) {
        let flow = entry.read();
        if let Some(server) = held_server(tables, flow.server, flow.generation) {
            let reason = answer(tables, key, &entry, flow, transport, now);
            return Ok(route_to(flow.server, server, reason));
        }
    }
    let placement = select::place(tables, key, transport, now)?;
    if placement.tracked {
        match &entry {
            Some(entry) => entry.update(|flow| *flow = placement.flow),
            None => tables.insert_pending_flow(key, &placement.flow),
        }
    }
    Ok(opened(tables, key, &placement))
}

#[inline(always)]
fn route_to(id: ServerId, server: &Server, reason: Reason) -> Route<'_> {
    Route { id, server, reason, new_flow: false }
}

/// Whether the client uses the ports of a finished connection for a new one (RFC 9293 §3.6.1).
#[inline(always)]
fn reopens(flow: &Flow, transport: &Transport) -> bool {
    flow.state == FlowState::Closing as u8 && transport.is_tcp && transport.opens()
}

/// Counts a new flow and remembers its client.
#[inline(always)]
fn opened<'t, T: Tables>(tables: &T, key: &FlowKey, placement: &Placement<'t>) -> Route<'t> {
    let flow = &placement.flow;
    if placement.tracked {
        tables.count_connection(flow.server);
        if placement.reason as u8 != Reason::Persistent as u8 {
            select::remember_new_client(tables, key, flow);
        }
    }
    Route { id: flow.server, server: placement.server, reason: placement.reason, new_flow: placement.tracked }
}

/// A packet of an established flow. Writes only what changes, so that CPUs that share a flow do
/// not fight for its cache line.
#[inline(always)]
fn keep<T: Tables>(tables: &T, key: &FlowKey, entry: &T::Flow, flow: &Flow, transport: &Transport, now: Ticks) {
    let state = next_state(flow.state, transport);
    if state != flow.state {
        entry.update(|flow| flow.state = state);
        // Placed anew under its old entry, the flow never was among the pending ones.
        if flow.state == FlowState::Pending as u8 {
            select::confirm_client(tables, key, flow);
        }
    }
    if flow.last_seen != now {
        entry.update(|flow| flow.last_seen = now);
        select::touch_client(tables, key, flow, now);
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
    if !transport.answers() {
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
