//! The servers of one virtual service: their entries, and who of them takes new flows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::abi::{Address, Server, ServerId, ServerState, ServiceId};

use super::ids::{Ids, IdsError, ServerIdentity};
use super::translation::translate;
use super::wanted::{Admin, Health, ServerInput, ServerKey, schedulable};
use crate::config::model::{Fallback, RealServer, VirtualService};
use crate::schedule::{Member, place_key};

/// Name of the server entry that a fallback server gets. Its [`ServerInput`] is found under this
/// name, too: a fallback server that is not checked must be said to be up.
pub const FALLBACK: &str = "fallback";

/// When a server is asked, the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Regular,
    Backup,
    Fallback,
}

/// Everybody who answers for a service: the real servers in the order of the configuration, then
/// the fallback server.
pub(super) fn identities(service: &VirtualService) -> impl Iterator<Item = ServerIdentity> {
    let identity = |server: &str, address, port| ServerIdentity {
        service: service.name.clone(),
        server: server.to_owned(),
        address,
        port,
    };
    let real_servers = service.real_servers.iter().map(move |real| identity(&real.name, real.address, real.port));
    real_servers.chain(fallback(service).map(move |(address, port)| identity(FALLBACK, address, port)))
}

/// Numbers and entries of everybody who answers for one service.
pub(super) struct Roster {
    entries: Vec<Entry>,
}

struct Entry {
    role: Role,
    key: ServerKey,
    id: ServerId,
    server: Server,
    full: bool,
}

impl Roster {
    pub(super) fn new(
        id: ServiceId,
        service: &VirtualService,
        states: &BTreeMap<ServerKey, ServerInput>,
        ids: &mut Ids,
    ) -> Result<Self, IdsError> {
        let mut entries = Vec::new();
        let mut real_servers = service.real_servers.iter();
        for identity in identities(service) {
            let number = ids.server(&identity)?;
            let key = ServerKey { service: identity.service, server: identity.server };
            let input = states.get(&key).copied().unwrap_or_default();
            let (role, mut entry) = match real_servers.next() {
                Some(real) => (if real.backup { Role::Backup } else { Role::Regular }, real_server(real, &input)),
                None => (Role::Fallback, Server { weight: 1, ..Server::default() }),
            };
            entry.service = id;
            entry.address = Address::from(identity.address);
            entry.port = identity.port.unwrap_or(0);
            deliver(&mut entry, &input);
            translate(&mut entry, service, &input, ids)?;
            let state = state(&input);
            entry.state = state as u8;
            entry.generation = ids.generation(number, state != ServerState::Down, entry.mode);
            entries.push(Entry { role, key, id: number, server: entry, full: input.full });
        }
        Ok(Self { entries })
    }

    /// The servers that take new flows, and those that are not asked because somebody before them
    /// can: the regular ones come first; if none of them can, the backups; then the fallback. A full
    /// server counts as one that cannot, unless everybody is full: then the datapath refuses, and
    /// counts that.
    pub(super) fn on_and_off_duty(&self) -> (Vec<Member>, Vec<ServerId>) {
        let able = |entry: &&Entry| schedulable(&entry.server);
        let with_room = self.entries.iter().filter(|entry| able(entry) && !entry.full);
        let first = with_room.map(|entry| (entry.role, false)).min_by_key(|(role, _)| *role);
        let any = || self.entries.iter().filter(able).map(|entry| (entry.role, true)).min_by_key(|(role, _)| *role);
        let Some((role, full)) = first.or_else(any) else { return (Vec::new(), Vec::new()) };
        let on_duty = self.entries.iter().filter(able).filter(|entry| entry.role == role && (full || !entry.full));
        let members =
            on_duty.map(|entry| Member { server: entry.id, key: key(&entry.server), weight: entry.server.weight });
        let off_duty = self.entries.iter().filter(|entry| entry.role > role).map(|entry| entry.id);
        (members.collect(), off_duty.collect())
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (ServerKey, ServerId, Server)> {
        self.entries.into_iter().map(|entry| (entry.key, entry.id, entry.server))
    }
}

fn fallback(service: &VirtualService) -> Option<(IpAddr, Option<u16>)> {
    match &service.fallback {
        Some(Fallback::Server { address, port }) => Some((*address, *port)),
        Some(Fallback::Page(_) | Fallback::Redirect(_)) | None => None,
    }
}

fn real_server(real: &RealServer, input: &ServerInput) -> Server {
    Server {
        weight: input.weight.unwrap_or(real.weight).into(),
        max_connections: real.max_connections,
        min_connections: real.min_connections,
        ..Server::default()
    }
}

pub(super) fn deliver(entry: &mut Server, input: &ServerInput) {
    let Some(hop) = input.next_hop else { return };
    entry.ifindex = hop.ifindex;
    entry.source_mac = hop.source_mac;
    entry.destination_mac = hop.destination_mac;
    entry.outer_vlan = hop.outer_vlan;
    entry.inner_vlan = hop.inner_vlan;
}

fn state(input: &ServerInput) -> ServerState {
    match (input.admin, input.health) {
        (Admin::Halted, _) | (Admin::Online | Admin::Drained, Health::Down | Health::Checking) => ServerState::Down,
        (Admin::Online, Health::Up) => ServerState::Active,
        (Admin::Drained, Health::Up) => ServerState::Draining,
    }
}

/// The place on the ring goes by address and port: services with the same real servers send a
/// client to the same one (source hash), and a pair of units agrees whatever its numbers are.
fn key(entry: &Server) -> u64 {
    place_key(entry.address, entry.port)
}
