//! What must hold while a plan is applied, and after.

use std::collections::BTreeMap;
use std::ops::Range;

use lb_common::abi::{
    Address, PLACES_PER_WORD, PortRanges, PortRangesKey, Service, ServiceId, ServicePortKey, filter_bit,
};

use crate::tables::{Installed, TableOp, Wanted, consistent, plan};

/// Independent of `plan`, so that it cannot agree with it by mistake.
pub(super) fn holds_exactly(installed: &Installed, wanted: &Wanted) {
    assert_eq!(installed.settings, wanted.settings);
    assert_eq!(installed.filter, wanted.filter);
    assert_eq!(installed.service_ports, wanted.service_ports);
    assert_eq!(installed.port_ranges, wanted.port_ranges);
    assert_eq!(installed.servers, wanted.servers);
    assert_eq!(installed.services.len(), wanted.services.len());
    for (id, entry) in &installed.services {
        assert_eq!(Service { ring_base: 0, turns_base: 0, ..*entry }, wanted.services[id]);
        let schedule = &wanted.schedules[id];
        assert!(installed.places(entry.ring_base, entry.ring_size).eq(schedule.ring.iter().copied()));
        assert!(installed.places(entry.turns_base, entry.turns_size).eq(schedule.turns.iter().copied()));
    }
    assert_eq!(plan(installed, wanted), Ok(vec![]), "planning again gives nothing");
}

pub(super) fn every_prefix_is_safe(before: &Installed, wanted: &Wanted, ops: &[TableOp]) {
    let mut tables = before.clone();
    let kept: Vec<_> = sockets(before).into_iter().filter(|socket| wanted_service(wanted, *socket).is_some()).collect();
    for (at, op) in ops.iter().enumerate() {
        writes_only_free_places(before, &tables, op);
        filter_opens_late_and_closes_late(&tables, wanted, op);
        tables.apply(op);

        assert_eq!(consistent(&tables), Ok(()), "after operation {at} of {ops:#?}");
        for socket in &kept {
            let now = service_of(&tables.service_ports, &tables.port_ranges, *socket);
            let allowed =
                [service_of(&before.service_ports, &before.port_ranges, *socket), wanted_service(wanted, *socket)];
            assert!(now.is_some() && allowed.contains(&now), "{socket:?} leads to {now:?} after operation {at}");
        }
    }
}

/// Neither places in use now, nor those in use when the plan began.
fn writes_only_free_places(before: &Installed, now: &Installed, op: &TableOp) {
    let TableOp::WriteSchedule { first_word, words } = op else { return };
    let written = *first_word..first_word + u32::try_from(words.len()).unwrap_or(u32::MAX);
    for extent in extents(before).chain(extents(now)) {
        assert!(written.end <= extent.start || extent.end <= written.start, "{written:?} overwrites {extent:?}");
    }
}

fn extents(tables: &Installed) -> impl Iterator<Item = Range<u32>> {
    let lists = tables.services.values().flat_map(|s| [(s.ring_base, s.ring_size), (s.turns_base, s.turns_size)]);
    lists
        .filter(|(_, size)| *size > 0)
        .map(|(base, size)| base / PLACES_PER_WORD..(base + size).div_ceil(PLACES_PER_WORD))
}

fn filter_opens_late_and_closes_late(tables: &Installed, wanted: &Wanted, op: &TableOp) {
    let TableOp::SetFilter { word, bits } = op else { return };
    let old = tables.filter.get(word).copied().unwrap_or(0);
    let has = |vip: &Address, bits: u64| filter_bit(vip).0 == *word && bits & filter_bit(vip).1 != 0;
    for (key, service) in wanted.service_ports.iter().filter(|(key, _)| has(&key.vip, bits & !old)) {
        assert_eq!(tables.service_ports.get(key), Some(service), "the filter opens before {key:?} is there");
    }
    for (key, ranges) in wanted.port_ranges.iter().filter(|(key, _)| has(&key.vip, bits & !old)) {
        assert_eq!(tables.port_ranges.get(key), Some(ranges), "the filter opens before {key:?} is there");
    }
    let mut vips = tables.service_ports.keys().map(|key| key.vip).chain(tables.port_ranges.keys().map(|key| key.vip));
    assert!(!vips.any(|vip| has(&vip, old & !bits)), "the filter closes before the ports are gone");
}

type Socket = (Address, u8, u16);

/// Every port that leads somewhere: single ones, and both ends of ranges.
fn sockets(tables: &Installed) -> Vec<Socket> {
    let single = tables.service_ports.keys().map(|key| (key.vip, key.protocol, key.port));
    let ranges = tables.port_ranges.iter().flat_map(|(key, entry)| {
        let ends = entry.ranges[..entry.count as usize].iter().flat_map(|range| [range.first, range.last]);
        ends.map(|port| (key.vip, key.protocol, port))
    });
    single.chain(ranges).collect()
}

fn wanted_service(wanted: &Wanted, socket: Socket) -> Option<ServiceId> {
    service_of(&wanted.service_ports, &wanted.port_ranges, socket)
}

/// As the datapath looks it up: the single port first, then the ranges.
fn service_of(
    single: &BTreeMap<ServicePortKey, ServiceId>,
    ranges: &BTreeMap<PortRangesKey, PortRanges>,
    (vip, protocol, port): Socket,
) -> Option<ServiceId> {
    let exact = single.get(&ServicePortKey { vip, port, protocol, spare: 0 }).copied();
    exact.or_else(|| {
        let entry = ranges.get(&PortRangesKey { vip, protocol, spare8: 0, spare16: 0 })?;
        let range = entry.ranges[..entry.count as usize].iter().find(|r| (r.first..=r.last).contains(&port))?;
        Some(range.service)
    })
}
