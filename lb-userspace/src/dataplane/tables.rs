//! The tables of the datapath: operations are written, content and counters are read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use lb_common::abi::{
    ABI_VERSION, Address, Admission, Flow, FlowKey, MAX_SERVERS, MAX_SERVICES, MAX_SOURCES, Opened, PLACES_PER_WORD,
    Persistence, PersistenceKey, Plain, PortRanges, PortRangesKey, Reply, SCHEDULE_PLACES, Server, ServerCounters,
    ServerId, Service, ServiceId, ServicePortKey, Settings, VIP_FILTER_WORDS, VerdictCounters,
};
use lb_common::datapath::Reason;
use lb_core::tables::{Installed, TableOp};

use super::source_ports::SourcePorts;
use super::{Error, Table};

/// Handles on the pinned tables.
pub struct Tables {
    settings: Table<u32, Settings>,
    vip_filter: Table<u32, u64>,
    service_ports: Table<ServicePortKey, u32>,
    port_ranges: Table<PortRangesKey, PortRanges>,
    services: Table<u32, Service>,
    servers: Table<u32, Server>,
    schedule: Table<u32, u64>,
    pub(super) opened: Table<u32, Opened>,
    pub(super) closed: Table<u32, u64>,
    server_counters: Table<u32, ServerCounters>,
    verdicts: Table<u32, VerdictCounters>,
    reply_filter: Table<u32, u64>,
    sources: Table<u32, Address>,
    admission: Table<u32, Admission>,
    pub(super) source_ports: SourcePorts,
    pub(super) replies: Table<FlowKey, Reply>,
    pub(super) flows: Table<FlowKey, Flow>,
    pub(super) pending_flows: Table<FlowKey, Flow>,
    pub(super) persistence: Table<PersistenceKey, Persistence>,
    pub(super) new_clients: Table<PersistenceKey, Persistence>,
}

impl Tables {
    /// Opens the tables that [`super::Program::load`] pinned.
    ///
    /// # Errors
    /// When one is missing or of another layout.
    pub fn open(pins: &Path) -> Result<Self, Error> {
        Ok(Self {
            settings: Table::open(pins, "settings")?,
            vip_filter: Table::open(pins, "vip_filter")?,
            service_ports: Table::open(pins, "service_ports")?,
            port_ranges: Table::open(pins, "port_ranges")?,
            services: Table::open(pins, "services")?,
            servers: Table::open(pins, "servers")?,
            schedule: Table::open(pins, "schedule")?,
            opened: Table::open(pins, "opened")?,
            closed: Table::open(pins, "closed")?,
            server_counters: Table::open(pins, "server_counters")?,
            verdicts: Table::open(pins, "verdicts")?,
            reply_filter: Table::open(pins, "reply_filter")?,
            sources: Table::open(pins, "sources")?,
            admission: Table::open(pins, "admission")?,
            source_ports: SourcePorts::new(&Table::open(pins, "source_ports")?)?,
            replies: Table::open(pins, "replies")?,
            flows: Table::open(pins, "flows")?,
            pending_flows: Table::open(pins, "pending_flows")?,
            persistence: Table::open(pins, "persistence")?,
            new_clients: Table::open(pins, "new_clients")?,
        })
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// When the kernel refuses; then the table is as it was.
    pub fn write(&self, operation: &TableOp) -> Result<(), Error> {
        match operation {
            TableOp::SetSettings(settings) => {
                self.settings.set(&0, &Settings { abi_version: ABI_VERSION, ..*settings })
            }
            TableOp::SetServer { id, entry } => self.servers.set(id, entry),
            TableOp::WriteSchedule { first_word, words } => {
                let keys: Vec<u32> = (*first_word..).take(words.len()).collect();
                self.schedule.set_many(&keys, words)
            }
            TableOp::SetService { id, entry } => self.services.set(id, entry),
            TableOp::SetServicePort { key, service } => self.service_ports.set(key, service),
            TableOp::RemoveServicePort { key } => self.service_ports.remove(key).map(|_| ()),
            TableOp::SetPortRanges { key, ranges } => self.port_ranges.set(key, ranges),
            TableOp::RemovePortRanges { key } => self.port_ranges.remove(key).map(|_| ()),
            TableOp::SetSource { number, address } => self.sources.set(number, address),
            TableOp::SetReplyFilter { word, bits } => self.reply_filter.set(word, bits),
            TableOp::SetFilter { word, bits } => self.vip_filter.set(word, bits),
        }
    }

    /// What the tables hold: nothing on a machine that has just started, else what an earlier
    /// daemon left.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn installed(&self) -> Result<Installed, Error> {
        let services = elements(&self.services, MAX_SERVICES)?;
        let mut installed = Installed {
            settings: self.settings.get(&0)?.unwrap_or_default(),
            filter: elements(&self.vip_filter, VIP_FILTER_WORDS)?,
            reply_filter: elements(&self.reply_filter, VIP_FILTER_WORDS)?,
            sources: elements(&self.sources, MAX_SOURCES)?,
            service_ports: entries(&self.service_ports)?,
            port_ranges: entries(&self.port_ranges)?,
            services,
            servers: elements(&self.servers, MAX_SERVERS)?,
            schedule: Vec::new(),
        };
        // Only what services point at: reading a million words takes a quarter of a second.
        for words in scheduled(&installed.services) {
            let (first, end) = (words.start as usize, words.end as usize);
            installed.schedule.resize(end, 0);
            for (word, read) in installed.schedule[first..].iter_mut().zip(self.schedule.places(words)?) {
                *word = read;
            }
        }
        Ok(installed)
    }

