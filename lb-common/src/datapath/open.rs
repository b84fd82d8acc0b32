//! A packet whose flow nobody remembers: it is placed, and the flow recorded.

use super::job::{Job, Next};
use super::select::{Arrival, Placement, place};
use super::translate::Binding;
use super::{Entry, Packet, Reason, Route, Tables, Verdict, fragment, send};
use crate::abi::{Flow, FlowState, Server, ServiceMode, Ticks};

/// Places the packet and, in `l4-dr`, records its flow and sends it. An ICMP error goes where the packet
/// that it quotes would go, and is not recorded.
#[inline(always)]
pub fn open<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Next {
    let next = tables.job(|job| opened(packet, tables, job).unwrap_or_else(Next::End));
    next.unwrap_or(Next::End(Verdict::drop(Reason::NoServer)))
}

#[inline(always)]
fn opened<P: Packet, T: Tables>(packet: &mut P, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    let placement = place(tables, &job.key, Arrival::from_bits(job.arrival));
    let is_error = job.is_error != 0;
    let Some(server) = tables.server(placement.server) else {
        return Err(if is_error { Verdict::pass(Reason::IcmpErrorUnknown) } else { placement.refusal() });
    };
    let reason = if is_error { Reason::IcmpError } else { placement.reason };
    let route = Route { id: placement.server, server, binding: Binding::NONE, reason, new_flow: placement.tracked };
    if job.is_part != 0 {
        fragment::remember(tables, &job.key, job.identification, &route);
    }
    if server.mode != ServiceMode::DirectRouting as u8 {
        if job.previous != placement.server {
            job.binding = Binding::NONE;
        }
        job.service = placement.service;
        job.server = placement.server;
        job.reason = reason as u32;
        job.new_flow = u32::from(placement.tracked);
        // No flow of this kind goes on without a record, so the error is about none.
        return if is_error { Err(Verdict::pass(Reason::IcmpErrorUnknown)) } else { Ok(Next::Bind) };
    }
    if placement.tracked {
        let flow = new_flow(&placement, server, tables.now());
        if job.replaces == 0 {
            tables.insert_pending_flow(&job.key, &flow);
        } else if let Some(entry) = tables.flow(&job.key) {
            entry.update(|old| *old = flow);
        }
    }
    Ok(Next::End(send(packet, tables, job.tags, &route)))
}

#[inline(always)]
fn new_flow(placement: &Placement, server: &Server, now: Ticks) -> Flow {
    Flow {
        service: placement.service,
        server: placement.server,
        generation: server.generation,
        last_seen: now,
        created: now,
        state: FlowState::Pending as u8,
        ..Flow::default()
    }
}
