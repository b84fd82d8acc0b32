//! Numbers of virtual services and real servers, which flows and persistence records carry.
//!
//! In: names. Out: numbers that stay for as long as the name does, and each server number's
//! generation. Absent: what the entries hold.
//!
//! A number that is given back is used again as late as possible, and never before
//! [`Ids::settle`] says that no table names it any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use lb_common::abi::{Address, MAX_POOLS, MAX_SERVERS, MAX_SERVICES, MAX_SOURCES, ServerId, ServiceId};
use thiserror::Error;

use super::translation::{POOLS_PER_KEY, PoolKey};

/// What makes a real server the same one. Anything else may change under its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ServerIdentity {
    /// Name of its virtual service.
    pub service: String,
    /// Its name.
    pub server: String,
    /// Its own address.
    pub address: IpAddr,
    /// Its port; `None`: the port the client used.
    pub port: Option<u16>,
}

/// A service found in the kernel tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedService {
    /// Its number.
    pub id: ServiceId,
    /// Its name; `None`: not known, so the number stays reserved until [`Ids::settle`].
    pub name: Option<String>,
}

/// A server entry found in the kernel tables, whatever its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedServer {
    /// Its number.
    pub id: ServerId,
    /// The generation of the entry.
    pub generation: u32,
    /// Whether its state is another than down, so that flows of this generation may exist.
    pub alive: bool,
    /// How they are delivered, a [`lb_common::abi::ServiceMode`].
    pub mode: u8,
    /// Whose it is; `None`: not known, so the number stays reserved until [`Ids::settle`].
    pub identity: Option<ServerIdentity>,
}

/// Why a number cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdsError {
    /// All numbers are in use, or not yet settled.
    #[error(
        "there is room for {limit} {things}, counting those that this change removes; \
         remove some first, then add the new ones"
    )]
    Full {
        /// "virtual services" or "real servers".
        things: &'static str,
        /// How many there can be.
        limit: u32,
    },
    /// A number outside the table.
    #[error("the kernel tables were left behind with {things} number {id}, but numbers go from 1 to {limit}")]
    OutOfRange {
        /// "virtual services" or "real servers".
        things: &'static str,
        /// The number.
        id: u32,
        /// The highest number.
        limit: u32,
    },
    /// A number, or a name, that is there twice.
    #[error("the list of {things} left behind by the last run has number {id}, or its name, twice")]
    Twice {
        /// "virtual services" or "real servers".
        things: &'static str,
        /// The number.
        id: u32,
    },
}

/// The numbers in use, and those that were.
///
/// Number 0 is never given: an entry that nobody has written is all zero, and so names nothing.
#[derive(Clone, Debug)]
pub struct Ids {
    services: Numbers<String>,
    servers: Numbers<ServerIdentity>,
    generations: BTreeMap<ServerId, Generation>,
    /// Source addresses of `l4-snat`. Flows may go on with one that nobody asks for any more, so a number
    /// is given to another address only when there are no fresh ones left.
    sources: Numbers<Address>,
    pools: Numbers<PoolKey>,
}

#[derive(Clone, Copy, Debug)]
struct Generation {
    current: u32,
    /// Whether flows of the current generation may exist.
    alive: bool,
    /// How they are delivered, a [`lb_common::abi::ServiceMode`]; 0: no flow was yet.
    mode: u8,
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

impl Ids {
    /// For empty kernel tables.
    #[must_use]
    pub fn new() -> Self {
        Self {
            services: Numbers::new("virtual services", MAX_SERVICES - 1),
            servers: Numbers::new("real servers", MAX_SERVERS - 1),
            generations: BTreeMap::new(),
            sources: Numbers::new("source addresses", MAX_SOURCES - 1),
            pools: Numbers::new("source addresses towards real servers", MAX_POOLS / POOLS_PER_KEY - 1),
        }
    }