    /// Traffic to one server, over all CPUs.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn server_counters(&self, server: ServerId) -> Result<ServerCounters, Error> {
        let all = self.server_counters.get_all(&server)?.unwrap_or_default();
        Ok(all.iter().fold(ServerCounters::default(), |sum, cpu| ServerCounters {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
            flows: sum.flows + cpu.flows,
            reply_packets: sum.reply_packets + cpu.reply_packets,
            reply_bytes: sum.reply_bytes + cpu.reply_bytes,
        }))
    }

    /// New flows of a service beyond its limit, over all CPUs; those of number 0 are beyond the limit of
    /// all services together.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn beyond_limit(&self, service: ServiceId) -> Result<u64, Error> {
        let all = self.admission.get_all(&service)?.unwrap_or_default();
        Ok(all.iter().map(|cpu| cpu.beyond).sum())
    }

    /// Live connections of one server as the scheduler sees them.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn connections(&self, server: ServerId) -> Result<u64, Error> {
        let opened = self.opened.get(&server)?.unwrap_or_default().flows;
        Ok(opened.saturating_sub(self.closed.get(&server)?.unwrap_or(0)))
    }

    /// Frames by verdict, over all CPUs, in the order of the reasons.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn verdicts(&self) -> Result<Vec<(Reason, VerdictCounters)>, Error> {
        let sum = |reason: &Reason| {
            let all = self.verdicts.get_all(&u32::from(*reason as u8))?.unwrap_or_default();
            let add = |sum: VerdictCounters, cpu: &VerdictCounters| VerdictCounters {
                packets: sum.packets + cpu.packets,
                bytes: sum.bytes + cpu.bytes,
            };
            Ok((*reason, all.iter().fold(VerdictCounters::default(), add)))
        };
        Reason::ALL.iter().map(sum).collect()
    }

    /// Walks over the flows; pending ones are in the second half.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn for_each_flow(&self, mut visit: impl FnMut(&FlowKey, &Flow)) -> Result<(), Error> {
        for table in [&self.flows, &self.pending_flows] {
            table.walk(|keys, flows| {
                keys.iter().zip(flows).for_each(|(key, flow)| visit(key, flow));
                true
            })?;
        }
        Ok(())
    }

    /// Walks over the persistence records, with whether the client has answered.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn for_each_client(&self, mut visit: impl FnMut(&PersistenceKey, &Persistence, bool)) -> Result<(), Error> {
        for (table, confirmed) in [(&self.persistence, true), (&self.new_clients, false)] {
            table.walk(|keys, records| {
                keys.iter().zip(records).for_each(|(key, record)| visit(key, record, confirmed));
                true
            })?;
        }
        Ok(())
    }

    /// Forgets persistence records. Returns how many there were.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn forget_clients(&self, keys: &[PersistenceKey]) -> Result<usize, Error> {
        let confirmed = self.persistence.remove_many(keys)?;
        Ok(confirmed + self.new_clients.remove_many(keys)?)
    }

    /// Name and capacity of the tables that fill up.
    #[must_use]
    pub fn capacities(&self) -> [(&'static str, u32); 5] {
        [
            ("flows", self.flows.capacity()),
            ("pending_flows", self.pending_flows.capacity()),
            ("persistence", self.persistence.capacity()),
            ("new_clients", self.new_clients.capacity()),
            ("replies", self.replies.capacity()),
        ]
    }
}

/// The words of the schedule that services point at, in order, without overlap. Entries that this daemon
/// did not write may point anywhere.
fn scheduled(services: &BTreeMap<u32, Service>) -> Vec<Range<u32>> {
    const TABLE: u32 = SCHEDULE_PLACES / PLACES_PER_WORD;
    let lists = services.values().flat_map(|s| [(s.ring_base, s.ring_size), (s.turns_base, s.turns_size)]);
    let words = lists.map(|(base, size)| {
        let end = base.saturating_add(size).div_ceil(PLACES_PER_WORD).min(TABLE);
        (base / PLACES_PER_WORD).min(end)..end
    });
    let mut words: Vec<Range<u32>> = words.filter(|words| !words.is_empty()).collect();
    words.sort_by_key(|words| words.start);
    let mut apart: Vec<Range<u32>> = Vec::new();
    for next in words {
        match apart.last_mut() {
            Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
            _ => apart.push(next),
        }
    }
    apart
}

fn entries<K: Plain + Default + Ord, V: Plain + Default>(table: &Table<K, V>) -> Result<BTreeMap<K, V>, Error> {
    let mut all = BTreeMap::new();
    table.walk(|keys, values| {
        all.extend(keys.iter().copied().zip(values.iter().copied()));
        true
    })?;
    Ok(all)
}

/// The places of an array that are not all zero.
fn elements<V: Plain + Default + PartialEq>(table: &Table<u32, V>, size: u32) -> Result<BTreeMap<u32, V>, Error> {
    let zero = V::default();
    let mut all = BTreeMap::new();
    table.walk(|keys, values| {
        all.extend(keys.iter().copied().zip(values.iter().copied()).filter(|(_, value)| *value != zero));
        true
    })?;
    debug_assert!(all.keys().all(|key| *key < size));
    Ok(all)
}
