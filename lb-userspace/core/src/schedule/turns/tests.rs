use lb_common::abi::ServerId;
use proptest::prelude::*;

use super::super::{Member, stable_hash};
use super::{MAX_TURNS, each_once, weighted_turns};

/// Keys in the order of the weights, so that ties go to the earlier one.
fn members(weights: &[u32]) -> Vec<Member> {
    (0_u32..).zip(weights).map(|(i, weight)| Member { server: i + 1, key: i.into(), weight: *weight }).collect()
}

fn count(turns: &[ServerId], server: ServerId) -> usize {
    turns.iter().filter(|turn| **turn == server).count()
}

fn longest_run(turns: &[ServerId], server: ServerId) -> usize {
    turns.split(|turn| *turn != server).map(<[ServerId]>::len).max().unwrap_or(0)
}

#[test]
fn the_order_is_the_one_nginx_documents() {
    assert_eq!(weighted_turns(&members(&[5, 1, 1])), [1, 1, 2, 1, 3, 1, 1]);
}

#[test]
fn equal_weights_take_one_turn_each() {
    assert_eq!(weighted_turns(&members(&[100, 100, 100])), [1, 2, 3]);
}

#[test]
fn common_factors_and_zero_weights_take_no_room() {
    assert_eq!(weighted_turns(&members(&[200, 0, 100])), [1, 3, 1]);
    assert!(weighted_turns(&members(&[0, 0])).is_empty());
    assert!(weighted_turns(&[]).is_empty());
}

#[test]
fn weights_that_need_too_many_turns_are_rounded_but_nobody_is_lost() {
    let turns = weighted_turns(&members(&[65_535, 32_768, 1]));
    assert_eq!(turns.len(), MAX_TURNS as usize);
    assert_eq!([count(&turns, 1), count(&turns, 2), count(&turns, 3)], [2730, 1365, 1]);
    assert_eq!(weighted_turns(&members(&[65_535, 65_534])), [1, 2], "rounded to one each");
}

#[test]
fn more_servers_than_turns_have_one_each() {
    let weights: Vec<u32> = (1..=5000).collect();
    assert_eq!(weighted_turns(&members(&weights)).len(), 5000);
}

#[test]
fn least_connection_sees_each_server_once_in_an_order_of_its_own() {
    let members: Vec<Member> =
        (1_u32..=20).map(|i| Member { server: i, key: stable_hash(&i.to_be_bytes()), weight: i % 4 }).collect();
    let mut backwards = members.clone();
    backwards.reverse();

    let order = each_once(&members);

    assert_eq!(order, each_once(&backwards), "the order of the configuration does not matter");
    assert!(!order.is_sorted());
    let mut sorted = order;
    sorted.sort_unstable();
    let expected: Vec<ServerId> = (1..=20).filter(|i| i % 4 > 0).collect();
    assert_eq!(sorted, expected);
}

proptest! {
    #[test]
    fn turns_are_in_proportion(weights in prop::collection::vec(0_u32..=60, 1..20)) {
        let members = members(&weights);

        let turns = weighted_turns(&members);

        let all: usize = weights.iter().map(|w| *w as usize).sum();
        for member in &members {
            prop_assert_eq!(count(&turns, member.server) * all, member.weight as usize * turns.len());
        }
    }

    #[test]
    fn nobody_is_ever_a_whole_turn_ahead_or_two_behind(weights in prop::collection::vec(1_u32..=60, 1..12)) {
        let turns = weighted_turns(&members(&weights));
        let all: usize = weights.iter().map(|w| *w as usize).sum();
        for (server, weight) in (1_u32..).zip(&weights) {
            for end in 1..=turns.len() {
                let (had, due) = (count(&turns[..end], server) * all, end * *weight as usize);
                prop_assert!(had < due + all && due < had + 2 * all, "server {} after {} turns", server, end);
            }
        }
    }

    #[test]
    fn of_two_nobody_has_more_turns_in_a_row_than_needed(weights in prop::collection::vec(1_u32..=60, 2)) {
        let turns = weighted_turns(&members(&weights));
        for (server, [weight, other]) in [(1, [weights[0], weights[1]]), (2, [weights[1], weights[0]])] {
            prop_assert!(longest_run(&turns, server) <= weight.div_ceil(other) as usize, "{:?}", turns);
        }
    }
}
