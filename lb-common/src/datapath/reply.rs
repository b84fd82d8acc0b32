//! Packets of real servers that answer translated flows: they become packets of the VIP, and leave
//! the way the client's came.

use super::at::At;
use super::hop::{self, Hop, Tags};
use super::job::Job;
use super::translate::{Binding, Ends, reply_key, rewrite, rewrite_error};
use super::{Entry, Packet, Reason, Tables, Truncated, Verdict, held_server, towards};
use crate::abi::{FlowKey, FlowState, Reply, ServerId};

/// It answers no flow, and is untouched.
const UNKNOWN: Verdict = Verdict::pass(Reason::ReplyUnknown);

/// Turns a packet of a real server into one of the VIP, and sends it back to the client.
#[inline(always)]
pub fn restore<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    tables.job(|job| restored(packet, tables, job)).unwrap_or(UNKNOWN)
}

#[inline(always)]
fn restored<P: Packet, T: Tables>(packet: &mut P, tables: &T, job: &Job) -> Verdict {
    let (key, at, tags) = (&job.key, job.at, job.tags);
    let Some(entry) = tables.reply(key) else { return UNKNOWN };
    let (id, generation, last_seen) = entry.with(|reply| (reply.server, reply.generation, reply.last_seen));
    let Some(_) = held_server(tables, id, generation) else { return UNKNOWN };
    let now = tables.now();
    if last_seen != now {
        entry.update(|reply| reply.last_seen = now);
    }
    if at.fin() || at.rst() {
        server_ends(tables, key, &entry, at);
    }
    let bytes = packet.length();
    let done = entry.with(|reply| {
        let ends = Ends {
            source: &reply.vip,
            destination: &reply.client,
            source_port: reply.vip_port,
            destination_port: reply.client_port,
        };
        rewrite(packet, at, &ends, 0)?;
        back(packet, tags, reply)
    });
    finish(packet, tables, Reason::Reply, id, bytes, done)
}

/// Turns an ICMP error about a packet to a real server into one about the client's packet to the VIP.
/// It comes from a router on the way, or from the real server; for the client it comes from the VIP
/// (RFC 5508 §4.2). The job's key names the replies to the quoted packet.
#[inline(always)]
pub fn restore_error<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    tables.job(|job| restored_error(packet, tables, job)).unwrap_or(UNKNOWN)
}

#[inline(always)]
fn restored_error<P: Packet, T: Tables>(packet: &mut P, tables: &T, job: &Job) -> Verdict {
    let (at, tags) = (job.at, job.tags);
    let Some(entry) = tables.reply(&job.key) else { return UNKNOWN };
    let (id, generation) = entry.with(|reply| (reply.server, reply.generation));
    let Some(_) = held_server(tables, id, generation) else { return UNKNOWN };
    let bytes = packet.length();
    let done = entry.with(|reply| {
        let quoted = Ends {
            source: &reply.client,
            destination: &reply.vip,
            source_port: reply.client_port,
            destination_port: reply.vip_port,
        };
        rewrite_error(packet, at, Some(&reply.vip), &reply.client, &quoted)?;
        back(packet, tags, reply)
    });
    finish(packet, tables, Reason::ReplyError, id, bytes, done)
}

/// Addresses the frame to the client's last hop, which is behind the returned interface.
#[inline(always)]
fn back<P: Packet>(packet: &mut P, tags: Tags, reply: &Reply) -> Result<u32, Reason> {
    hop::address(packet, tags, &Hop::back(reply)).map_err(|Truncated| Reason::NoHeadroom)?;
    Ok(reply.ifindex)
}

#[inline(always)]
fn finish<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    reason: Reason,
    id: ServerId,
    bytes: u32,
    done: Result<u32, Reason>,
) -> Verdict {
    match done {
        Ok(ifindex) => {
            tables.count_reply(id, bytes);
            Verdict { action: towards(packet, ifindex), reason }
        }
        Err(reason) => Verdict::drop(reason),
    }
}

/// The real server has sent FIN or RST.
#[inline(always)]
fn server_ends<T: Tables>(tables: &T, key: &FlowKey, entry: &T::Reply, at: At) {
    let (before, id) = entry.with(|reply| (reply.ended, reply.server));
    let ended = if at.rst() { Reply::BOTH_FIN } else { before | Reply::SERVER_FIN };
    if ended != before {
        entry.update(|reply| reply.ended = ended);
    }
    if ended != Reply::BOTH_FIN {
        return;
    }
    let flow = entry.with(|reply| FlowKey {
        client: reply.client,
        vip: reply.vip,
        client_port: reply.client_port,
        vip_port: reply.vip_port,
        protocol: key.protocol,
        spare8: 0,
        spare16: 0,
    });
    if let Some(flow) = tables.flow(&flow) {
        flow.update(|flow| {
            if flow.server == id {
                flow.state = FlowState::Closing as u8;
            }
        });
    }
}

/// What a client's packet changes in the entry of the replies: which sides have `ended` by it (returns
/// those that have by now), or, if none has, the last hop.
#[inline(always)]
pub fn follow<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    key: &FlowKey,
    to: (u32, Binding),
    tags: Tags,
    ended: u32,
) -> u32 {
    let (id, binding) = to;
    let Some(server) = tables.server(id) else { return 0 };
    let Some(replies) = reply_key(tables, key, server, binding) else { return 0 };
    let Some(entry) = tables.reply(&replies) else { return 0 };
    if ended != 0 {
        let ended = entry.with(|reply| reply.ended) | ended;
        entry.update(|reply| reply.ended = ended);
        return ended;
    }
    entry.update(|reply| hop::learn(packet, tags, reply));
    0
}
