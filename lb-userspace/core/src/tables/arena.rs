//! Which words of `schedule` are free.

use std::collections::BTreeMap;
use std::ops::Range;

use lb_common::abi::{PLACES_PER_WORD, SCHEDULE_PLACES, Service, ServiceId};

/// The words that no service points at, less those handed out since.
///
/// Nothing is given back here: what a plan stops using is free for the next plan, which starts
/// from the services again. Packets that were under way at the switch have long been sent then.
pub(super) struct Arena {
    /// In order, never touching each other.
    holes: Vec<Range<u32>>,
}

impl Arena {
    /// Also right for entries that this daemon did not write: they may overlap, start within a
    /// word, or reach beyond the table.
    pub(super) fn of(services: &BTreeMap<ServiceId, Service>) -> Self {
        let lists = services.values().flat_map(|s| [(s.ring_base, s.ring_size), (s.turns_base, s.turns_size)]);
        let mut used: Vec<Range<u32>> = lists.filter(|(_, size)| *size > 0).map(words).collect();
        used.sort_by_key(|extent| extent.start);

        let mut holes = Vec::new();
        let mut free = 0;
        for extent in used {
            if free < extent.start {
                holes.push(free..extent.start);
            }
            free = free.max(extent.end);
        }
        holes.push(free..TABLE);
        Self { holes }
    }

    /// The first word of the first hole that has this many.
    pub(super) fn take(&mut self, words: u32) -> Option<u32> {
        let hole = self.holes.iter_mut().find(|hole| hole.end - hole.start >= words)?;
        let first = hole.start;
        hole.start += words;
        Some(first)
    }
}

fn words((base, size): (u32, u32)) -> Range<u32> {
    let first = (base / PLACES_PER_WORD).min(TABLE);
    first..base.saturating_add(size).div_ceil(PLACES_PER_WORD).min(TABLE)
}

const TABLE: u32 = SCHEDULE_PLACES / PLACES_PER_WORD;

#[cfg(test)]
mod tests;
