//! Which real server a client keeps: the records of one virtual service, over all its ports.
//!
//! In: keys of clients, numbers of real servers, `now`. Out: the number that a client keeps, listings, counts. Absent:
//! whether that real server can have the client ([`Balancer::admit`](super::balance::Balancer::admit)), what a request
//! says of its client.
//!
//! The records are in shards by the key's hash, each behind a lock of its own, and bounded: in a full shard the least
//! recently used one of a few makes room.

mod key;
mod record;
mod shard;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use key::Key;
pub use record::Record;
use shard::{Entry, Shard};

/// The clients of one virtual service. `T`: number of a real server.
#[derive(Debug)]
pub struct Clients<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
    timeout_ms: AtomicU64,
    evicted: AtomicU64,
}

impl<T: Copy + Eq + Hash> Clients<T> {
    /// At most `capacity` records (at least one), each forgotten when it was not used for longer than `timeout`.
    #[must_use]
    pub fn new(capacity: usize, timeout: Duration) -> Self {
        let shards = (capacity / RECORDS_PER_SHARD).clamp(1, MAX_SHARDS);
        let share = |shard| (capacity / shards + usize::from(shard < capacity % shards)).max(1);
        Self {
            shards: (0..shards).map(|shard| Mutex::new(Shard::new(share(shard)))).collect(),
            hasher: RandomState::new(),
            timeout_ms: AtomicU64::new(milliseconds(timeout)),
            evicted: AtomicU64::new(0),
        }
    }

    /// After a reload: for all records.
    pub fn set_timeout(&self, timeout: Duration) {
        self.timeout_ms.store(milliseconds(timeout), Relaxed);
    }

    /// How long a record that is not used is kept.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.load(Relaxed))
    }

    /// The real server that the client keeps. That is a use of its record.
    pub fn find(&self, client: Key, now: Instant) -> Option<T> {
        let timeout = self.timeout();
        let mut shard = self.shard(client);
        let entry = shard.get_mut(&client)?;
        if entry.is_over(timeout, now) {
            shard.remove(&client);
            return None;
        }
        entry.used = entry.used.max(now);
        Some(entry.server)
    }

    /// The same for who only asks: nothing is used.
    pub fn peek(&self, client: Key, now: Instant) -> Option<T> {
        let timeout = self.timeout();
        self.shard(client).get_mut(&client).filter(|entry| !entry.is_over(timeout, now)).map(|entry| entry.server)
    }

    /// As [`peek`](Self::peek), with how long the record was not used.
    pub fn glance(&self, client: Key, now: Instant) -> Option<(T, Duration)> {
        let timeout = self.timeout();
        let mut shard = self.shard(client);
        let entry = shard.get_mut(&client).filter(|entry| !entry.is_over(timeout, now))?;
        Some((entry.server, now.saturating_duration_since(entry.used)))
    }

    /// The client keeps this one from now on.
    pub fn remember(&self, client: Key, server: T, now: Instant) {
        let timeout = self.timeout();
        let mut shard = self.shard(client);
        if let Some(entry) = shard.get_mut(&client) {
            if entry.server != server || entry.is_over(timeout, now) {
                *entry = Entry { client, server, created: now, used: now };
            }
            entry.used = entry.used.max(now);
        } else if shard.insert(Entry { client, server, created: now, used: now }) {
            self.evicted.fetch_add(1, Relaxed);
        }
    }

    /// A connection of the client to this real server goes on, or ends only now. Whoever carries a connection says so at
    /// its end and every [`touch_interval`](Self::touch_interval) before, or the record ends during the connection.
    ///
    /// False: there is no such record, and none is made: it was cleared, made room, or names another real server.
    pub fn touch(&self, client: Key, server: T, now: Instant) -> bool {
        let mut shard = self.shard(client);
        let Some(entry) = shard.get_mut(&client).filter(|entry| entry.server == server) else { return false };
        entry.used = entry.used.max(now);
        true
    }

    /// How often the record of a connection that goes on is to be touched.
    pub fn touch_interval(&self) -> Duration {
        self.timeout() / 2
    }

    /// Forgets all clients of a real server, and says how many.
    pub fn forget_server(&self, server: T) -> usize {
        self.forget_if(|_, kept| *kept == server)
    }

    /// Forgets the records that are meant, and says how many.
    pub fn forget_if(&self, meant: impl Fn(&Key, &T) -> bool) -> usize {
        self.locked().map(|mut shard| shard.remove_if(|entry| meant(&entry.client, &entry.server))).sum()
    }

    /// Forgets the records that are over, and counts the others by real server.
    pub fn sweep(&self, now: Instant) -> HashMap<T, usize> {
        let timeout = self.timeout();
        let mut counts = HashMap::new();
        for mut shard in self.locked() {
            shard.remove_if(|entry| entry.is_over(timeout, now));
            for entry in shard.entries() {
                *counts.entry(entry.server).or_insert(0) += 1;
            }
        }
        counts
    }

    /// All records in no order: client, real server, since when, since when not used.
    pub fn list(&self, now: Instant) -> Vec<(Key, T, Duration, Duration)> {
        let timeout = self.timeout();
        let mut list = Vec::new();
        for shard in self.locked() {
            let valid = shard.entries().iter().filter(|entry| !entry.is_over(timeout, now));
            list.extend(valid.map(|entry| {
                let since = |then| now.saturating_duration_since(then);
                (entry.client, entry.server, since(entry.created), since(entry.used))
            }));
        }
        list
    }

    /// For the daemon that takes over.
    pub fn export(&self, now: Instant) -> Vec<Record<T>> {
        let record = |(client, server, age, idle)| Record {
            client,
            server,
            age_ms: milliseconds(age),
            idle_ms: milliseconds(idle),
        };
        self.list(now).into_iter().map(record).collect()
    }

    /// What another daemon exported at this moment, and how many of them were taken. A record that was made here since, or
    /// is over, is left; where there are too many, the least recently used ones go.
    pub fn import(&self, mut records: Vec<Record<T>>, now: Instant) -> usize {
        let timeout = self.timeout();
        records.sort_by_key(|record| std::cmp::Reverse(record.idle_ms));
        let mut taken = 0;
        for record in records {
            let mut shard = self.shard(record.client);
            let is_over = Duration::from_millis(record.idle_ms) > timeout;
            if is_over || shard.get_mut(&record.client).is_some() {
                continue;
            }
            let entry = record.entry(now);
            if shard.insert(entry) {
                self.evicted.fetch_add(1, Relaxed);
            }
            taken += 1;
        }
        taken
    }

    /// Records that made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Records, those that are over and were not swept yet included.
    pub fn len(&self) -> usize {
        self.locked().map(|shard| shard.entries().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, client: Key) -> MutexGuard<'_, Shard<T>> {
        let hash = self.hasher.hash_one(client);
        // The remainder is below the number of shards.
        let at = usize::try_from(hash % self.shards.len() as u64).unwrap_or(0);
        lock(&self.shards[at])
    }

    /// One after the other.
    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, Shard<T>>> {
        self.shards.iter().map(lock)
    }
}

/// A thread that panicked with the lock has left whole records at worst: no call unwinds between two changes.
fn lock<T>(shard: &Mutex<Shard<T>>) -> MutexGuard<'_, Shard<T>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Enough that shards fill up at nearly the same time.
const RECORDS_PER_SHARD: usize = 1024;

/// Many more than there are threads.
const MAX_SHARDS: usize = 64;

#[cfg(test)]
mod tests;
