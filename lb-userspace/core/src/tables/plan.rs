//! The way from what the kernel tables hold to what they should hold.
//!
//! In: [`Installed`] and [`Wanted`]. Out: operations, of which every prefix leaves tables that are
//! safe to forward by, so that packets may be forwarded and the daemon may die in between:
//!
//! 1. source addresses and the filter of replies, then servers that may be scheduled, so that a ring finds
//!    them;
//! 2. each service: its new schedule beside the old one, then one write that switches;
//! 3. ports and ranges that lead to a service, then the VIP's bit in the filter;
//! 4. ports and ranges that lead nowhere any more are removed, then the VIP's bit;
//! 5. services without a port;
//! 6. servers that no ring names any more go down, then the filter's bits of those who send no replies.
//!
//! What is the same gets no operation.

use std::collections::BTreeMap;

use lb_common::abi::{
    NO_SERVER, PLACES_PER_WORD, PortRangesKey, Server, ServerId, Service, ServiceId, ServicePortKey, schedule_word,
};
use thiserror::Error;

use super::arena::Arena;
use super::installed::{Installed, TableOp};
use super::wanted::{Schedule, Wanted, schedulable};

/// Why there is no safe way.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A schedule does not fit beside the ones in use.
    #[error(
        "there is no room for the schedule of virtual service number {service} beside those in use; \
         change fewer virtual services at once, or restart lbd with empty tables"
    )]
    NoRoom {
        /// The service.
        service: ServiceId,
    },
    /// A server number was given to another service while a ring still names it.
    #[error(
        "real server number {server} is still scheduled for virtual service number {from} in the kernel tables \
         and cannot become one of number {to}; restart lbd with empty tables"
    )]
    NumberInUse {
        /// The server.
        server: ServerId,
        /// Its service in the kernel tables.
        from: ServiceId,
        /// Its service in the configuration.
        to: ServiceId,
    },
}

/// The operations that lead from `installed` to `wanted`; none if they are the same.
///
/// # Errors
///
/// There is no safe way; nothing must be applied then.
pub fn plan(installed: &Installed, wanted: &Wanted) -> Result<Vec<TableOp>, PlanError> {
    no_scheduled_number_moves(installed, wanted)?;
    let mut ops = Vec::new();
    if installed.settings != wanted.settings {
        ops.push(TableOp::SetSettings(wanted.settings));
    }
    set_sources(installed, wanted, &mut ops);
    open(&installed.reply_filter, &wanted.reply_filter, set_reply_filter, &mut ops);
    set_servers(installed, wanted, &mut ops, schedulable);
    set_services(installed, wanted, &mut ops)?;
    set_ports(installed, wanted, &mut ops);
    open(&installed.filter, &wanted.filter, set_filter, &mut ops);
    remove_ports(installed, wanted, &mut ops);
    close(&installed.filter, &wanted.filter, set_filter, &mut ops);
    remove_services(installed, wanted, &mut ops);
    set_servers(installed, wanted, &mut ops, |entry| !schedulable(entry));
    remove_unknown_servers(installed, wanted, &mut ops);
    close(&installed.reply_filter, &wanted.reply_filter, set_reply_filter, &mut ops);
    Ok(ops)
}

/// [`super::Ids`] never lets this happen; tables that were not adopted could.
fn no_scheduled_number_moves(installed: &Installed, wanted: &Wanted) -> Result<(), PlanError> {
    let moves = |id: &ServerId, from: ServiceId| wanted.servers.get(id).filter(|s| schedulable(s) && s.service != from);
    for (from, entry) in &installed.services {
        let ring = installed.places(entry.ring_base, entry.ring_size);
        let mut scheduled = ring.chain(installed.places(entry.turns_base, entry.turns_size));
        if let Some(server) = scheduled.find(|id| moves(id, *from).is_some()) {
            let to = wanted.servers[&server].service;
            return Err(PlanError::NumberInUse { server, from: *from, to });
        }
    }
    Ok(())
}

fn set_servers(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>, which: fn(&Server) -> bool) {
    for (id, entry) in &wanted.servers {
        if which(entry) && installed.servers.get(id) != Some(entry) {
            ops.push(TableOp::SetServer { id: *id, entry: *entry });
        }
    }
}

/// Servers that the numbers know nothing of: left behind by a daemon whose names were lost.
fn remove_unknown_servers(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>) {
    for (id, entry) in &installed.servers {
        let removed = Server { generation: entry.generation, ..Server::default() };
        if !wanted.servers.contains_key(id) && *entry != removed {
            let generation = entry.generation.wrapping_add(1);
            ops.push(TableOp::SetServer { id: *id, entry: Server { generation, ..removed } });
        }
    }
}

