//! The sweep: removes the flows and persistence records that are over, counts what is left, and
//! sets the servers' connection counts right.
//!
//! In: the tables, who is in service ([`Roster`]), the time. Out: [`Swept`]. Which record goes is
//! for the roster to say. Runs beside the control loop; a million flows take about a second.

use std::collections::BTreeMap;

use lb_common::abi::{Flow, FlowKey, FlowState, Persistence, PersistenceKey, Plain, Reply, ServerId, Ticks};
use lb_core::control::{Counts, Roster, answers};
use lb_core::tables::PortsInUse;
use lb_core::tables::expiry::Verdict;

use super::{Error, Table, Tables};

/// What the sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows and persistence records that are left, by server.
    pub counts: Counts,
    /// Entries left in `flows`, `pending_flows`, `persistence`, `new_clients` and `replies`.
    pub entries: [u64; 5],
    /// Source ports in use, by pool.
    pub ports: BTreeMap<u32, u32>,
    /// Flows removed.
    pub flows_removed: u64,
    /// Persistence records removed.
    pub clients_removed: u64,
}

impl Tables {
    /// Sweeps once.
    ///
    /// # Errors
    /// When the kernel refuses; what was removed until then stays removed.
    pub fn sweep(&self, roster: &Roster, now: Ticks) -> Result<Swept, Error> {
        let opened = self.opened_before(roster)?;
        let ports = self.source_ports.before(roster.pools());
        let mut swept = Swept::default();
        for (at, table) in [&self.flows, &self.pending_flows].into_iter().enumerate() {
            let keep = |key: &FlowKey, flow: &Flow| roster.flow(key, flow, now) == Verdict::Keep;
            let keep_after_all =
                |key: &FlowKey, flow: &Flow| keep(key, flow) || self.is_answered(roster, key, flow, now);
            // A finished flow is kept for stragglers; it is no load on its server any more.
            let (kept, over) = sweep(table, keep, keep_after_all, |_, flow| {
                let state = FlowState::from_u8(flow.state);
                if state == FlowState::Pending {
                    *swept.counts.half_open.entry(flow.service).or_default() += 1;
                }
                let counts = match state {
                    FlowState::Closing => &mut swept.counts.closing,
                    FlowState::Pending | FlowState::Established | FlowState::HalfClosed => {
                        &mut swept.counts.connections
                    }
                };
                *counts.entry(flow.server).or_default() += 1;
            })?;
            self.forget_replies(roster, &over)?;
            swept.entries[at] = kept;
            swept.flows_removed += count(over.len());
        }
        let mut used = PortsInUse::default();
        swept.entries[4] = self.sweep_replies(roster, now, &mut used)?;
        swept.ports = self.source_ports.settle(&ports, &used);
        for (at, table) in [&self.persistence, &self.new_clients].into_iter().enumerate() {
            let keep = |key: &PersistenceKey, record: &Persistence| roster.client(key, record, now) == Verdict::Keep;
            let (kept, over) = sweep(table, keep, keep, |_, record| {
                *swept.counts.clients.entry(record.server).or_default() += 1;
            })?;
            swept.entries[2 + at] = kept;
            swept.clients_removed += count(over.len());
        }
        // Live connections are `opened - closed`. The count of a walk replaces the sum of all that
        // was ever closed, so it cannot drift; flows opened during the walk are counted next time.
        for (server, opened) in opened {
            let live = swept.counts.connections.get(&server).copied().unwrap_or(0);
            self.closed.set(&server, &opened.saturating_sub(live))?;
        }
        Ok(swept)
    }

    /// Whether the real server still sends to a client that is silent.
    fn is_answered(&self, roster: &Roster, key: &FlowKey, flow: &Flow, now: Ticks) -> bool {
        let Some(replies) = roster.replies_to(key, flow) else { return false };
        let reply = self.replies.get(&replies).ok().flatten();
        reply.is_some_and(|reply| roster.reply(&reply) && roster.is_answered(key, flow, &reply, now))
    }

