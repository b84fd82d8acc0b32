//! A bounded part of the records.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::key::Key;

/// The entries are in a list, so that any few of them can be looked at; the map says where.
#[derive(Debug)]
pub(super) struct Shard<T> {
    entries: Vec<Entry<T>>,
    places: HashMap<Key, usize>,
    capacity: usize,
    /// The first of the few that were looked at last.
    hand: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    pub client: Key,
    pub server: T,
    pub created: Instant,
    pub used: Instant,
}

impl<T> Entry<T> {
    /// A thread whose clock is a moment behind sees no age at all.
    pub(super) fn is_over(&self, timeout: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > timeout
    }
}

impl<T> Shard<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), places: HashMap::new(), capacity, hand: 0 }
    }

    pub(super) fn entries(&self) -> &[Entry<T>] {
        &self.entries
    }

    pub(super) fn get_mut(&mut self, client: &Key) -> Option<&mut Entry<T>> {
        let at = *self.places.get(client)?;
        self.entries.get_mut(at)
    }

    /// A client that has no record; whether another one had to make room.
    pub(super) fn insert(&mut self, entry: Entry<T>) -> bool {
        debug_assert!(!self.places.contains_key(&entry.client));
        let full = self.entries.len() >= self.capacity;
        if full {
            self.evict();
        }
        self.places.insert(entry.client, self.entries.len());
        self.entries.push(entry);
        debug_assert!(self.entries.len() <= self.capacity && self.places.len() == self.entries.len());
        full
    }

    pub(super) fn remove(&mut self, client: &Key) {
        if let Some(at) = self.places.get(client) {
            self.remove_at(*at);
        }
    }

    /// How many were meant.
    pub(super) fn remove_if(&mut self, meant: impl Fn(&Entry<T>) -> bool) -> usize {
        let before = self.entries.len();
        let mut at = 0;
        while at < self.entries.len() {
            // The last one takes the place of one that goes.
            if meant(&self.entries[at]) { self.remove_at(at) } else { at += 1 }
        }
        before - self.entries.len()
    }

    /// The least recently used of a few goes. They are far from each other, because clients that came together are side
    /// by side; the hand sees to it that each has its turn to be looked at.
    fn evict(&mut self) {
        let apart = (self.entries.len() / FEW).max(1);
        self.hand = (self.hand + 1) % apart;
        let few = (self.hand..self.entries.len()).step_by(apart);
        if let Some(at) = few.min_by_key(|at| self.entries[*at].used) {
            self.remove_at(at);
        }
    }

    fn remove_at(&mut self, at: usize) {
        let gone = self.entries.swap_remove(at);
        self.places.remove(&gone.client);
        if let Some(moved) = self.entries.get(at) {
            self.places.insert(moved.client, at);
        }
    }
}

/// As many as make it improbable that a client of these minutes goes before one of the last hour.
const FEW: usize = 8;
