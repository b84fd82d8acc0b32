//! Every connection of a client that is carried now, for those who list them.
//!
//! In: connections that begin, reach a real server, carry bytes and end. Out: a listing. Absent: what a listing shows
//! first, which is `lb_core::listing`'s.
//!
//! A connection costs one small record, which only its own thread writes. Each thread has a table of its own, whose
//! lock it shares with nobody but a listing, and with that a short while at a time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lb_common::abi::Address;
use lb_core::listing::{Proxied, proxied};
use lb_core::view::{Connections, ConnectionsQuery};
use slab::Slab;

use super::Proxy;
use super::connection::Ends;
use super::real_server::RealServer;
use super::relay::Meter;
use super::service::Service;

type Table = Mutex<Slab<Arc<Record>>>;

/// The connections of all threads.
#[derive(Debug)]
pub(super) struct Registry {
    begun: Instant,
    /// Whole seconds since then, as of the last tick: nobody looks at a clock for every byte.
    seconds: AtomicU32,
    /// By thread.
    tables: Box<[Table]>,
}

/// Addresses take less room than in a `SocketAddr`, and names stand elsewhere.
struct Record {
    service: Arc<Service>,
    client: Address,
    vip: Address,
    client_port: u16,
    vip_port: u16,
    since: u32,
    active: AtomicU32,
    /// The real server that serves it now; 0: none.
    server: AtomicU32,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// A record and its place in a table come to 150 bytes at most.
const _: () = assert!(size_of::<Record>() <= 72, "a connection's record has become larger");

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", SocketAddr::new(self.client.into(), self.client_port), self.service.name)
    }
}

impl Registry {
    pub(super) fn new(threads: usize) -> Self {
        let tables = (0..threads.max(1)).map(|_| Table::default()).collect();
        Self { begun: Instant::now(), seconds: AtomicU32::new(0), tables }
    }

    /// Called about once a second.
    pub(super) fn tick(&self, now: Instant) {
        self.seconds.store(self.elapsed(now), Relaxed);
    }

    /// A connection has begun on a thread; it is listed until the seat is dropped.
    pub(super) fn enter(registry: &Arc<Self>, thread: usize, service: &Arc<Service>, ends: Ends) -> Seat {
        let now = registry.seconds.load(Relaxed);
        let record = Arc::new(Record {
            service: Arc::clone(service),
            client: ends.client.ip().into(),
            vip: ends.vip.ip().into(),
            client_port: ends.client.port(),
            vip_port: ends.vip.port(),
            since: now,
            active: AtomicU32::new(now),
            server: AtomicU32::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let table = thread % registry.tables.len();
        let place = lock(&registry.tables[table]).insert(Arc::clone(&record));
        Seat { registry: Arc::clone(registry), record, table, place }
    }

    fn elapsed(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.begun).as_secs()).unwrap_or(u32::MAX)
    }

    fn records(&self) -> impl Iterator<Item = Arc<Record>> {
        self.tables.iter().flat_map(|table| {
            let chunks = (0..).step_by(CHUNK).map_while(|first| {
                let table = lock(table);
                let is_there = first < table.capacity();
                is_there.then(|| (first..first + CHUNK).filter_map(|at| table.get(at).cloned()).collect::<Vec<_>>())
            });
            chunks.flatten()
        })
    }
}

/// Whoever panicked with the lock has left a whole table.
fn lock(table: &Table) -> MutexGuard<'_, Slab<Arc<Record>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that are looked at under one lock.
const CHUNK: usize = 1024;

/// A connection's own end of its record.
pub(super) struct Seat {
    registry: Arc<Registry>,
    record: Arc<Record>,
    table: usize,
    place: usize,
}

impl Seat {
    /// A real server serves it from now on.
    pub(super) fn reached(&self, server: &RealServer) {
        self.record.server.store(server.number, Relaxed);
    }

    /// Nobody serves it now: it is between two requests.
    pub(super) fn rests(&self) {
        self.record.server.store(0, Relaxed);
    }

    fn carried(&self, counter: &AtomicU64, bytes: u64) {
        // Nobody else writes it.
        counter.store(counter.load(Relaxed) + bytes, Relaxed);
        self.record.active.store(self.registry.seconds.load(Relaxed), Relaxed);
    }
}

impl Meter for Seat {
    fn to_server(&self, bytes: u64) {
        self.carried(&self.record.to_server, bytes);
    }

    fn to_client(&self, bytes: u64) {
        self.carried(&self.record.to_client, bytes);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.registry.tables[self.table]).try_remove(self.place);
    }
}

/// Counts for the connection and for its real server.
pub(super) struct Both<'a>(pub(super) &'a Seat, pub(super) &'a RealServer);

impl Meter for Both<'_> {
    fn to_server(&self, bytes: u64) {
        self.0.to_server(bytes);
        self.1.to_server(bytes);
    }

    fn to_client(&self, bytes: u64) {
        self.0.to_client(bytes);
        self.1.to_client(bytes);
    }
}

/// The connections and the names of those who serve them, for a listing beside the daemon's loop.
pub struct Carrying {
    registry: Arc<Registry>,
    servers: HashMap<u32, Named>,
}

struct Named {
    name: Arc<str>,
    address: IpAddr,
    port: Option<u16>,
}

impl Proxy {
    /// Every client's connection.
    #[must_use]
    pub fn carrying(&self) -> Carrying {
        let named = self.servers.iter().map(|(identity, server)| {
            let name = identity.server.as_str().into();
            (server.number, Named { name, address: identity.address, port: identity.port })
        });
        Carrying { registry: Arc::clone(&self.shared.registry), servers: named.collect() }
    }
}

impl Carrying {
    /// The connections that the query means.
    #[must_use]
    pub fn list(&self, query: &ConnectionsQuery, now: Instant) -> Connections {
        let seconds = self.registry.elapsed(now);
        proxied(query, self.registry.records().map(|record| self.row(&record, seconds)))
    }

    fn row(&self, record: &Record, now: u32) -> Proxied {
        let server = self.servers.get(&record.server.load(Relaxed));
        let idle = now.saturating_sub(record.active.load(Relaxed));
        let running = record.service.glance();
        let timeouts = &running.config.proxy.timeouts;
        let timeout = match (&running.policy, server) {
            (Some(_), None) => timeouts.keep_alive,
            (Some(_), Some(_)) | (None, _) => timeouts.client,
        };
        Proxied {
            service: Arc::clone(&record.service.name),
            server: server.map(|server| Arc::clone(&server.name)),
            client: SocketAddr::new(record.client.into(), record.client_port),
            vip: SocketAddr::new(record.vip.into(), record.vip_port),
            destination: server.map(|of| SocketAddr::new(of.address, of.port.unwrap_or(record.vip_port))),
            bytes: record.to_server.load(Relaxed),
            reply_bytes: record.to_client.load(Relaxed),
            age_seconds: now.saturating_sub(record.since).into(),
            idle_seconds: idle.into(),
            expires_seconds: timeout.as_secs().saturating_sub(idle.into()),
        }
    }
}
