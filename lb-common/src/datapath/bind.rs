//! Begins a translated flow: a source port, the entry for its replies, the entry of the flow.

use super::job::Job;
use super::translate::{Binding, ends_here, reply_key};
use super::{Entry, Packet, Reason, Refusal, Tables, held_server, hop, source_port};
use crate::abi::{Flow, FlowState, Reply, Server, ServiceMode, Ticks};
use crate::wire::protocol;

/// Ports tried when one turns out to be in use although its bit said no: after pools have changed, or
/// after a daemon that died between two writes.
const TRIES: u32 = 4;

/// Makes the entries of a flow that was placed. One that replaces an entry of the flow keeps the binding
/// that it had with the same real server, if it can.
///
/// # Errors
/// Why the flow cannot be; then there is no entry of it, and no port is taken.
#[inline(always)]
pub fn bind<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<(), Reason> {
    tables.job(|job| bound(packet, tables, job)).unwrap_or(Err(Reason::TranslationTableFull))
}

#[inline(always)]
fn bound<P: Packet, T: Tables>(packet: &P, tables: &T, job: &mut Job) -> Result<(), Reason> {
    let server = tables.server(job.server).ok_or(Reason::NoServer)?;
    // It will not be sent: no port and no entry for it.
    if ends_here(packet, job.at) {
        return Err(Reason::HopLimit);
    }
    let now = tables.now();
    job.reply = Reply {
        client: job.key.client,
        vip: job.key.vip,
        client_port: job.key.client_port,
        vip_port: job.key.vip_port,
        server: job.server,
        generation: server.generation,
        last_seen: now,
        ..Reply::default()
    };
    hop::learn(packet, job.tags, &mut job.reply);
    if job.reply.ifindex == 0 {
        return Err(Reason::NotUnicast);
    }
    if server.mode == ServiceMode::SourceNat as u8 {
        if !again(tables, server, job) {
            source_binding(tables, server, job, now)?;
        }
    } else {
        job.binding = Binding::NONE;
        plain_binding(tables, server, job)?;
    }
    let flow = Flow {
        service: job.service,
        source: job.binding.source,
        server: job.server,
        source_port: job.binding.port,
        state: FlowState::Pending as u8,
        origin: 0,
        generation: server.generation,
        last_seen: now,
        created: now,
        last_hop: hop::digest(packet, job.tags),
    };
    let inserted = if job.replaces != 0 {
        tables.insert_flow(&job.key, &flow).map_err(|_| Refusal::Full)
    } else {
        tables.insert_new_flow(&job.key, &flow)
    };
    let Err(refusal) = inserted else {
        // The sweep may have met the entry of an earlier flow just before this one was recorded, and removed it.
        if tables.reply(&job.reply_key).is_none() {
            let _again = tables.insert_reply(&job.reply_key, &job.reply);
        }
        return Ok(());
    };
    if refusal == Refusal::Exists && shares_replies(tables, job) {
        return Ok(());
    }
    // The port comes back by the sweep, as after any end.
    tables.remove_reply(&job.reply_key);
    Err(match refusal {
        Refusal::Exists => Reason::NatConflict,
        Refusal::Full => Reason::TranslationTableFull,
    })
}

/// Whether another CPU has recorded the same flow in the meantime, with the same entry for its replies: to
/// the same real server, by the client's own address and port.
#[inline(always)]
fn shares_replies<T: Tables>(tables: &T, job: &Job) -> bool {
    let Some(flow) = tables.flow(&job.key) else { return false };
    job.binding == Binding::NONE && flow.with(|flow| flow.server) == job.server
}

/// Whether the flow keeps the binding that it had: its replies are still known by it.
#[inline(always)]
fn again<T: Tables>(tables: &T, server: &Server, job: &mut Job) -> bool {
    if job.binding.source == 0 {
        return false;
    }
    let Some(replies) = reply_key(tables, &job.key, server, job.binding) else { return false };
    job.reply_key = replies;
    let Some(entry) = tables.reply(&job.reply_key) else { return false };
    let same = entry.with(|old| {
        job.reply.pool = old.pool;
        let same_client = old.client == job.key.client && old.client_port == job.key.client_port;
        let same_vip = old.vip == job.key.vip && old.vip_port == job.key.vip_port;
        same_client && same_vip && old.server == job.server
    });
    if same {
        entry.update(|entry| *entry = job.reply);
    }
    same
}

/// Claims a port and makes the entry for the replies (`l4-snat`).
#[inline(always)]
fn source_binding<T: Tables>(tables: &T, server: &Server, job: &mut Job, now: Ticks) -> Result<(), Reason> {
    if server.source == 0 {
        return Err(Reason::NoSourceAddress);
    }
    let settings = tables.settings().ok_or(Reason::NoSourceAddress)?;
    job.reply.pool = server.pool + u32::from(job.key.protocol == protocol::UDP);
    job.binding = Binding::new(server.source, 0);
    job.reply_key = reply_key(tables, &job.key, server, job.binding).ok_or(Reason::NoSourceAddress)?;
    let mut hash = super::hash::flow_hash(&job.key);
    for _ in 0..TRIES {
        let port = source_port::claim(tables, job.reply.pool, settings, hash, now);
        if port == 0 {
            break;
        }
        job.binding.port = port;
        job.reply_key.vip_port = port;
        match tables.insert_reply(&job.reply_key, &job.reply) {
            Ok(()) => return Ok(()),
            Err(Refusal::Full) => return Err(Reason::TranslationTableFull),
            Err(Refusal::Exists) => hash = hash.rotate_left(11).wrapping_add(1),
        }
    }
    Err(Reason::SourcePortsExhausted)
}

/// Makes the entry for the replies to the client's own address (`l4-nat`). It may be there already: of
/// an earlier flow, which gives way, or of one that the client has with the same real server by
/// another VIP, and then the two could not be told apart.
#[inline(always)]
fn plain_binding<T: Tables>(tables: &T, server: &Server, job: &mut Job) -> Result<(), Reason> {
    job.reply_key = reply_key(tables, &job.key, server, Binding::NONE).ok_or(Reason::NoSourceAddress)?;
    match tables.insert_reply(&job.reply_key, &job.reply) {
        Ok(()) => Ok(()),
        Err(Refusal::Full) => Err(Reason::TranslationTableFull),
        Err(Refusal::Exists) => {
            let entry = tables.reply(&job.reply_key).ok_or(Reason::NatConflict)?;
            let (same, ended, id, generation) = entry.with(|old| {
                let same = old.vip == job.key.vip && old.vip_port == job.key.vip_port;
                (same, old.ended, old.server, old.generation)
            });
            if !same && ended != Reply::BOTH_FIN && held_server(tables, id, generation).is_some() {
                return Err(Reason::NatConflict);
            }
            entry.update(|entry| *entry = job.reply);
            Ok(())
        }
    }
}
