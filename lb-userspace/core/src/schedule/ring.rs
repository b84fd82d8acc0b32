//! Maglev's consistent-hash ring, with weights.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4. In: [`Member`]s and a size from [`ring_size`]. Out: the server of each place; the
//! datapath reads the place `hash % size`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lb_common::abi::{NO_SERVER, ServerId};

use super::hash::mix;
use super::{Member, in_key_order, share};

/// Places of a ring for a service of this many configured real servers: a prime that gives each
/// of them about a hundred places, up to 655 servers; fewer beyond.
///
/// Take the number of servers in the configuration, not of those that are up: another size moves
/// nearly every client.
#[must_use]
pub fn ring_size(servers: usize) -> u32 {
    SIZES.into_iter().find(|size| servers * 100 <= *size as usize).unwrap_or(LARGEST)
}

/// The ring: `size` places, each with a server, or none at all if no member has a weight.
///
/// `size` comes from [`ring_size`]; it is a prime, and not below the number of members. Each
/// member gets places by its weight, within one place of its exact share, but at least one. When a
/// member leaves, its places go to the others and few other places change; see the tests for how
/// few.
#[must_use]
pub fn ring(members: &[Member], size: u32) -> Vec<ServerId> {
    let members = in_key_order(members);
    if members.is_empty() {
        return Vec::new();
    }
    let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
    let shares = share::shares(&weights, size);
    let mut walks: Vec<Walk> = members.iter().map(|member| Walk::new(member.key, size)).collect();
    let mut places = vec![NO_SERVER; size as usize];

    let mut turns = Turns::new(&shares);
    while let Some(member) = turns.next() {
        let free = loop {
            let place = walks[member].next_place();
            if places[place] == NO_SERVER {
                break place;
            }
        };
        places[free] = members[member].server;
    }
    places
}

/// The order in which members choose: in rounds, like the paper's; the one with the most places
/// chooses in every round, the others in proportion.
struct Turns<'a> {
    shares: &'a [u32],
    chosen: Vec<u32>,
    most: u32,
    /// (round, member), the next one first.
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a> Turns<'a> {
    fn new(shares: &'a [u32]) -> Self {
        let most = shares.iter().copied().max().unwrap_or(0);
        let mut turns = Self { shares, chosen: vec![0; shares.len()], most, due: BinaryHeap::new() };
        for member in 0..shares.len() {
            turns.enqueue(member);
        }
        turns
    }

    fn next(&mut self) -> Option<usize> {
        let Reverse((_, member)) = self.due.pop()?;
        self.chosen[member] += 1;
        self.enqueue(member);
        Some(member)
    }

    fn enqueue(&mut self, member: usize) {
        let (chosen, share) = (self.chosen[member], self.shares[member]);
        if chosen < share {
            let round = (u64::from(chosen) + 1) * u64::from(self.most);
            self.due.push(Reverse((round.div_ceil(u64::from(share)), member)));
        }
    }
}

/// A member's permutation of the places: from an offset in steps of `skip`. It meets every place,
/// because the size is prime.
struct Walk {
    place: u32,
    skip: u32,
    size: u32,
}

impl Walk {
    fn new(key: u64, size: u32) -> Self {
        let below = |hash: u64, limit: u32| u32::try_from(hash % u64::from(limit)).unwrap_or(0);
        Self { place: below(mix(key), size), skip: below(mix(!key), size - 1) + 1, size }
    }

    fn next_place(&mut self) -> usize {
        let place = self.place;
        self.place += self.skip;
        if self.place >= self.size {
            self.place -= self.size;
        }
        place as usize
    }
}

/// The largest primes below the powers of two.
const SIZES: [u32; 8] = [509, 1021, 2039, 4093, 8191, 16_381, 32_749, LARGEST];

/// Numbers of servers need 16 bits, and a service cannot have more servers than places.
const LARGEST: u32 = 65_521;

#[cfg(test)]
mod tests;
