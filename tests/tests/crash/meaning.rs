//! What tables mean, whatever numbers they go by and wherever their schedules lie.
//!
//! In: what the kernel tables hold. Out: a value that is the same for tables that forward the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use lb_common::abi::{Address, PortRangesKey, Server, Service, ServiceId, ServicePortKey, Settings};
use lb_core::tables::Installed;

/// A port, or a range of them, of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    One(ServicePortKey),
    Range(PortRangesKey, u16, u16),
}

/// A virtual service without its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meant {
    /// Without the places of its schedule.
    entry: Service,
    /// By address and port, without numbers and generations.
    servers: BTreeMap<(Address, u16), Server>,
    /// Which of the servers is at each place.
    ring: Vec<usize>,
    turns: Vec<usize>,
}

/// What tables mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meaning {
    settings: Settings,
    filter: BTreeMap<u32, u64>,
    services: BTreeMap<BTreeSet<Port>, Meant>,
    /// Entries of servers that belong to no service and are not empty.
    strays: Vec<Server>,
}

impl Meaning {
    /// Of these tables, which are consistent.
    pub(crate) fn of(tables: &Installed) -> Self {
        let mut ports: BTreeMap<ServiceId, BTreeSet<Port>> =
            tables.services.keys().map(|service| (*service, BTreeSet::new())).collect();
        for (key, service) in &tables.service_ports {
            ports.entry(*service).or_default().insert(Port::One(*key));
        }
        for (key, ranges) in &tables.port_ranges {
            for range in &ranges.ranges[..ranges.count as usize] {
                ports.entry(range.service).or_default().insert(Port::Range(*key, range.first, range.last));
            }
        }
        let is_stray = |server: &&Server| {
            let retired = Server { generation: server.generation, ..Server::default() };
            **server != retired && !tables.services.contains_key(&server.service)
        };
        Self {
            settings: tables.settings,
            filter: tables.filter.clone(),
            services: ports.into_iter().map(|(service, ports)| (ports, meant(tables, service))).collect(),
            strays: tables.servers.values().filter(is_stray).copied().collect(),
        }
    }

    /// Nothing when both mean the same.
    pub(crate) fn ensure_is(&self, wanted: &Self) -> Result<()> {
        let only = |of: &Self, other: &Self| -> Vec<BTreeSet<Port>> {
            of.services.keys().filter(|ports| !other.services.contains_key(*ports)).cloned().collect()
        };
        let (missing, left) = (only(wanted, self), only(self, wanted));
        if !missing.is_empty() || !left.is_empty() {
            bail!("services of these ports are missing: {missing:?}; these should not be there: {left:?}");
        }
        for (ports, service) in &wanted.services {
            let Some(found) = self.services.get(ports).filter(|found| *found != service) else { continue };
            bail!("the service of {ports:?} is {}, and should be {}", found.in_short(), service.in_short());
        }
        if self != wanted {
            let short = |of: &Self| format!("{:?}, filter {:?}, strays {:?}", of.settings, of.filter, of.strays);
            bail!("the tables have {}, and should have {}", short(self), short(wanted));
        }
        Ok(())
    }
}

impl Meant {
    fn in_short(&self) -> String {
        let count = |list: &[usize]| {
            let mut count = BTreeMap::<usize, usize>::new();
            list.iter().for_each(|server| *count.entry(*server).or_default() += 1);
            format!("{count:?} in {} places", list.len())
        };
        format!("{:?} with {:?}, ring {}, turns {}", self.entry, self.servers, count(&self.ring), count(&self.turns))
    }
}

fn meant(tables: &Installed, id: ServiceId) -> Meant {
    let entry = tables.services.get(&id).copied().unwrap_or_default();
    let key = |server: &Server| (server.address, server.port);
    let own = tables.servers.iter().filter(|(_, server)| server.service == id);
    let servers: BTreeMap<_, _> =
        own.map(|(_, server)| (key(server), Server { generation: 0, service: 0, ..*server })).collect();
    let at: BTreeMap<_, _> = servers.keys().enumerate().map(|(at, key)| (*key, at)).collect();
    let list = |base, size| {
        let servers = tables.places(base, size).map(|number| tables.servers.get(&number).map(key));
        servers.map(|key| key.and_then(|key| at.get(&key).copied()).unwrap_or(usize::MAX)).collect()
    };
    Meant {
        entry: Service { ring_base: 0, turns_base: 0, ..entry },
        ring: list(entry.ring_base, entry.ring_size),
        turns: list(entry.turns_base, entry.turns_size),
        servers,
    }
}
