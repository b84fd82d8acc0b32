//! A record as it goes from one daemon to the next.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::shard::Entry;

/// A client and the real server it keeps. Ages are told, because the clocks of two processes have nothing in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<T> {
    /// The client.
    pub client: Key,
    /// The real server.
    pub server: T,
    /// Since the record was made.
    pub age_ms: u64,
    /// Since it was used.
    pub idle_ms: u64,
}

impl<T> Record<T> {
    /// A moment that this clock cannot tell is now.
    pub(super) fn entry(self, now: Instant) -> Entry<T> {
        let ago = |ms| now.checked_sub(Duration::from_millis(ms));
        let used = ago(self.idle_ms).unwrap_or(now);
        let created = ago(self.age_ms).unwrap_or(used).min(used);
        Entry { client: self.client, server: self.server, created, used }
    }
}
