use std::collections::BTreeMap;

use lb_common::abi::ServerId;
use proptest::prelude::*;

use super::super::{Member, stable_hash};
use super::{ring, ring_size};

fn member(server: ServerId, weight: u32) -> Member {
    Member { server, key: stable_hash(&server.to_be_bytes()), weight }
}

fn equal(servers: u32) -> Vec<Member> {
    (1..=servers).map(|server| member(server, 100)).collect()
}

fn places(ring: &[ServerId]) -> BTreeMap<ServerId, u32> {
    let mut places = BTreeMap::new();
    for server in ring {
        *places.entry(*server).or_default() += 1;
    }
    places
}

#[test]
fn sizes_are_primes_with_a_hundred_places_a_server() {
    for size in super::SIZES {
        assert!((2..size).take_while(|d| d * d <= size).all(|d| size % d != 0), "{size} is not prime");
    }
    for (servers, size) in [(0, 509), (5, 509), (6, 1021), (10, 1021), (327, 32_749), (328, 65_521), (16_384, 65_521)] {
        assert_eq!(ring_size(servers), size, "{servers} servers");
    }
}

#[test]
fn no_member_with_a_weight_gives_an_empty_ring() {
    assert!(ring(&[], 509).is_empty());
    assert!(ring(&[member(1, 0)], 509).is_empty());
}

/// Recorded: another value means that an update of the daemon, or the other unit of a pair, would
/// send every client to another server.
#[test]
fn the_ring_is_the_same_in_every_build() {
    let bytes: Vec<u8> = ring(&equal(5), 509).iter().flat_map(|server| server.to_be_bytes()).collect();
    assert_eq!(stable_hash(&bytes), RECORDED);
}

const RECORDED: u64 = 14_764_608_114_550_497_501;

#[test]
fn numbers_and_order_do_not_matter_only_keys_do() {
    let members = equal(7);
    let mut others: Vec<Member> = members.iter().rev().copied().collect();
    for other in &mut others {
        other.server += 1000;
    }

    let renumbered: Vec<ServerId> = ring(&others, 1021).iter().map(|server| server - 1000).collect();

    assert_eq!(renumbered, ring(&members, 1021));
}

/// The paper finds a few per cent of the places that change without need.
#[test]
fn a_server_that_leaves_moves_few_places_of_the_others() {
    for servers in [2_u32, 3, 5, 10, 30, 100, 250] {
        let size = ring_size(servers as usize);
        let before = ring(&equal(servers), size);
        let mut needless = 0;
        let trials = servers.min(10);
        for leaver in 1..=trials {
            let mut members = equal(servers);
            members.retain(|member| member.server != leaver);
            let after = ring(&members, size);
            needless += before.iter().zip(&after).filter(|(b, a)| **b != leaver && b != a).count();
        }
        let share = needless as f64 / f64::from(trials * size);
        assert!(share < 0.04, "{servers} servers: {share:.3} of the places moved needlessly");
    }
}

#[test]
fn the_largest_service_has_every_server_in_its_ring() {
    let ring = ring(&equal(16_000), ring_size(16_000));
    assert_eq!(places(&ring).len(), 16_000);
}

proptest! {
    #[test]
    fn places_are_proportional_to_weight(weights in prop::collection::vec(1_u32..=20, 1..30)) {
        let members: Vec<Member> = (1..).zip(&weights).map(|(server, weight)| member(server, *weight)).collect();
        let size = ring_size(members.len());

        let places = places(&ring(&members, size));

        let all: f64 = weights.iter().copied().map(f64::from).sum();
        prop_assert_eq!(places.values().sum::<u32>(), size);
        for member in &members {
            let exact = f64::from(size) * f64::from(member.weight) / all;
            prop_assert!((f64::from(places[&member.server]) - exact).abs() < 1.0);
        }
    }

    #[test]
    fn every_server_is_present_whatever_the_weights(weights in prop::collection::vec(1_u32..=65_535, 1..200)) {
        let members: Vec<Member> = (1..).zip(&weights).map(|(server, weight)| member(server, *weight)).collect();

        let places = places(&ring(&members, ring_size(members.len())));

        prop_assert_eq!(places.len(), members.len());
    }

    #[test]
    fn a_server_that_joins_with_any_weights_moves_few_places_between_the_others(
        weights in prop::collection::vec(20_u32..=100, 3..20), salt: u32,
    ) {
        let salted = |server: u32, weight| Member { server, key: stable_hash(&(server ^ salt).to_be_bytes()), weight };
        let members: Vec<Member> = (1..).zip(&weights).map(|(server, weight)| salted(server, *weight)).collect();
        let size = ring_size(members.len());
        let (joiner, before) = (members[0].server, ring(&members[1..], size));

        let after = ring(&members, size);

        let needless = before.iter().zip(&after).filter(|(b, a)| **a != joiner && b != a).count();
        prop_assert!(needless * 100 < size as usize * 25, "{} of {}", needless, size);
    }
}
