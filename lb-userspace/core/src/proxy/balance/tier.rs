//! The members of one role that take new clients, in the orders in which schedulers go through them.

use super::{Candidate, Member, Role};
use crate::config::model::Scheduler;
use crate::schedule::ring::{ring, ring_size};
use crate::schedule::stable_hash;
use crate::schedule::turns::{each_once, weighted_turns};
use crate::schedule::{self};

/// Places are those of the pool's members.
#[derive(Debug)]
pub(super) struct Tier {
    /// Each with its key, once.
    each: Box<[(u32, u64)]>,
    /// The turn list or the ring; empty for least connection, which looks at each.
    list: Box<[u32]>,
}

impl Tier {
    pub(super) fn new<S: Candidate>(
        scheduler: Scheduler,
        configured: usize,
        members: &[Member<S>],
        role: Role,
    ) -> Self {
        let takes = |member: &Member<S>| member.role == role && member.serves && member.takes_new && member.weight > 0;
        // Numbers begin with 1: a ring has 0 for nobody.
        let members: Vec<schedule::Member> = (1..)
            .zip(members)
            .filter(|(_, member)| takes(member))
            .map(|(server, member)| schedule::Member { server, key: member.key, weight: member.weight.into() })
            .collect();
        let list = match scheduler {
            Scheduler::WeightedLeastConnection => Vec::new(),
            Scheduler::WeightedRoundRobin => weighted_turns(&members),
            Scheduler::SourceHash | Scheduler::Maglev => ring(&members, ring_size(configured.max(members.len()))),
        };
        let key = |server| members.iter().find(|member| member.server == server).map_or(0, |member| member.key);
        let each = each_once(&members).into_iter().map(|server| (server - 1, key(server))).collect();
        Self { each, list: list.into_iter().map(|server| server - 1).collect() }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = usize> {
        self.each.iter().map(|(at, _)| *at as usize)
    }

    /// The first one that can, from a turn on.
    pub(super) fn in_turn(&self, turn: u64, can: impl Fn(usize) -> bool) -> Option<usize> {
        let first = turn.checked_rem(self.list.len() as u64)?;
        self.walk(usize::try_from(first).unwrap_or(0), &can).or_else(|| self.by_lot(turn, &can))
    }

    /// The first one that can, from the place of a hash on: the high half of hash * size is a place below size.
    pub(super) fn on_ring(&self, hash: u64, can: impl Fn(usize) -> bool) -> Option<usize> {
        let first = (u128::from(hash) * self.list.len() as u128) >> 64;
        self.walk(usize::try_from(first).unwrap_or(0), &can).or_else(|| self.by_lot(hash, &can))
    }

    fn walk(&self, first: usize, can: &impl Fn(usize) -> bool) -> Option<usize> {
        let (before, from) = self.list.split_at_checked(first)?;
        from.iter().chain(before).take(WALK).map(|at| *at as usize).find(|at| can(*at))
    }

    /// One of those that can, at the same cost for any list: the one whose lot with this number is the highest, which is
    /// the same on both of a pair, and stays the same when others come and go.
    fn by_lot(&self, number: u64, can: &impl Fn(usize) -> bool) -> Option<usize> {
        let lot = |key: u64| stable_hash(&(key ^ stable_hash(&number.to_be_bytes())).to_be_bytes());
        let able = self.each.iter().filter(|(at, _)| can(*at as usize));
        able.max_by_key(|(_, key)| lot(*key)).map(|(at, _)| *at as usize)
    }
}

/// Places of the list that are looked at. Where servers that cannot take turns with servers that can, a few are
/// enough; a list can have tens of thousands.
const WALK: usize = 64;
