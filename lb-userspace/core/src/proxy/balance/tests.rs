//! Who is chosen, who is not, and in which order.

mod pair;
mod peek;
mod random;
mod threads;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use super::*;
use Scheduler::{Maglev, SourceHash, WeightedLeastConnection, WeightedRoundRobin};

const SCHEDULERS: [Scheduler; 4] = [WeightedLeastConnection, WeightedRoundRobin, SourceHash, Maglev];

#[derive(Debug, Default)]
struct Real {
    connections: AtomicU32,
    suspect: AtomicBool,
    /// Another thread's client is a moment earlier.
    too_late: AtomicBool,
}

impl Candidate for Real {
    fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    fn is_suspect(&self, _now: Instant) -> bool {
        self.suspect.load(Relaxed)
    }

    fn claim(&self, _now: Instant) -> bool {
        let too_late = self.too_late.load(Relaxed);
        self.suspect.fetch_or(too_late, Relaxed);
        !too_late
    }
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn member(number: u8) -> Member<Arc<Real>> {
    Member {
        server: Arc::new(Real::default()),
        key: place_key(address(number), Some(80)),
        weight: 100,
        role: Role::Regular,
        serves: true,
        takes_new: true,
        min_connections: 0,
        max_connections: 0,
    }
}

fn backup(number: u8) -> Member<Arc<Real>> {
    Member { role: Role::Backup, ..member(number) }
}

fn drained(number: u8) -> Member<Arc<Real>> {
    Member { takes_new: false, ..member(number) }
}

fn halted(number: u8) -> Member<Arc<Real>> {
    Member { serves: false, ..drained(number) }
}

fn with(connections: u32, member: Member<Arc<Real>>) -> Member<Arc<Real>> {
    member.server.connections.store(connections, Relaxed);
    member
}

fn suspect(member: Member<Arc<Real>>) -> Member<Arc<Real>> {
    member.server.suspect.store(true, Relaxed);
    member
}

fn pool(scheduler: Scheduler, members: Vec<Member<Arc<Real>>>) -> Balancer<Arc<Real>> {
    Balancer::new(scheduler, members.len(), members)
}

fn chosen(pick: &Pick<'_, Arc<Real>>) -> Option<usize> {
    match pick {
        Pick::Server { at, .. } => Some(*at),
        Pick::Full | Pick::Nobody => None,
    }
}

/// Client `number`, each with an address of its own.
fn client(balancer: &Balancer<Arc<Real>>, number: u32, tried: &[usize]) -> Option<usize> {
    let hash = client_hash(Ipv4Addr::from_bits(number).into());
    chosen(&balancer.choose(hash, hash, tried, Instant::now()))
}

/// How many of the first clients each member gets; nobody holds a connection.
fn shares(balancer: &Balancer<Arc<Real>>, clients: u32) -> Vec<usize> {
    let mut shares = vec![0; balancer.members().len()];
    for number in 0..clients {
        shares[client(balancer, number, &[]).expect("somebody can")] += 1;
    }
    shares
}

fn answer(scheduler: Scheduler, members: Vec<Member<Arc<Real>>>, tried: &[usize]) -> Result<usize, &'static str> {
    match pool(scheduler, members).choose(1 << 40, 2 << 40, tried, Instant::now()) {
        Pick::Server { at, .. } => Ok(at),
        Pick::Full => Err("full"),
        Pick::Nobody => Err("nobody"),
    }
}

