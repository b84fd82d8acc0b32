//! The sweep: removes the flows and persistence records that are over, counts what is left, and
//! sets the servers' connection counts right.
//!
//! In: the tables, who is in service ([`Roster`]), the time. Out: [`Swept`]. Which record goes is
//! for the roster to say. Runs beside the control loop; a million flows take about a second.

use lb_common::abi::{Flow, FlowKey, FlowState, Persistence, PersistenceKey, Plain, ServerId, Ticks};
use lb_core::control::{Counts, Roster};
use lb_core::tables::expiry::Verdict;

use super::{Error, Table, Tables};

/// What the sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows and persistence records that are left, by server.
    pub counts: Counts,
    /// Entries left in `flows`, `pending_flows`, `persistence` and `new_clients`.
    pub entries: [u64; 4],
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
        let mut swept = Swept::default();
        for (at, table) in [&self.flows, &self.pending_flows].into_iter().enumerate() {
            let keep = |key: &FlowKey, flow: &Flow| roster.flow(key, flow, now) == Verdict::Keep;
            // A finished flow is kept for stragglers; it is no load on its server any more.
            let (kept, over) = sweep(table, keep, |flow| {
                let counts = match FlowState::from_u8(flow.state) {
                    FlowState::Closing => &mut swept.counts.closing,
                    FlowState::Pending | FlowState::Established => &mut swept.counts.connections,
                };
                *counts.entry(flow.server).or_default() += 1;
            })?;
            swept.entries[at] = kept;
            swept.flows_removed += over;
        }
        for (at, table) in [&self.persistence, &self.new_clients].into_iter().enumerate() {
            let keep = |key: &PersistenceKey, record: &Persistence| roster.client(key, record, now) == Verdict::Keep;
            let (kept, over) = sweep(table, keep, |record| {
                *swept.counts.clients.entry(record.server).or_default() += 1;
            })?;
            swept.entries[2 + at] = kept;
            swept.clients_removed += over;
        }
        // Live connections are `opened - closed`. The count of a walk replaces the sum of all that
        // was ever closed, so it cannot drift; flows opened during the walk are counted next time.
        for (server, opened) in opened {
            let live = swept.counts.connections.get(&server).copied().unwrap_or(0);
            self.closed.set(&server, &opened.saturating_sub(live))?;
        }
        Ok(swept)
    }

    /// Read before the walk: a flow opened after this and seen by the walk makes a server look
    /// busier by one until the next sweep; the other way round it would look idle.
    fn opened_before(&self, roster: &Roster) -> Result<Vec<(ServerId, u64)>, Error> {
        let opened = |server| Ok((server, self.opened.get(&server)?.unwrap_or_default().flows));
        roster.servers().map(opened).collect()
    }
}

/// Removes what is not to be kept, counting what is. Returns how many stayed and how many went.
fn sweep<K: Plain + Default, V: Plain + Default>(
    table: &Table<K, V>,
    keep: impl Fn(&K, &V) -> bool,
    mut count: impl FnMut(&V),
) -> Result<(u64, u64), Error> {
    let mut kept = 0;
    let mut over = Vec::new();
    table.walk(|keys, entries| {
        for (key, entry) in keys.iter().zip(entries) {
            if keep(key, entry) {
                kept += 1;
                count(entry);
            } else {
                over.push(*key);
            }
        }
        true
    })?;
    // Looked at again: a packet may have come since, and what lives must not be cut.
    over.retain(|key| table.get(key).ok().flatten().is_some_and(|entry| !keep(key, &entry)));
    let removed = table.remove_many(&over)?;
    Ok((kept, u64::try_from(removed).unwrap_or(u64::MAX)))
}
