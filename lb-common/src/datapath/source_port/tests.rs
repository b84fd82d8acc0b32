//! Which port a flow gets, and when it gets none.

use proptest::prelude::*;

use super::*;
use crate::testing::MemTables;

fn settings(first: u16, last: u16) -> Settings {
    Settings { first_source_port: first, last_source_port: last, ..Settings::default() }
}

proptest! {
    #[test]
    fn a_port_is_in_the_range_and_nobody_elses(first in 1024..65_000_u16, width in 64..600_u16, hashes in prop::collection::vec(any::<u32>(), 1..700), now: Ticks) {
        let settings = settings(first, first.saturating_add(width));
        let tables = MemTables::default();
        let mut taken = std::collections::BTreeSet::new();
        for hash in hashes {
            let port = claim(&tables, 5, &settings, hash, now);
            if port == 0 {
                // Narrower than what is tried: then really all of them are in use.
                prop_assert_eq!(taken.len(), usize::from(settings.last_source_port - first) + 1);
                continue;
            }
            prop_assert!((first..=settings.last_source_port).contains(&port), "{}", port);
            prop_assert!(taken.insert(port), "{} twice", port);
        }
    }

    #[test]
    fn one_of_the_bits_that_are_set_is_picked(bits in 1..=u64::MAX, hash: u32) {
        prop_assert!(bits & 1 << some_bit(bits, hash) != 0);
    }
}

#[test]
fn a_pool_that_does_not_exist_has_no_ports() {
    let tables = MemTables::default();
    assert_eq!(claim(&tables, MAX_POOLS, &settings(1024, 2047), 7, 1), 0);
    assert_eq!(claim(&tables, 2, &settings(2048, 1024), 7, 1), 0, "nor an empty range");
}

#[test]
fn the_turn_moves_on_so_that_ports_rest() {
    let tables = MemTables::default();
    let settings = settings(1024, 32_767);
    let early: Vec<u16> = (0..8).map(|hash| claim(&tables, 2, &settings, hash, 100)).collect();
    let late: Vec<u16> = (0..8).map(|hash| claim(&tables, 2, &settings, hash, 130)).collect();
    let words = |ports: &[u16]| ports.iter().map(|port| port / 64).collect::<std::collections::BTreeSet<_>>();
    assert!(words(&early).is_disjoint(&words(&late)), "{early:?} {late:?}");
}

#[test]
fn nine_of_ten_in_use_is_no_trouble() {
    let tables = MemTables::default();
    let settings = settings(1024, 32_767);
    // The high half of a product, as the hash of a flow is.
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(random >> 32).expect("32 bits")
    };
    let claims: Vec<u16> = (0..29_500).map(|_| claim(&tables, 2, &settings, next(), 100)).collect();
    let failed: Vec<usize> = claims.iter().enumerate().filter(|(_, port)| **port == 0).map(|(at, _)| at).collect();
    assert_eq!(failed, [0_usize; 0], "of 29,500 claims of 31,744 ports");
}
