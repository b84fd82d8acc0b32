//! Whether tables are safe to forward by.
//!
//! In: what the tables hold. Out: the first thing that is wrong, in a sentence. Absent: whether
//! they hold what the configuration asks for.

use std::collections::BTreeMap;

use lb_common::abi::{
    MAX_POOLS, MAX_SERVERS, MAX_SERVICES, PLACES_PER_WORD, PortRange, PortRanges, SCHEDULE_PLACES, ServerState,
    Service, ServiceId, ServiceMode, VIP_FILTER_WORDS, filter_bit,
};

use super::installed::Installed;
use super::wanted::schedulable;

/// Checks what must hold at every moment:
///
/// - numbers are within their tables;
/// - schedules of services lie within the table, on whole words, and do not overlap;
/// - rings and turn lists name only servers of their service that may be scheduled, and no service
///   has turns without a ring;
/// - whoever is delivered to in `l4-nat` or `l4-snat` is in the filter of replies, and a source address
///   that a server names is there;
/// - ports and ranges lead to a service; ranges are ranges, sorted, and do not overlap.
///
/// # Errors
///
/// A sentence about the first thing that does not hold.
pub fn consistent(tables: &Installed) -> Result<(), String> {
    numbers(tables)?;
    extents(tables)?;
    for (id, service) in &tables.services {
        schedule(tables, *id, service)?;
    }
    translations(tables)?;
    ports(tables)
}

/// Whoever may send replies is expected to, and has a source address and a pool where it needs them.
fn translations(tables: &Installed) -> Result<(), String> {
    for (id, server) in &tables.servers {
        let mode = ServiceMode::from_u8(server.mode);
        if ServerState::from_u8(server.state) == ServerState::Down || mode == ServiceMode::DirectRouting {
            continue;
        }
        let (word, bit) = filter_bit(&server.address);
        if tables.reply_filter.get(&word).copied().unwrap_or(0) & bit == 0 {
            return Err(format!("nobody expects replies of server {id}: {server:?}"));
        }
        let has_source = tables.sources.contains_key(&server.source) && server.pool + 1 < MAX_POOLS;
        if server.source != 0 && !has_source {
            return Err(format!("server {id} has no source address or no pool: {server:?}"));
        }
    }
    Ok(())
}

fn numbers(tables: &Installed) -> Result<(), String> {
    if let Some(id) = tables.services.keys().find(|id| !(1..MAX_SERVICES).contains(*id)) {
        return Err(format!("service {id} is outside its table"));
    }
    if let Some(id) = tables.servers.keys().find(|id| !(1..MAX_SERVERS).contains(*id)) {
        return Err(format!("server {id} is outside its table"));
    }
    if let Some(word) = tables.filter.keys().find(|word| **word >= VIP_FILTER_WORDS) {
        return Err(format!("word {word} of the VIP filter is outside its table"));
    }
    Ok(())
}

fn extents(tables: &Installed) -> Result<(), String> {
    let mut used: BTreeMap<u32, (u32, ServiceId)> = BTreeMap::new();
    for (id, service) in &tables.services {
        for (base, size) in [(service.ring_base, service.ring_size), (service.turns_base, service.turns_size)] {
            if size == 0 {
                continue;
            }
            let end = base.checked_add(size).filter(|end| *end <= SCHEDULE_PLACES);
            let Some(end) = end.filter(|_| base.is_multiple_of(PLACES_PER_WORD)) else {
                return Err(format!("service {id} points at {size} places from {base} on, outside the schedule"));
            };
            if let Some((_, other)) = used.insert(base, (end.next_multiple_of(PLACES_PER_WORD), *id)) {
                return Err(format!("services {other} and {id} both point at place {base}"));
            }
        }
    }
    let extents: Vec<_> = used.into_iter().collect();
    match extents.windows(2).find(|pair| pair[0].1.0 > pair[1].0) {
        Some(pair) => Err(format!("services {} and {} overlap at place {}", pair[0].1.1, pair[1].1.1, pair[1].0)),
        None => Ok(()),
    }
}

fn schedule(tables: &Installed, id: ServiceId, service: &Service) -> Result<(), String> {
    if ServiceMode::from_u8(service.mode) == ServiceMode::None {
        return Err(format!("service {id} has no mode"));
    }
    if service.ring_size == 0 && service.turns_size > 0 {
        return Err(format!("service {id} has turns and no ring"));
    }
    let ring = tables.places(service.ring_base, service.ring_size);
    for number in ring.chain(tables.places(service.turns_base, service.turns_size)) {
        let Some(server) = tables.servers.get(&number) else {
            return Err(format!("service {id} schedules server {number}, which has no entry"));
        };
        if server.service != id {
            return Err(format!("service {id} schedules server {number} of service {}", server.service));
        }
        if server.mode != service.mode {
            return Err(format!("service {id} schedules server {number}, which is of another mode: {server:?}"));
        }
        if !schedulable(server) {
            return Err(format!("service {id} schedules server {number}, which takes no new flows: {server:?}"));
        }
    }
    Ok(())
}

fn ports(tables: &Installed) -> Result<(), String> {
    let lost = |service: &ServiceId| !tables.services.contains_key(service);
    if let Some((key, service)) = tables.service_ports.iter().find(|(_, service)| lost(service)) {
        return Err(format!("{key:?} leads to service {service}, which has no entry"));
    }
    for (key, entry) in &tables.port_ranges {
        let ranges = in_use(entry).ok_or_else(|| format!("{key:?} has {} ranges", entry.count))?;
        if let Some(range) = ranges.iter().find(|range| lost(&range.service)) {
            return Err(format!("{key:?}: {range:?} leads to a service that has no entry"));
        }
        let sorted = ranges.windows(2).all(|pair| pair[0].last < pair[1].first);
        if !sorted || ranges.iter().any(|range| range.first >= range.last) {
            return Err(format!("{key:?}: the ranges are not sorted: {ranges:?}"));
        }
    }
    Ok(())
}

/// The ranges of an entry, unless it has none or more than fit.
fn in_use(entry: &PortRanges) -> Option<&[PortRange]> {
    entry.ranges.get(..entry.count as usize).filter(|ranges| !ranges.is_empty())
}

#[cfg(test)]
mod tests;
