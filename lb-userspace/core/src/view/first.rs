//! The first of many in some order, chosen while they pass by.
//!
//! In: items one by one, each with its place. Out: the first `limit` of them, sorted, and how many there
//! were. Holds no more than the limit, however many there are, and makes an item only when it is kept.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The first so far.
#[derive(Debug)]
pub(crate) struct First<K, T> {
    limit: usize,
    total: u64,
    /// The last of those that are kept is on top.
    kept: BinaryHeap<Placed<K, T>>,
}

impl<K: Ord, T> First<K, T> {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), total: 0, kept: BinaryHeap::new() }
    }

    /// Another item passes by.
    pub(crate) fn offer(&mut self, place: K, item: impl FnOnce() -> T) {
        self.total += 1;
        if self.kept.len() < self.limit {
            self.kept.push(Placed(place, item()));
        } else if let Some(mut last) = self.kept.peek_mut().filter(|last| place < last.0) {
            *last = Placed(place, item());
        }
        debug_assert!(self.kept.len() <= self.limit);
    }

    /// The first, sorted, and how many have passed by.
    pub(crate) fn finish(self) -> (Vec<T>, u64) {
        (self.kept.into_sorted_vec().into_iter().map(|placed| placed.1).collect(), self.total)
    }
}

/// Compared by its place alone.
#[derive(Debug)]
struct Placed<K, T>(K, T);

impl<K: Ord, T> PartialEq for Placed<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, T> Eq for Placed<K, T> {}

impl<K: Ord, T> PartialOrd for Placed<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> Ord for Placed<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
