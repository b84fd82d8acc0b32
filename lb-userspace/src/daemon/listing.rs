//! Listings of connections and of persistence records, of both layers, made beside the daemon's loop.
//!
//! In: queries. Out: answers. Absent: what a query means, which is `lb_core`'s.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_common::abi::{Address, Persistence, PersistenceKey, ServiceId};
use lb_core::control::Roster;
use lb_core::listing::{Directory, Listing, together};
use lb_core::tables::expiry::elapsed;
use lb_core::view::{
    Connections, ConnectionsQuery, Network, PersistenceCleared, PersistenceList, PersistenceQuery, PersistenceRecord,
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Daemon;
use crate::dataplane::Tables;

impl Daemon {
    pub(super) fn list_connections(&mut self, query: ConnectionsQuery, reply: oneshot::Sender<Connections>) {
        let (tables, directory, carrying) = (Arc::clone(&self.tables), self.directory(), self.proxy.carrying());
        self.list(move || {
            if reply.is_closed() {
                return;
            }
            let mut listing = Listing::new(&directory, &query);
            if let Err(error) = tables.for_each_flow(|key, flow| listing.see(key, flow)) {
                warn!(%error, "the listing of flows ended early");
            }
            let proxied = carrying.list(&query, Instant::now());
            let _ = reply.send(together(&query, listing.finish(), proxied));
        });
    }

    pub(super) fn list_persistence(&mut self, query: PersistenceQuery, reply: oneshot::Sender<PersistenceList>) {
        let (lister, proxied) = (self.lister(), self.proxy.records());
        self.list(move || {
            let forwarded = lister.clients().into_iter().map(|(_, record)| record);
            let list = query.select(forwarded.chain(proxied.list(&query, Instant::now())));
            let _ = reply.send(PersistenceList { by_cookie: proxied.by_cookie(&query), ..list });
        });
    }

    pub(super) fn clear_persistence(&mut self, query: PersistenceQuery, reply: oneshot::Sender<PersistenceCleared>) {
        let (lister, proxied) = (self.lister(), self.proxy.records());
        self.list(move || {
            let records = lister.clients();
            let matching = records.iter().filter(|(_, record)| query.matches(record));
            let keys: Vec<_> = matching.map(|(key, _)| *key).collect();
            match lister.tables.forget_clients(&keys) {
                Ok(forwarded) => {
                    let cleared = forwarded as u64 + proxied.forget(&query);
                    info!(cleared, "persistence records forgotten");
                    let _ = reply.send(PersistenceCleared { cleared, by_cookie: proxied.by_cookie(&query) });
                }
                // Without a reply the client is told that lbd could not answer.
                Err(error) => warn!(%error, "persistence records could not be forgotten"),
            }
        });
    }

    /// Walks over tables beside the loop, few at a time. Who waits for a place is bounded by the API's own
    /// limit of clients.
    fn list(&self, walk: impl FnOnce() + Send + 'static) {
        let places = Arc::clone(&self.listings);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_place) = places.acquire_owned().await else { return };
            if let Err(error) = tokio::task::spawn_blocking(walk).await {
                warn!(%error, "a listing broke off");
            }
        });
    }

    fn directory(&mut self) -> Directory {
        Directory::of(&self.control, self.clock.now().unwrap_or_default())
    }

    fn lister(&mut self) -> Lister {
        let wanted = self.control.wanted();
        let prefixes = self.control.config().virtual_services.iter().filter_map(|service| {
            let id = wanted.service_numbers.get(&service.name)?;
            let persistence = service.persistence.as_ref()?;
            Some((*id, if service.address.is_ipv4() { persistence.prefix_v4 } else { persistence.prefix_v6 }))
        });
        Lister {
            prefixes: prefixes.collect(),
            roster: self.control.roster(),
            directory: self.directory(),
            tables: Arc::clone(&self.tables),
        }
    }
}

/// What a listing of clients needs beside the tables: a copy, so that it can be made beside the loop.
struct Lister {
    prefixes: BTreeMap<ServiceId, u8>,
    roster: Roster,
    directory: Directory,
    tables: Arc<Tables>,
}

impl Lister {
    fn clients(&self) -> Vec<(PersistenceKey, PersistenceRecord)> {
        let mut clients = Vec::new();
        let walked = self.tables.for_each_client(|key, record, confirmed| {
            clients.push((*key, self.client(key, record, confirmed)));
        });
        if let Err(error) = walked {
            warn!(%error, "the listing of persistence records ended early");
        }
        clients
    }

    fn client(&self, key: &PersistenceKey, record: &Persistence, confirmed: bool) -> PersistenceRecord {
        let directory = &self.directory;
        let idle = elapsed(record.last_used, directory.now);
        let timeout = self.roster.persistence_timeout(key.service);
        PersistenceRecord {
            virtual_service: directory.service(key.service),
            client: self.network(key.client, key.service).into(),
            real_server: directory.server(record.server),
            age_seconds: directory.seconds(elapsed(record.created, directory.now)),
            idle_seconds: directory.seconds(idle),
            expires_seconds: directory.seconds(timeout.saturating_sub(idle)),
            confirmed,
        }
    }

    fn network(&self, client: Address, service: ServiceId) -> Network {
        let address = IpAddr::from(client);
        match self.prefixes.get(&service) {
            Some(prefix) => Network::new(address, *prefix),
            None => address.into(),
        }
    }
}