    /// Removes the entries of the replies to flows that are gone.
    fn forget_replies(&self, roster: &Roster, flows: &[(FlowKey, Flow)]) -> Result<(), Error> {
        for (key, flow) in flows {
            let Some(replies) = roster.replies_to(key, flow) else { continue };
            if let Some(reply) = self.replies.get(&replies)?
                && answers(&reply, key, flow)
            {
                self.forget_reply(roster, key, &replies, &reply)?;
            }
        }
        Ok(())
    }

    /// Removes an entry of replies unless its flow is there, which its client may have opened anew meanwhile;
    /// in `l4-nat` the key is the same then. Returns whether it is gone.
    ///
    /// A packet makes the entry of the replies, then that of the flow, and then sees to it that the first one is
    /// still there; so one of the two sides notices when they meet.
    fn forget_reply(&self, roster: &Roster, of: &FlowKey, replies: &FlowKey, reply: &Reply) -> Result<bool, Error> {
        let has_flow = || -> Result<bool, Error> {
            Ok(self.flows.get(of)?.is_some_and(|flow| roster.replies_to(of, &flow).as_ref() == Some(replies)))
        };
        if has_flow()? {
            return Ok(false);
        }
        self.replies.remove(replies)?;
        if !has_flow()? {
            return Ok(true);
        }
        self.replies.set(replies, reply)?;
        Ok(false)
    }

    /// Removes entries of replies whose flow is gone or goes another way, and notes the ports of the others.
    fn sweep_replies(&self, roster: &Roster, now: Ticks, used: &mut PortsInUse) -> Result<u64, Error> {
        let mut kept = 0;
        let mut over = Vec::new();
        self.replies.walk(|keys, replies| {
            for (key, reply) in keys.iter().zip(replies) {
                if roster.reply(reply) && !roster.is_quiet(reply, now) {
                    kept += 1;
                    used.add(reply.pool, key.vip_port);
                } else {
                    over.push(*key);
                }
            }
            true
        })?;
        for key in over {
            let Some(reply) = self.replies.get(&key)? else { continue };
            let of = FlowKey {
                client: reply.client,
                vip: reply.vip,
                client_port: reply.client_port,
                vip_port: reply.vip_port,
                protocol: key.protocol,
                ..FlowKey::default()
            };
            if !roster.reply(&reply) {
                self.replies.remove(&key)?;
            } else if !self.forget_reply(roster, &of, &key, &reply)? {
                kept += 1;
                used.add(reply.pool, key.vip_port);
            }
        }
        Ok(kept)
    }

    /// Read before the walk: a flow opened after this and seen by the walk makes a server look
    /// busier by one until the next sweep; the other way round it would look idle.
    fn opened_before(&self, roster: &Roster) -> Result<Vec<(ServerId, u64)>, Error> {
        let opened = |server| Ok((server, self.opened.get(&server)?.unwrap_or_default().flows));
        roster.servers().map(opened).collect()
    }
}

/// Removes what is not to be kept, counting what is. Returns how many stayed and who went. What is to go is looked at
/// again, and more closely: a packet may have come since, and what lives must not be cut.
fn sweep<K: Plain + Default, V: Plain + Default>(
    table: &Table<K, V>,
    keep: impl Fn(&K, &V) -> bool,
    keep_after_all: impl Fn(&K, &V) -> bool,
    mut count: impl FnMut(&K, &V),
) -> Result<(u64, Vec<(K, V)>), Error> {
    let mut kept = 0;
    let mut over = Vec::new();
    table.walk(|keys, entries| {
        for (key, entry) in keys.iter().zip(entries) {
            if keep(key, entry) {
                kept += 1;
                count(key, entry);
            } else {
                over.push((*key, *entry));
            }
        }
        true
    })?;
    over.retain(|(key, _)| match table.get(key) {
        Ok(Some(entry)) if keep_after_all(key, &entry) => {
            kept += 1;
            count(key, &entry);
            false
        }
        Ok(Some(_)) => true,
        Ok(None) | Err(_) => false,
    });
    let keys: Vec<K> = over.iter().map(|(key, _)| *key).collect();
    table.remove_many(&keys)?;
    Ok((kept, over))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
