//! Numbers of the tables that an earlier daemon left behind.
//!
//! In: the tables, and the names that were written down for their numbers. Out: [`Ids`] that go on
//! from there. Absent: where the names were kept.

use std::collections::BTreeMap;

use lb_common::abi::{Address, Server, ServerId, ServerState, ServiceId};

use super::ids::{AdoptedServer, AdoptedService, Ids, IdsError, ServerIdentity};
use super::installed::Installed;
use super::translation::{POOLS_PER_KEY, PoolKey};

impl Ids {
    /// Goes on with the numbers in the tables. `services` and `servers` are what
    /// [`Ids::services`] and [`Ids::servers`] gave the last time. They may be out of date or lost:
    /// a number whose name is not known, or whose entry is about another server than the name, is
    /// reserved until [`Ids::settle`], and its name gets a new one.
    ///
    /// # Errors
    ///
    /// The tables have numbers out of range.
    pub fn adopt_tables(
        installed: &Installed,
        services: &BTreeMap<String, ServiceId>,
        servers: &BTreeMap<ServerIdentity, ServerId>,
    ) -> Result<Self, IdsError> {
        let service_names: BTreeMap<ServiceId, &String> = services.iter().map(|(name, id)| (*id, name)).collect();
        let server_names: BTreeMap<ServerId, &ServerIdentity> = servers.iter().map(|(name, id)| (*id, name)).collect();
        let is = |identity: &ServerIdentity, entry: &Server| {
            services.get(&identity.service) == Some(&entry.service)
                && installed.services.contains_key(&entry.service)
                && Address::from(identity.address) == entry.address
                && identity.port.unwrap_or(0) == entry.port
        };
        let services = installed.services.keys().map(|id| {
            let name = service_names.get(id).map(|name| (*name).clone());
            AdoptedService { id: *id, name }
        });
        let servers = installed.servers.iter().map(|(id, entry)| {
            let identity = server_names.get(id).filter(|identity| is(identity, entry));
            let alive = ServerState::from_u8(entry.state) != ServerState::Down;
            AdoptedServer {
                id: *id,
                generation: entry.generation,
                alive,
                mode: entry.mode,
                identity: identity.map(|identity| (*identity).clone()),
            }
        });
        let mut ids = Self::adopt(services, servers)?;
        let pool = |entry: &Server| {
            let source = *installed.sources.get(&entry.source)?;
            (entry.pool >= POOLS_PER_KEY)
                .then_some((entry.pool / POOLS_PER_KEY, PoolKey { source, server: entry.address, port: entry.port }))
        };
        let sources = installed.sources.iter().map(|(number, address)| (*number, *address));
        ids.adopt_sources(sources, installed.servers.values().filter_map(pool))?;
        Ok(ids)
    }
}

#[cfg(test)]
mod tests;
