//! The ports of `l4-snat`, shared with the kernel: which are in use, and which are given back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use lb_common::abi::PORT_WORDS;
use lb_core::tables::{PortLedger, PortsInUse};

use super::sys::SharedWords;
use super::{Error, Table};

/// `source_ports`, and what earlier walks found there.
pub(super) struct SourcePorts {
    words: SharedWords,
    ledger: Mutex<PortLedger>,
}

impl SourcePorts {
    pub(super) fn new(table: &Table<u32, u64>) -> Result<Self, Error> {
        Ok(Self { words: table.share()?, ledger: Mutex::default() })
    }

    /// The words that are not zero, of the pools named here and those that had ports in use the last time.
    pub(super) fn before(&self, named: impl Iterator<Item = u32>) -> BTreeMap<u32, u64> {
        let words = self.words.words();
        let pools = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).pools(named);
        let places = pools.into_iter().flat_map(|pool| pool * PORT_WORDS..(pool + 1) * PORT_WORDS);
        let read = places.filter_map(|at| Some((at, words.get(at as usize)?.load(Ordering::Acquire))));
        read.filter(|(_, bits)| *bits != 0).collect()
    }

    /// Gives back the ports that nobody had in this walk and the one before; how many of each pool are
    /// in use.
    pub(super) fn settle(&self, before: &BTreeMap<u32, u64>, used: &PortsInUse) -> BTreeMap<u32, u32> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (clear, counts) = ledger.settle(before, used);
        for (at, bits) in clear {
            if let Some(word) = self.words.words().get(at as usize) {
                word.fetch_and(!bits, Ordering::AcqRel);
            }
        }
        counts
    }
}