#[test]
fn regular_ones_come_before_backups_and_suspects_after_both() {
    let full = |member| with(5, Member { max_connections: 5, ..member });
    let no_weight = |number| Member { weight: 0, ..member(number) };
    for scheduler in SCHEDULERS {
        let cases = [
            (vec![backup(1), suspect(member(2)), member(3)], vec![], Ok(2)),
            (vec![backup(1), suspect(member(2)), full(member(3))], vec![], Ok(0)),
            (vec![backup(1), suspect(member(2)), member(3)], vec![2], Ok(0)),
            (vec![backup(1), suspect(member(2)), member(3)], vec![0, 2], Ok(1)),
            (vec![suspect(backup(1)), backup(2), drained(3), halted(4), no_weight(5)], vec![], Ok(1)),
            (vec![suspect(backup(1)), full(backup(2)), full(member(3))], vec![], Ok(0)),
            (vec![full(backup(1)), full(member(2)), halted(3)], vec![], Err("full")),
            (vec![full(backup(1)), suspect(full(member(2)))], vec![], Err("full")),
            (vec![full(backup(1)), member(2)], vec![1], Err("full")),
            (vec![full(backup(1)), member(2)], vec![1, 0], Err("nobody")),
            (vec![drained(1), halted(2), no_weight(3)], vec![], Err("nobody")),
            (vec![full(drained(1))], vec![], Err("nobody")),
            (vec![], vec![], Err("nobody")),
            (vec![member(1)], vec![7, 8], Ok(0)),
        ];
        for (number, (members, tried, expected)) in cases.into_iter().enumerate() {
            assert_eq!(answer(scheduler, members, &tried), expected, "{scheduler:?}, case {number}");
        }
    }
}

#[test]
fn an_idle_service_spreads_whoever_else_is_busy() {
    let members = vec![member(1), with(9, member(2)), member(3), with(9, member(4)), member(5)];
    assert_eq!(shares(&pool(WeightedLeastConnection, members), 300), [100, 0, 100, 0, 100]);
}

#[test]
fn of_two_idle_ones_the_heavier_is_less_loaded_and_products_are_exact() {
    let heavier = Member { weight: 101, ..member(2) };
    assert_eq!(shares(&pool(WeightedLeastConnection, vec![member(1), heavier]), 20), [0, 20]);

    let weights = |first, second| vec![(first, member(1)), (second, member(2))];
    let pool_of = |connections: [u32; 2], members: Vec<(u16, Member<Arc<Real>>)>| {
        let members = members.into_iter().zip(connections);
        let loaded = members.map(|((weight, member), connections)| with(connections, Member { weight, ..member }));
        pool(WeightedLeastConnection, loaded.collect())
    };
    let most = u32::MAX;
    assert_eq!(shares(&pool_of([most, most - 1], weights(u16::MAX, u16::MAX)), 9), [0, 9], "one less of 2^32");
    assert_eq!(shares(&pool_of([most, most], weights(u16::MAX - 1, u16::MAX)), 9), [0, 9], "one more weight");
}

#[test]
fn round_robin_gives_turns_by_weight_and_goes_on_where_the_one_before_was() {
    let members = || vec![Member { weight: 50, ..member(1) }, Member { weight: 10, ..member(2) }, member(3)];
    let balancer = pool(WeightedRoundRobin, members());
    assert_eq!(shares(&balancer, 16 * 5), [25, 5, 50]);

    let list: Vec<_> = (0..16).map(|number| client(&balancer, number, &[])).collect();
    let mut next = pool(WeightedRoundRobin, members());
    let again: Vec<_> = (0..16)
        .map(|number| {
            // Rebuilt before every client, as when a slow start changes the weights of another one.
            next = pool(WeightedRoundRobin, members()).after(&next);
            client(&next, number, &[])
        })
        .collect();
    assert_eq!(again, list);
}

#[test]
fn one_that_was_full_has_room_below_its_low_mark_also_after_a_change() {
    let with_low_mark = || Member { max_connections: 10, min_connections: 5, ..member(1) };
    let first = pool(WeightedRoundRobin, vec![with_low_mark()]);
    let real = Arc::clone(&first.members()[0].server);
    // The last column: what the one before it was told, and a change of the pool in between.
    let steps =
        [(9, true, false), (10, false, false), (9, false, false), (5, false, true), (4, true, true), (9, true, true)];
    let mut balancer = first;
    for (connections, has_room, rebuilt) in steps {
        if rebuilt {
            let members = vec![member(2), Member { server: Arc::clone(&real), ..with_low_mark() }];
            balancer = pool(WeightedRoundRobin, members).after(&balancer);
        }
        real.connections.store(connections, Relaxed);
        let at = balancer.members().len() - 1;
        let tried = if rebuilt { vec![0] } else { vec![] };
        assert_eq!(client(&balancer, 0, &tried) == Some(at), has_room, "{connections} connections");
        assert_eq!(balancer.admit(at, Instant::now()).is_some(), has_room, "{connections} connections");
    }
}

