//! A port is given back when nobody has it, and never sooner.

use proptest::prelude::*;

use super::*;

fn word(pool: u32, port: u16) -> (u32, u64) {
    (pool * PORT_WORDS + u32::from(port) / 64, 1 << (port % 64))
}

#[test]
fn a_port_without_an_entry_is_cleared_by_the_second_walk() {
    let mut ledger = PortLedger::default();
    let (at, bit) = word(3, 1025);
    let before = BTreeMap::from([(at, bit)]);
    let (clear, counts) = ledger.settle(&before, &PortsInUse::default());
    assert_eq!((clear.len(), counts), (0, BTreeMap::from([(3, 1)])), "it may be being claimed");
    let (clear, counts) = ledger.settle(&before, &PortsInUse::default());
    assert_eq!((clear, counts), (before, BTreeMap::new()));
}

#[test]
fn a_port_that_was_claimed_in_between_is_kept() {
    let mut ledger = PortLedger::default();
    let (at, bit) = word(3, 1025);
    let before = BTreeMap::from([(at, bit)]);
    ledger.settle(&before, &PortsInUse::default());
    let mut used = PortsInUse::default();
    used.add(3, 1025);
    assert!(ledger.settle(&before, &used).0.is_empty());
    assert!(ledger.settle(&before, &PortsInUse::default()).0.is_empty(), "from the beginning again");
}

#[test]
fn after_a_start_every_pool_is_looked_at_once_and_then_those_with_ports() {
    let mut ledger = PortLedger::default();
    assert_eq!(ledger.pools(std::iter::empty()).len(), MAX_POOLS as usize);
    let (at, bit) = word(7, 40_000);
    ledger.settle(&BTreeMap::from([(at, bit)]), &PortsInUse::default());
    assert_eq!(ledger.pools([9, MAX_POOLS].into_iter()), BTreeSet::from([7, 9]));
}

#[test]
fn a_pool_that_does_not_exist_is_no_harm() {
    let mut used = PortsInUse::default();
    used.add(u32::MAX, 5);
    assert_eq!(used, PortsInUse::default());
}

proptest! {
    /// Ports are claimed, entries made and removed, walks happen between any two steps. Whoever has an
    /// entry keeps the bit, and when all is over every bit comes back.
    #[test]
    fn nobody_loses_a_port_and_none_is_lost(steps in prop::collection::vec((0..4_u8, 0..12_u16), 1..200)) {
        let mut ledger = PortLedger::default();
        let (mut bits, mut entries): (BTreeMap<u32, u64>, BTreeSet<u16>) = Default::default();
        let mut claimed: BTreeSet<u16> = BTreeSet::new();
        let walk = |ledger: &mut PortLedger, bits: &mut BTreeMap<u32, u64>, entries: &BTreeSet<u16>| {
            let mut used = PortsInUse::default();
            entries.iter().for_each(|port| used.add(2, *port));
            let before = bits.clone();
            for (word, over) in ledger.settle(&before, &used).0 {
                if let Some(bits) = bits.get_mut(&word) {
                    *bits &= !over;
                }
            }
        };
        for (what, port) in steps {
            let (at, bit) = word(2, port);
            match what {
                // Claimed only if the bit is clear; the entry follows before two walks are over.
                0 if bits.get(&at).copied().unwrap_or(0) & bit == 0 => {
                    *bits.entry(at).or_default() |= bit;
                    claimed.insert(port);
                }
                1 => entries.extend(std::mem::take(&mut claimed)),
                2 => { entries.remove(&port); }
                _ => {
                    walk(&mut ledger, &mut bits, &entries);
                    entries.extend(std::mem::take(&mut claimed));
                }
            }
            for port in &entries {
                let (at, bit) = word(2, *port);
                prop_assert!(bits.get(&at).copied().unwrap_or(0) & bit != 0, "{port} has an entry and no bit");
            }
        }
        for _ in 0..3 {
            walk(&mut ledger, &mut bits, &BTreeSet::new());
        }
        prop_assert!(bits.values().all(|bits| *bits == 0));
    }
}
