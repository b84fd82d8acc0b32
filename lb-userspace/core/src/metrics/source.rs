//! What the samples are taken from: the gathered state, so that each series has one place.
//!
//! In: overview, health checks, extra. Out: the same without repetitions, each real server with its
//! check. Absent: text.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::SocketAddr;

use super::extra::Extra;
use crate::view::{Check, Counter, HealthList, Interface, RealServer, Status, Table, VirtualService};

/// What the samples are taken from.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) status: &'a Status,
    pub(super) health: &'a HealthList,
    pub(super) extra: &'a Extra,
    pub(super) counters: Vec<&'a Counter>,
    pub(super) tables: Vec<&'a Table>,
    pub(super) interfaces: Vec<&'a Interface>,
    pub(super) services: Vec<&'a VirtualService>,
    /// Of all services, in their order.
    pub(super) servers: Vec<Server<'a>>,
}

/// A real server of a virtual service.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) service: &'a str,
    /// With its port, where it has one of its own: it may differ between two servers of one name, of
    /// which one is leaving.
    pub(super) address: String,
    pub(super) view: &'a RealServer,
    pub(super) counts: Counts,
    pub(super) check: Option<&'a Check>,
}

/// What was counted for one real server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) flows: u64,
    pub(super) persistent_clients: u64,
    pub(super) reply_packets: u64,
    pub(super) reply_bytes: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(status: &'a Status, health: &'a HealthList, extra: &'a Extra) -> Self {
        let checks = Checks::new(health);
        let services = first_of_each(&status.virtual_services, |service| service.name.as_str());
        let servers = services.iter().flat_map(|service| servers(service, &checks)).collect();
        Self {
            status,
            health,
            extra,
            counters: first_of_each(&status.counters, |counter| (counter.reason.as_str(), counter.action)),
            tables: first_of_each(&status.tables, |table| table.name.as_str()),
            interfaces: first_of_each(&status.interfaces, |interface| interface.device.as_str()),
            services,
            servers,
        }
    }
}

/// Names are unique where they come from. One that is not would cost the whole text, so this does
/// not rely on it.
fn first_of_each<'a, T, K: Eq + Hash>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let mut seen = HashSet::new();
    items.iter().filter(|item| seen.insert(key(item))).collect()
}

/// The real servers of a service. One that was taken out and put back while its flows go on may be
/// there twice: it is one series, which tells the state of the one that stays and the counts of both.
fn servers<'a>(service: &'a VirtualService, checks: &Checks<'a>) -> Vec<Server<'a>> {
    let mut servers: Vec<Server<'a>> = Vec::new();
    let mut places: HashMap<(&str, String), usize> = HashMap::new();
    for view in &service.real_servers {
        let address =
            view.port.map_or_else(|| view.address.to_string(), |port| SocketAddr::new(view.address, port).to_string());
        let place = *places.entry((view.name.as_str(), address.clone())).or_insert(servers.len());
        let check = checks.of(&service.name, view);
        match servers.get_mut(place) {
            Some(known) => {
                known.counts = known.counts.and(Counts::of(view));
                if known.view.leaving && !view.leaving {
                    (known.view, known.check) = (view, check);
                }
            }
            None => servers.push(Server { service: &service.name, address, view, counts: Counts::of(view), check }),
        }
    }
    servers
}

impl Counts {
    fn of(server: &RealServer) -> Self {
        let RealServer { connections, packets, bytes, flows, persistent_clients, .. } = *server;
        let RealServer { reply_packets, reply_bytes, .. } = *server;
        Self { connections, packets, bytes, flows, persistent_clients, reply_packets, reply_bytes }
    }

    fn and(self, other: Self) -> Self {
        Self {
            connections: self.connections.saturating_add(other.connections),
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
            flows: self.flows.saturating_add(other.flows),
            persistent_clients: self.persistent_clients.saturating_add(other.persistent_clients),
            reply_packets: self.reply_packets.saturating_add(other.reply_packets),
            reply_bytes: self.reply_bytes.saturating_add(other.reply_bytes),
        }
    }
}

/// Health checks by the real server that they are about, `SERVICE/SERVER`.
struct Checks<'a>(HashMap<String, &'a Check>);

impl<'a> Checks<'a> {
    fn new(health: &'a HealthList) -> Self {
        let mut checks = HashMap::new();
        for check in &health.checks {
            checks.insert(key(&check.service, &check.server), check);
        }
        // Where a check answers for others that are not listed themselves.
        for check in &health.checks {
            for other in &check.shared_with {
                checks.entry(other.clone()).or_insert(check);
            }
        }
        Self(checks)
    }

    /// The check belongs to the server that stays, not to one of its name that is leaving.
    fn of(&self, service: &str, server: &RealServer) -> Option<&'a Check> {
        let check = self.0.get(&key(service, &server.name)).copied()?;
        (!server.leaving && check.address == server.address).then_some(check)
    }
}

fn key(service: &str, server: &str) -> String {
    format!("{service}/{server}")
}
