use std::collections::BTreeMap;

use lb_common::abi::{SCHEDULE_PLACES, Service};

use super::{Arena, TABLE};

/// Services with a ring, and turns if there is a second extent; in places.
fn arena(extents: &[(u32, u32)]) -> Arena {
    let service = |pair: &[(u32, u32)]| {
        let (ring, turns) = (pair[0], pair.get(1).copied().unwrap_or_default());
        Service { ring_base: ring.0, ring_size: ring.1, turns_base: turns.0, turns_size: turns.1, ..Service::default() }
    };
    let services: BTreeMap<_, _> = (1..).zip(extents.chunks(2).map(service)).collect();
    Arena::of(&services)
}

#[test]
fn the_first_hole_that_is_large_enough_is_taken() {
    let mut arena = arena(&[(4, 4), (16, 5), (40, 8)]);

    let taken = [1, 2, 3, 4, 2, 1].map(|words| arena.take(words));

    assert_eq!(taken, [0, 2, 6, 12, 16, 9].map(Some));
}

#[test]
fn the_whole_table_can_be_taken_and_no_word_more() {
    let mut arena = arena(&[]);
    assert_eq!(arena.take(TABLE + 1), None);
    assert_eq!([arena.take(TABLE - 1), arena.take(2), arena.take(1)], [Some(0), None, Some(TABLE - 1)]);
    assert_eq!(arena.take(1), None);
}

#[test]
fn entries_of_nobody_s_making_are_kept_clear_of() {
    let mut overlapping = arena(&[(0, 40), (8, 4), (3, 2), (41, 2)]);
    assert_eq!(overlapping.take(1), Some(11));

    let mut beyond = arena(&[(4, u32::MAX), (u32::MAX, 9)]);
    assert_eq!([beyond.take(1), beyond.take(1)], [Some(0), None]);

    let mut last = arena(&[(0, SCHEDULE_PLACES - 4)]);
    assert_eq!(last.take(1), Some(TABLE - 1));
}