#[test]
fn without_a_low_mark_there_is_room_below_the_maximum() {
    let balancer = pool(WeightedLeastConnection, vec![with(3, Member { max_connections: 3, ..member(1) })]);
    assert_eq!(client(&balancer, 0, &[]), None);
    balancer.members()[0].server.connections.store(2, Relaxed);
    assert_eq!(client(&balancer, 0, &[]), Some(0));
}

#[test]
fn who_becomes_suspect_at_this_moment_is_not_met_while_another_can() {
    for scheduler in SCHEDULERS {
        let late = |member: Member<Arc<Real>>| {
            member.server.too_late.store(true, Relaxed);
            member
        };
        let mut members: Vec<_> = (1..=9).map(|number| late(member(number))).collect();
        members.extend([member(10), backup(11)]);
        assert_eq!(shares(&pool(scheduler, members), 40)[9], 40, "{scheduler:?}");

        let all_late = pool(scheduler, vec![late(member(1)), late(member(2)), backup(3)]);
        assert_eq!(shares(&all_late, 40)[2], 40, "{scheduler:?}: a backup that is well comes before suspects");
    }
}

#[test]
fn persistent_clients_come_to_drained_ones_but_not_past_a_limit_or_a_halt() {
    let no_weight = Member { weight: 0, ..member(2) };
    let full = with(5, Member { max_connections: 5, ..member(4) });
    let balancer = pool(WeightedLeastConnection, vec![drained(1), no_weight, halted(3), full]);
    let admitted: Vec<bool> = (0..6).map(|at| balancer.admit(at, Instant::now()).is_some()).collect();
    assert_eq!(admitted, [true, true, false, false, false, false]);
}

#[test]
fn clients_of_a_suspect_stay_when_no_other_can() {
    let admits = |members, at| pool(SourceHash, members).admit(at, Instant::now()).is_some();
    assert!(!admits(vec![suspect(member(1)), member(2)], 0));
    assert!(admits(vec![suspect(member(1)), suspect(member(2)), drained(3)], 0));
    assert!(!admits(vec![suspect(member(1)), suspect(member(2)), backup(3)], 0));
    assert!(admits(vec![suspect(drained(1)), halted(2)], 0));
    assert!(!admits(vec![backup(1), suspect(backup(2)), halted(3)], 1));
}

#[test]
fn clients_of_a_backup_come_home() {
    let admits = |regular| pool(SourceHash, vec![regular, backup(2)]).admit(1, Instant::now()).is_some();
    assert!(!admits(member(1)));
    assert!(admits(halted(1)));
    assert!(admits(drained(1)), "a new client would come to the backup, too");
    assert!(admits(suspect(member(1))));
    assert!(admits(with(1, Member { max_connections: 1, ..member(1) })));
}

#[test]
fn one_of_two_hundred_and_fifty_that_can_is_found_by_every_scheduler() {
    for scheduler in SCHEDULERS {
        let members: Vec<_> = (0..250).map(|number| with(1, Member { max_connections: 1, ..member(number) })).collect();
        members[123].server.connections.store(0, Relaxed);
        let balancer = pool(scheduler, members);
        assert_eq!(shares(&balancer, 50)[123], 50, "{scheduler:?}");
    }
}

#[test]
fn a_light_one_beside_a_heavy_one_that_is_full_is_found_and_spreads() {
    let heavy = with(1, Member { max_connections: 1, weight: u16::MAX, ..member(1) });
    let light = |number| Member { weight: 1, ..member(number) };
    for scheduler in SCHEDULERS {
        let heavy = Member { server: Arc::clone(&heavy.server), ..heavy };
        let shares = shares(&pool(scheduler, vec![heavy, light(2), light(3)]), 1000);
        assert!(shares[0] == 0 && shares[1] > 300 && shares[2] > 300, "{scheduler:?}: {shares:?}");
    }
}
