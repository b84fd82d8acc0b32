//! Several threads choose at once.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::config::model::PassiveHealth;
use crate::proxy::passive::{Change, Passive};

const THREADS: u16 = 4;

/// What each thread returns, all let go at the same moment.
fn at_once<T: Send>(work: impl Fn(u16) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(THREADS.into());
    thread::scope(|scope| {
        let (work, barrier) = (&work, &barrier);
        let start = |number| {
            scope.spawn(move || {
                barrier.wait();
                work(number)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

#[test]
fn no_turn_is_given_twice() {
    let weights = [7_u16, 3, 1, 5];
    let members = (1..).zip(weights).map(|(number, weight)| Member { weight, ..member(number) });
    let balancer = pool(WeightedRoundRobin, members.collect());

    let shares = at_once(|_| shares(&balancer, 16 * 250));

    for (at, weight) in weights.into_iter().enumerate() {
        let turns: usize = shares.iter().map(|of_thread| of_thread[at]).sum();
        assert_eq!(turns, usize::from(weight * 250 * THREADS), "member {at}");
    }
}

#[test]
fn connections_held_by_threads_differ_by_no_more_than_the_threads() {
    let balancer = pool(WeightedLeastConnection, (1..=7).map(member).collect());

    at_once(|_| {
        for number in 0..2000 {
            let at = client(&balancer, number, &[]).expect("somebody can");
            balancer.members()[at].server.connections.fetch_add(1, Relaxed);
        }
    });

    let held: Vec<u32> = balancer.members().iter().map(|member| member.server.connections()).collect();
    let (most, least) = (held.iter().max().expect("seven"), held.iter().min().expect("seven"));
    assert_eq!(held.iter().sum::<u32>(), 2000 * u32::from(THREADS));
    assert!(most - least <= THREADS.into(), "{held:?}");
}

struct Tried {
    passive: Passive,
    given: AtomicU32,
}

impl Candidate for Tried {
    fn connections(&self) -> u32 {
        0
    }

    fn is_suspect(&self, now: Instant) -> bool {
        self.passive.is_suspect(now)
    }

    fn claim(&self, now: Instant) -> bool {
        self.passive.claim(now)
    }
}

#[test]
fn one_client_of_all_threads_is_the_trial() {
    let begin = Instant::now();
    let config = PassiveHealth { connect_failures: 1, ..PassiveHealth::default() };
    for scheduler in SCHEDULERS {
        let real = |number| {
            let server = Tried { passive: Passive::new(Some(config), begin), given: AtomicU32::new(0) };
            let Member { key, weight, role, serves, takes_new, min_connections, max_connections, .. } = member(number);
            Member { server, key, weight, role, serves, takes_new, min_connections, max_connections }
        };
        let balancer = Balancer::new(scheduler, 2, vec![real(1), real(2)]);
        let ill = &balancer.members()[0].server;
        for round in 0..20 {
            let failed = begin + config.rest * 3 * round;
            let change = ill.passive.connect_failed(failed);
            assert_eq!(matches!(change, Some(Change::BecameSuspect(_))), round == 0);
            let now = failed + config.rest;

            at_once(|thread| {
                for number in 0..50 {
                    let hash = flow_hash((address(9), number * THREADS + thread).into());
                    let Pick::Server { server, .. } = balancer.choose(hash, hash, &[], now) else { panic!("two can") };
                    server.given.fetch_add(1, Relaxed);
                }
            });
        }
        let given = [0, 1].map(|at: usize| balancer.members()[at].server.given.load(Relaxed));
        assert_eq!(given, [20, 20 * (50 * u32::from(THREADS) - 1)], "{scheduler:?}");
    }
}
