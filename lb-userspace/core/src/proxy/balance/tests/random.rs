//! Random pools against a model that a reader can hold in the head.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What is random of a member; its number is its place.
#[derive(Clone, Debug)]
struct Draw {
    weight: u16,
    backup: bool,
    serves: bool,
    drained: bool,
    suspect: bool,
    too_late: bool,
    connections: u32,
    max: u32,
}

prop_compose! {
    fn draw()(
        weight in prop_oneof![1 => Just(0), 6 => 1..200_u16],
        backup in prop::bool::weighted(0.3),
        serves in prop::bool::weighted(0.8),
        drained in prop::bool::weighted(0.2),
        suspect in prop::bool::weighted(0.3),
        too_late in prop::bool::weighted(0.1),
        connections in 0..20_u32,
        max in prop_oneof![Just(0), 1..20_u32],
    ) -> Draw {
        Draw { weight, backup, serves, drained, suspect, too_late, connections, max }
    }
}

impl Draw {
    fn member(&self, number: u8) -> Member<Arc<Real>> {
        let member = with(self.connections, member(number));
        member.server.suspect.store(self.suspect, Relaxed);
        member.server.too_late.store(self.too_late && !self.suspect, Relaxed);
        Member {
            weight: self.weight,
            role: if self.backup { Role::Backup } else { Role::Regular },
            serves: self.serves,
            takes_new: self.serves && !self.drained,
            max_connections: self.max,
            ..member
        }
    }

    fn takes_new(&self) -> bool {
        self.serves && !self.drained && self.weight > 0
    }

    fn has_room(&self) -> bool {
        self.max == 0 || self.connections < self.max
    }

    /// The lower, the earlier it is asked.
    fn class(&self) -> (bool, bool) {
        (self.suspect || self.too_late, self.backup)
    }
}

fn scheduler() -> impl Strategy<Value = Scheduler> {
    prop::sample::select(SCHEDULERS.to_vec())
}

fn numbered(draws: &[Draw]) -> Vec<Member<Arc<Real>>> {
    (0..).zip(draws).map(|(number, draw)| draw.member(number)).collect()
}

proptest! {
    #[test]
    fn who_is_chosen_is_of_the_first_class_that_can(
        scheduler in scheduler(),
        draws in prop::collection::vec(draw(), 0..40),
        tried in prop::collection::btree_set(0..40_usize, 0..4),
        hashes: [u64; 8],
    ) {
        let balancer = pool(scheduler, numbered(&draws));
        let tried: Vec<usize> = tried.into_iter().collect();
        let untried: Vec<usize> = (0..draws.len()).filter(|at| draws[*at].takes_new() && !tried.contains(at)).collect();
        let able: Vec<usize> = untried.iter().copied().filter(|at| draws[*at].has_room()).collect();
        let first = able.iter().map(|at| draws[*at].class()).min();

        for hash in hashes {
            match balancer.choose(hash, hash.rotate_left(32), &tried, Instant::now()) {
                Pick::Server { at, server } => {
                    prop_assert!(able.contains(&at));
                    prop_assert_eq!(Some(draws[at].class()), first);
                    prop_assert!(Arc::ptr_eq(server, &balancer.members()[at].server));
                    let alike: Vec<&Draw> =
                        able.iter().map(|at| &draws[*at]).filter(|draw| Some(draw.class()) == first).collect();
                    let load = |draw: &Draw| f64::from(draw.connections + 1) / f64::from(draw.weight);
                    if scheduler == WeightedLeastConnection && !draws[at].too_late {
                        prop_assert!(alike.iter().all(|other| load(&draws[at]) <= load(other)), "a fuller one");
                    }
                }
                Pick::Full => prop_assert!(able.is_empty() && !untried.is_empty()),
                Pick::Nobody => prop_assert!(untried.is_empty()),
            }
        }
    }

    #[test]
    fn a_pool_that_fills_up_gives_everybody_its_share(
        weights in prop::collection::vec(1..1000_u16, 1..30), clients in 1..2000_u32,
    ) {
        let members = (0..).zip(&weights).map(|(number, weight)| Member { weight: *weight, ..member(number) });
        let balancer = pool(WeightedLeastConnection, members.collect());

        for number in 0..clients {
            let at = client(&balancer, number, &[]).expect("somebody can");
            balancer.members()[at].server.connections.fetch_add(1, Relaxed);
        }

        // Of any two, nobody has more for its weight than the other would have with one more.
        let loads: Vec<(u64, u64)> =
            balancer.members().iter().map(|m| (m.server.connections().into(), m.weight.into())).collect();
        for (mine, weight) in &loads {
            for (theirs, other) in &loads {
                prop_assert!(mine * other <= (theirs + 1) * weight, "{:?}", loads);
            }
        }
        let all: u64 = loads.iter().map(|(_, weight)| weight).sum();
        for (connections, weight) in &loads {
            prop_assert!((connections + 1) * all > u64::from(clients) * weight, "less than its share but one");
        }
    }

    #[test]
    fn turns_are_within_one_of_the_share(
        weights in prop::collection::vec(1..50_u16, 1..20), passes in 1..3_u32, more in 0..100_u32,
    ) {
        let members = (0..).zip(&weights).map(|(number, weight)| Member { weight: *weight, ..member(number) });
        let balancer = pool(WeightedRoundRobin, members.collect());
        let all: u32 = weights.iter().copied().map(u32::from).sum();
        let clients = passes * all + more;

        let shares = shares(&balancer, clients);

        for (share, weight) in shares.iter().zip(&weights) {
            let exact = f64::from(clients) * f64::from(*weight) / f64::from(all);
            // "Smooth" turns are never one ahead; within a pass somebody may be up to two behind.
            let had = *share as f64;
            prop_assert!(had < exact + 1.0 && had > exact - if more == 0 { 1.0 } else { 2.0 }, "{} of {}", had, exact);
        }
        if more == 0 {
            let exact: Vec<usize> = weights.iter().map(|weight| usize::from(*weight) * passes as usize).collect();
            prop_assert_eq!(shares, exact);
        }
    }

    #[test]
    fn every_retry_meets_another_until_all_were_tried(
        scheduler in scheduler(), draws in prop::collection::vec(draw(), 1..12), hash: u64,
    ) {
        let balancer = pool(scheduler, numbered(&draws));
        let mut tried = Vec::new();
        while let Some(at) = chosen(&balancer.choose(hash, hash, &tried, Instant::now())) {
            prop_assert!(!tried.contains(&at));
            tried.push(at);
        }
        let able: BTreeSet<usize> =
            (0..draws.len()).filter(|at| draws[*at].takes_new() && draws[*at].has_room()).collect();
        prop_assert_eq!(tried.iter().copied().collect::<BTreeSet<_>>(), able);
        prop_assert!(tried.windows(2).all(|two| draws[two[0]].class() <= draws[two[1]].class()));
    }
}