    /// For kernel tables that an earlier daemon left behind. The lists name every service entry
    /// with a mode and every server entry that is not all zero; generations continue from there.
    /// [`Ids::adopt_tables`] makes these lists.
    ///
    /// # Errors
    ///
    /// A number out of range, or a number or name that is there twice.
    pub fn adopt(
        services: impl IntoIterator<Item = AdoptedService>,
        servers: impl IntoIterator<Item = AdoptedServer>,
    ) -> Result<Self, IdsError> {
        let mut ids = Self::new();
        let (mut service_ids, mut server_ids) = (BTreeSet::new(), BTreeSet::new());
        for AdoptedService { id, name } in services {
            ids.services.adopt(id, name, &mut service_ids)?;
        }
        for AdoptedServer { id, generation, alive, mode, identity } in servers {
            ids.servers.adopt(id, identity, &mut server_ids)?;
            ids.generations.insert(id, Generation { current: generation, alive, mode });
        }
        ids.services.free_all_but(&service_ids);
        ids.servers.free_all_but(&server_ids);
        ids.bump_leaving();
        Ok(ids)
    }

    /// The number of this service, a new one if it has none.
    ///
    /// # Errors
    ///
    /// [`IdsError::Full`].
    pub fn service(&mut self, name: &str) -> Result<ServiceId, IdsError> {
        match self.services.known.get(name) {
            Some(id) => Ok(*id),
            None => self.services.assign(name.to_owned()),
        }
    }

    /// The number of this server, a new one if it has none.
    ///
    /// # Errors
    ///
    /// [`IdsError::Full`].
    pub fn server(&mut self, identity: &ServerIdentity) -> Result<ServerId, IdsError> {
        match self.servers.known.get(identity) {
            Some(id) => Ok(*id),
            None => self.servers.assign(identity.clone()),
        }
    }

    /// The generation of a number, now that its server is alive (may have flows) or not, and is delivered
    /// to in this mode. It steps on whenever a server that was alive no longer is, or its mode is another.
    pub fn generation(&mut self, id: ServerId, alive: bool, mode: u8) -> u32 {
        let generation = self.generations.entry(id).or_insert(Generation { current: 1, alive: false, mode });
        if generation.alive && (!alive || generation.mode != mode) {
            generation.current = generation.current.wrapping_add(1);
        }
        generation.alive = alive;
        generation.mode = mode;
        generation.current
    }

    /// The number of this source address, a new one if it has none.
    ///
    /// # Errors
    ///
    /// [`IdsError::Full`].
    pub fn source(&mut self, address: Address) -> Result<u32, IdsError> {
        match self.sources.known.get(&address) {
            Some(number) => Ok(*number),
            None => self.sources.assign(address),
        }
    }

    /// The number of a pair of pools of source ports, a new one if it has none.
    ///
    /// # Errors
    ///
    /// [`IdsError::Full`].
    pub fn pool(&mut self, key: PoolKey) -> Result<u32, IdsError> {
        match self.pools.known.get(&key) {
            Some(number) => Ok(*number),
            None => self.pools.assign(key),
        }
    }

    /// Gives back the numbers of all source addresses and pools that are not among these.
    pub fn keep_sources(&mut self, sources: &BTreeSet<u32>, pools: &BTreeSet<u32>) {
        for number in self.sources.retain_numbers(sources) {
            self.sources.free.push_back(number);
        }
        for number in self.pools.retain_numbers(pools) {
            self.pools.free.push_back(number);
        }
    }

    /// Goes on with source addresses and pools that were found in the tables.
    ///
    /// # Errors
    ///
    /// A number out of range.
    pub fn adopt_sources(
        &mut self,
        sources: impl IntoIterator<Item = (u32, Address)>,
        pools: impl IntoIterator<Item = (u32, PoolKey)>,
    ) -> Result<(), IdsError> {
        let mut taken = BTreeSet::new();
        for (number, address) in sources {
            self.sources.adopt(number, Some(address), &mut taken)?;
        }
        self.sources.free_all_but(&taken);
        let mut taken = BTreeSet::new();
        for (number, key) in pools {
            // Servers of two services may share one.
            if !taken.contains(&number) && !self.pools.known.contains_key(&key) {
                self.pools.adopt(number, Some(key), &mut taken)?;
            }
        }
        self.pools.free_all_but(&taken);
        Ok(())
    }