fn set_services(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>) -> Result<(), PlanError> {
    let mut arena = Arena::of(&installed.services);
    let empty = Schedule::default();
    for (id, service) in &wanted.services {
        let old = installed.services.get(id).copied().unwrap_or_default();
        let schedule = wanted.schedules.get(id).map_or(&empty, AsRef::as_ref);
        let mut place = |base, size, list: &[ServerId]| {
            let same = size as usize == list.len() && installed.places(base, size).eq(list.iter().copied());
            let placed = if same { Some(base) } else { write_schedule(&mut arena, list, ops) };
            placed.ok_or(PlanError::NoRoom { service: *id })
        };
        let entry = Service {
            ring_base: place(old.ring_base, old.ring_size, &schedule.ring)?,
            turns_base: place(old.turns_base, old.turns_size, &schedule.turns)?,
            ..*service
        };
        if entry != old {
            ops.push(TableOp::SetService { id: *id, entry });
        }
    }
    Ok(())
}

/// Writes a list to places that nobody uses; the first of them.
fn write_schedule(arena: &mut Arena, list: &[ServerId], ops: &mut Vec<TableOp>) -> Option<u32> {
    if list.is_empty() {
        return Some(0);
    }
    let word = |servers: &[ServerId]| {
        let mut places = [NO_SERVER; PLACES_PER_WORD as usize];
        places[..servers.len()].copy_from_slice(servers);
        schedule_word(places)
    };
    let words: Vec<u64> = list.chunks(PLACES_PER_WORD as usize).map(word).collect();
    let first_word = arena.take(u32::try_from(words.len()).ok()?)?;
    ops.push(TableOp::WriteSchedule { first_word, words });
    Some(first_word * PLACES_PER_WORD)
}

/// A port that goes from a range to an entry of its own, or back, is never without a service: what
/// leads somewhere is written before anything is removed.
fn set_ports(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>) {
    for (key, service) in &wanted.service_ports {
        if installed.service_ports.get(key) != Some(service) {
            ops.push(TableOp::SetServicePort { key: *key, service: *service });
        }
    }
    for (key, ranges) in &wanted.port_ranges {
        if installed.port_ranges.get(key) != Some(ranges) {
            ops.push(TableOp::SetPortRanges { key: *key, ranges: *ranges });
        }
    }
}

fn remove_ports(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>) {
    let ports = installed.service_ports.keys().filter(|key| !wanted.service_ports.contains_key(key));
    ops.extend(ports.map(|key: &ServicePortKey| TableOp::RemoveServicePort { key: *key }));
    let ranges = installed.port_ranges.keys().filter(|key| !wanted.port_ranges.contains_key(key));
    ops.extend(ranges.map(|key: &PortRangesKey| TableOp::RemovePortRanges { key: *key }));
}

fn set_sources(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>) {
    let changed = wanted.sources.iter().filter(|(number, address)| installed.sources.get(number) != Some(address));
    ops.extend(changed.map(|(number, address)| TableOp::SetSource { number: *number, address: *address }));
}

type Words = BTreeMap<u32, u64>;

/// Sets the bits of a filter that are not set yet.
fn open(installed: &Words, wanted: &Words, set: fn(u32, u64) -> TableOp, ops: &mut Vec<TableOp>) {
    for (word, bits) in wanted {
        let old = installed.get(word).copied().unwrap_or(0);
        if old | bits != old {
            ops.push(set(*word, old | bits));
        }
    }
}

/// Clears the bits of a filter that nobody wants.
fn close(installed: &Words, wanted: &Words, set: fn(u32, u64) -> TableOp, ops: &mut Vec<TableOp>) {
    for (word, old) in installed {
        let bits = wanted.get(word).copied().unwrap_or(0);
        if old & !bits != 0 {
            ops.push(set(*word, bits));
        }
    }
}

fn set_filter(word: u32, bits: u64) -> TableOp {
    TableOp::SetFilter { word, bits }
}

fn set_reply_filter(word: u32, bits: u64) -> TableOp {
    TableOp::SetReplyFilter { word, bits }
}

fn remove_services(installed: &Installed, wanted: &Wanted, ops: &mut Vec<TableOp>) {
    let removed = installed.services.keys().filter(|id| !wanted.services.contains_key(id));
    ops.extend(removed.map(|id| TableOp::SetService { id: *id, entry: Service::default() }));
}

#[cfg(test)]
mod tests;
