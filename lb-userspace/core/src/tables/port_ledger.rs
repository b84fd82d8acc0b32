//! Which source ports are given back.
//!
//! In: which bits of `source_ports` were set before a walk over `replies`, and which of them an entry was
//! found for. Out: the bits to clear. Absent: the tables.
//!
//! The kernel sets a bit before it makes the entry, and never clears one. So a bit without an entry may
//! be one that is being claimed at this moment, or one whose flow is over. It is cleared when two walks
//! in a row found it set and without an entry; the pause between them is rest for the port, too.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{MAX_POOLS, PORT_WORDS};

/// What earlier walks found.
#[derive(Clone, Debug)]
pub struct PortLedger {
    /// Bits without an entry, by word.
    suspects: BTreeMap<u32, u64>,
    /// Pools that may have bits set.
    live: BTreeSet<u32>,
}

/// Ports found in use, by word of `source_ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortsInUse {
    words: BTreeMap<u32, u64>,
}

impl PortsInUse {
    /// Notes an entry of `replies`.
    pub fn add(&mut self, pool: u32, port: u16) {
        if pool < MAX_POOLS {
            let word = pool * PORT_WORDS + u32::from(port) / 64;
            *self.words.entry(word).or_default() |= 1 << (port % 64);
        }
    }

    fn pools(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.keys().map(|word| word / PORT_WORDS)
    }
}

impl Default for PortLedger {
    /// After a start nothing is known of any pool.
    fn default() -> Self {
        Self { suspects: BTreeMap::new(), live: (0..MAX_POOLS).collect() }
    }
}

impl PortLedger {
    /// Pools to look at: those named here, and those that had ports in use the last time.
    #[must_use]
    pub fn pools(&self, named: impl Iterator<Item = u32>) -> BTreeSet<u32> {
        named.filter(|pool| *pool < MAX_POOLS).chain(self.live.iter().copied()).collect()
    }

    /// Ends a walk. `before` are the words that were not zero before it, of all pools that
    /// [`Self::pools`] named. Returns the bits to clear, and how many ports of each pool are in use.
    pub fn settle(
        &mut self,
        before: &BTreeMap<u32, u64>,
        used: &PortsInUse,
    ) -> (BTreeMap<u32, u64>, BTreeMap<u32, u32>) {
        let mut clear = BTreeMap::new();
        let mut suspects = BTreeMap::new();
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for (word, bits) in before {
            let without = bits & !used.words.get(word).copied().unwrap_or(0);
            let over = without & self.suspects.get(word).copied().unwrap_or(0);
            if over != 0 {
                clear.insert(*word, over);
            }
            if without & !over != 0 {
                suspects.insert(*word, without & !over);
            }
            if bits & !over != 0 {
                *counts.entry(word / PORT_WORDS).or_default() += (bits & !over).count_ones();
            }
        }
        self.suspects = suspects;
        self.live = counts.keys().copied().chain(used.pools()).collect();
        (clear, counts)
    }
}

#[cfg(test)]
mod tests;
