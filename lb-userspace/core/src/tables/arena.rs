//! Which words of `schedule` are in use.

use std::collections::BTreeMap;

use lb_common::abi::{PLACES_PER_WORD, SCHEDULE_PLACES, Service, ServiceId};

/// Extents of words: those that services point at, and those handed out since.
///
/// Nothing is given back here: what a plan stops using is free for the next plan, which starts
/// from the services again. Packets that were under way at the switch have long been sent then.
pub(super) struct Arena {
    /// First word to number of words.
    used: BTreeMap<u32, u32>,
}

impl Arena {
    pub(super) fn of(services: &BTreeMap<ServiceId, Service>) -> Self {
        let mut arena = Self { used: BTreeMap::new() };
        for service in services.values() {
            arena.hold(service.ring_base, service.ring_size);
            arena.hold(service.turns_base, service.turns_size);
        }
        arena
    }

    /// The first word of the first hole that has this many.
    pub(super) fn take(&mut self, words: u32) -> Option<u32> {
        let mut first = 0;
        for (used, length) in &self.used {
            if used.saturating_sub(first) >= words {
                break;
            }
            first = first.max(used.saturating_add(*length));
        }
        if first.checked_add(words)? > SCHEDULE_PLACES / PLACES_PER_WORD {
            return None;
        }
        self.used.insert(first, words);
        Some(first)
    }

    /// Also right for entries that this daemon did not write: they may overlap, or start within a word.
    fn hold(&mut self, base: u32, size: u32) {
        if size > 0 {
            let first = base / PLACES_PER_WORD;
            let end = base.saturating_add(size).div_ceil(PLACES_PER_WORD);
            let length = self.used.entry(first).or_default();
            *length = (*length).max(end - first);
        }
    }
}
