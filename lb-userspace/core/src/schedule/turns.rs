//! Lists of turns, for the schedulers that go from one real server to the next.
//!
//! In: [`super::Member`]s. Out: the servers in order; the datapath walks the list with one counter
//! for each service and starts again at the end.

use lb_common::abi::ServerId;

use super::hash::mix;
use super::{Member, in_key_order, share};

/// Longest list for weighted round robin. Weights that need more are rounded.
pub const MAX_TURNS: u32 = 4096;

/// The list for weighted round robin: within one pass each server has turns in proportion to its
/// weight, spread as evenly as "smooth" weighted round robin does (nginx,
/// `ngx_http_upstream_round_robin.c`: all gain their weight, the richest has the turn and pays the
/// sum).
///
/// Weights are divided by their greatest common divisor. If their sum is still above
/// [`MAX_TURNS`], they are scaled to that many places, at least one each. More servers than that
/// have one turn each.
#[must_use]
pub fn weighted_turns(members: &[Member]) -> Vec<ServerId> {
    let members = in_key_order(members);
    let weights = reduced(&members);
    let all: i64 = weights.iter().copied().map(i64::from).sum();
    let mut credit = vec![0_i64; members.len()];
    let mut turns = Vec::with_capacity(usize::try_from(all).unwrap_or(0));
    if weights.iter().all(|weight| *weight == 1) {
        return members.iter().map(|member| member.server).collect();
    }
    for _ in 0..all {
        let mut richest = 0;
        for (i, weight) in weights.iter().enumerate() {
            credit[i] += i64::from(*weight);
            if credit[i] > credit[richest] {
                richest = i;
            }
        }
        credit[richest] -= all;
        turns.push(members[richest].server);
    }
    turns
}

/// The list for least connection: each server with a weight once. The datapath compares a few
/// neighbours of the list at a time, so the order is shuffled: servers that were configured side
/// by side need not be compared with each other only.
#[must_use]
pub fn each_once(members: &[Member]) -> Vec<ServerId> {
    let mut members = in_key_order(members);
    members.sort_by_key(|member| mix(member.key));
    members.iter().map(|member| member.server).collect()
}

/// The smallest weights of (nearly) the same proportions.
fn reduced(members: &[Member]) -> Vec<u32> {
    let weights = divided(members.iter().map(|member| member.weight).collect());
    let all: u64 = weights.iter().copied().map(u64::from).sum();
    if all <= u64::from(MAX_TURNS) {
        weights
    } else if weights.len() > MAX_TURNS as usize {
        vec![1; weights.len()]
    } else {
        divided(share::shares(&weights, MAX_TURNS))
    }
}

fn divided(weights: Vec<u32>) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    weights.into_iter().map(|weight| weight / divisor).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests;
