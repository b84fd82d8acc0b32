//! Names of the numbers in flows, and what else a row of a listing says: a copy, so that a listing can be
//! made beside the machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::abi::{Address, Flow, FlowKey, Server, ServerId, ServiceId, ServiceMode, Ticks};

use crate::control::Control;
use crate::tables::expiry::{TickTimeouts, elapsed};

/// Who the numbers are, and what time it is.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Names of virtual services.
    pub services: BTreeMap<ServiceId, String>,
    /// Real servers, those included that leave.
    pub servers: BTreeMap<ServerId, Named>,
    /// Source addresses of `l4-snat`, by number.
    pub sources: BTreeMap<u32, Address>,
    /// Idle times after which flows are forgotten.
    pub timeouts: TickTimeouts,
    /// Length of a tick.
    pub tick: Duration,
    /// The time.
    pub now: Ticks,
}

/// A real server.
#[derive(Clone, Debug)]
pub struct Named {
    /// As configured.
    pub name: String,
    /// Its entry in the table.
    pub entry: Server,
}

impl Directory {
    /// Everybody whom the machine knows.
    #[must_use]
    pub fn of(control: &Control, now: Ticks) -> Self {
        let (wanted, installed) = (control.wanted(), control.installed());
        let staying = wanted.server_numbers.iter().map(|(key, id)| (*id, &key.server));
        let leaving = wanted.leaving.iter().map(|(identity, id)| (*id, &identity.server));
        let named = |(id, name): (ServerId, &String)| {
            (id, Named { name: name.clone(), entry: installed.servers.get(&id).copied().unwrap_or_default() })
        };
        Self {
            services: wanted.service_numbers.iter().map(|(name, id)| (*id, name.clone())).collect(),
            servers: staying.chain(leaving).map(named).collect(),
            sources: installed.sources.clone(),
            timeouts: TickTimeouts::from(&control.config().node.flow_timeouts, control.tick()),
            tick: control.tick(),
            now,
        }
    }

    /// The name of a service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> String {
        self.services.get(&id).cloned().unwrap_or_else(|| format!("(removed service {id})"))
    }

    /// The name of a real server.
    #[must_use]
    pub fn server(&self, id: ServerId) -> String {
        self.servers.get(&id).map_or_else(|| format!("(removed server {id})"), |server| server.name.clone())
    }

    /// Whole seconds.
    #[must_use]
    pub fn seconds(&self, ticks: Ticks) -> u64 {
        (self.tick * ticks).as_secs()
    }

    /// Until a flow is forgotten, if it stays idle.
    pub(super) fn expires(&self, key: &FlowKey, flow: &Flow) -> Ticks {
        self.timeouts.of(key, flow).saturating_sub(elapsed(flow.last_seen, self.now))
    }

    /// Source and destination that the real server sees, where they are not those of the client's packets.
    pub(super) fn translation(&self, key: &FlowKey, flow: &Flow) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let Some(Named { entry, .. }) = self.servers.get(&flow.server) else { return (None, None) };
        let at = |address: Address, port| SocketAddr::new(IpAddr::from(address), port);
        let source = match ServiceMode::from_u8(entry.mode) {
            ServiceMode::DirectRouting | ServiceMode::None => return (None, None),
            ServiceMode::Nat => Some(at(key.client, key.client_port)),
            ServiceMode::SourceNat => self.sources.get(&flow.source).map(|source| at(*source, flow.source_port)),
        };
        let port = if entry.port == 0 { key.vip_port } else { entry.port };
        (source, Some(at(entry.address, port)))
    }

    pub(super) fn services_called(&self, name: &str) -> Numbers {
        Numbers::new(self.services.iter().filter(|(_, service)| *service == name).map(|(id, _)| *id))
    }

    pub(super) fn servers_called(&self, name: &str) -> Numbers {
        Numbers::new(self.servers.iter().filter(|(_, server)| server.name == name).map(|(id, _)| *id))
    }

    pub(super) fn service_ranks(&self) -> Ranks {
        Ranks::new(self.services.iter().map(|(id, name)| (*id, name.as_str())).collect())
    }

    pub(super) fn server_ranks(&self) -> Ranks {
        Ranks::new(self.servers.iter().map(|(id, server)| (*id, server.name.as_str())).collect())
    }
}

/// A set of small numbers, for a question a million times.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Vec<bool>);

impl Numbers {
    fn new(numbers: impl Iterator<Item = u32>) -> Self {
        let mut set = Vec::new();
        for number in numbers {
            put(&mut set, number, true, false);
        }
        Self(set)
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize).copied().unwrap_or(false)
    }
}

/// The places of numbers in the order of their names; those without a name come last. The same name is
/// the same place.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks(Vec<u32>);

impl Ranks {
    fn new(mut named: Vec<(u32, &str)>) -> Self {
        named.sort_unstable_by_key(|(_, name)| *name);
        let mut ranks = Vec::new();
        let (mut rank, mut before) = (0, None);
        for (number, name) in named {
            rank += u32::from(before.is_some_and(|before| before != name));
            before = Some(name);
            put(&mut ranks, number, rank, u32::MAX);
        }
        Self(ranks)
    }

    pub(super) fn of(&self, number: u32) -> u32 {
        self.0.get(number as usize).copied().unwrap_or(u32::MAX)
    }
}

/// Numbers are below the sizes of the tables, so the list stays small. `unset` stands where nothing was put.
fn put<T: Copy>(list: &mut Vec<T>, number: u32, value: T, unset: T) {
    let at = number as usize;
    if list.len() <= at {
        list.resize(at + 1, unset);
    }
    if let Some(place) = list.get_mut(at) {
        *place = value;
    }
}