    /// Source addresses with a number.
    pub fn sources(&self) -> impl Iterator<Item = (u32, Address)> {
        self.sources.known.iter().map(|(address, number)| (*number, *address))
    }

    /// Gives back the numbers of all services and servers that are not among these. Server
    /// numbers step to their next generation.
    pub fn keep(&mut self, services: &BTreeSet<&str>, servers: &BTreeSet<ServerIdentity>) {
        self.services.retain(|name| services.contains(name.as_str()));
        self.servers.retain(|identity| servers.contains(identity));
        self.bump_leaving();
    }

    /// Every table has been written: numbers given back so far are named nowhere, and may be
    /// used again.
    pub fn settle(&mut self) {
        self.services.settle();
        self.servers.settle();
    }

    /// Services with a number.
    pub fn services(&self) -> impl Iterator<Item = (&str, ServiceId)> {
        self.services.known.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// Servers with a number.
    pub fn servers(&self) -> impl Iterator<Item = (&ServerIdentity, ServerId)> {
        self.servers.known.iter().map(|(identity, id)| (identity, *id))
    }

    /// Server numbers that were in use and are not now, with the generation that no flow has.
    pub fn retired(&self) -> impl Iterator<Item = (ServerId, u32)> {
        let numbers = self.servers.leaving.iter().chain(&self.servers.free);
        numbers.filter_map(|id| Some((*id, self.generations.get(id)?.current)))
    }

    fn bump_leaving(&mut self) {
        let leaving: Vec<ServerId> = self.servers.leaving.iter().copied().collect();
        for id in leaving {
            let mode = self.generations.get(&id).map_or(0, |generation| generation.mode);
            self.generation(id, false, mode);
        }
    }
}

/// Numbers from 1 to `limit`, given to names.
#[derive(Clone, Debug)]
struct Numbers<K> {
    things: &'static str,
    limit: u32,
    known: BTreeMap<K, u32>,
    /// The highest number ever given.
    highest: u32,
    /// Given back, but the kernel tables may still name them.
    leaving: BTreeSet<u32>,
    /// Given back, the oldest first.
    free: VecDeque<u32>,
}

impl<K: Ord> Numbers<K> {
    fn new(things: &'static str, limit: u32) -> Self {
        Self { things, limit, known: BTreeMap::new(), highest: 0, leaving: BTreeSet::new(), free: VecDeque::new() }
    }

    fn assign(&mut self, key: K) -> Result<u32, IdsError> {
        let id = if self.highest < self.limit {
            self.highest += 1;
            self.highest
        } else {
            self.free.pop_front().ok_or(IdsError::Full { things: self.things, limit: self.limit })?
        };
        self.known.insert(key, id);
        Ok(id)
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        let Self { known, leaving, .. } = self;
        known.retain(|key, id| keep(key) || !leaving.insert(*id));
    }

    /// Forgets all names but those of these numbers; the numbers that they had.
    fn retain_numbers(&mut self, keep: &BTreeSet<u32>) -> Vec<u32> {
        let mut gone = Vec::new();
        self.known.retain(|_, number| {
            let stays = keep.contains(number);
            if !stays {
                gone.push(*number);
            }
            stays
        });
        gone
    }

    fn settle(&mut self) {
        self.free.extend(std::mem::take(&mut self.leaving));
    }

    fn adopt(&mut self, id: u32, key: Option<K>, taken: &mut BTreeSet<u32>) -> Result<(), IdsError> {
        let things = self.things;
        if id == 0 || id > self.limit {
            return Err(IdsError::OutOfRange { things, id, limit: self.limit });
        }
        let name_is_new = match key {
            Some(key) => self.known.insert(key, id).is_none(),
            None => self.leaving.insert(id),
        };
        if !taken.insert(id) || !name_is_new {
            return Err(IdsError::Twice { things, id });
        }
        self.highest = self.highest.max(id);
        Ok(())
    }

    fn free_all_but(&mut self, taken: &BTreeSet<u32>) {
        self.free.extend((1..=self.highest).filter(|id| !taken.contains(id)));
    }
}

#[cfg(test)]
mod tests;
