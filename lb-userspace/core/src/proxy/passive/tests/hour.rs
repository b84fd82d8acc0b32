//! An hour of a service whose real servers fail in all ways, with a client every 50 ms.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::config::model::Scheduler::{self, Maglev, SourceHash, WeightedLeastConnection, WeightedRoundRobin};
use crate::proxy::balance::{Balancer, Candidate, Member, Pick, Role, client_hash, place_key};

struct Real {
    passive: Passive,
    /// Seconds of the hour in which no connection can be opened.
    ill: Vec<Range<u64>>,
    served: AtomicU32,
}

impl Candidate for Real {
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

#[derive(Debug, Default)]
struct Hour {
    /// At which second, of whom, whether it became suspect.
    told: Vec<(u64, usize, bool)>,
    /// That clients met at each real server.
    failures: Vec<u32>,
    /// Clients whose second try failed as well.
    refused: u32,
}

fn hour(scheduler: Scheduler, ill: Vec<Vec<Range<u64>>>) -> Hour {
    let begin = Instant::now();
    let member = |(number, ill): (u8, Vec<Range<u64>>)| Member {
        server: Real { passive: Passive::new(Some(config(3, 0)), begin), ill, served: AtomicU32::new(0) },
        key: place_key([192, 0, 2, number].into(), None),
        weight: 100,
        role: Role::Regular,
        serves: true,
        takes_new: true,
        min_connections: 0,
        max_connections: 0,
    };
    let mut hour = Hour { failures: vec![0; ill.len()], ..Hour::default() };
    let balancer = Balancer::new(scheduler, ill.len(), (1..).zip(ill).map(member).collect());
    for client in 0..3600 * 20_u32 {
        let now = begin + client * Duration::from_millis(50);
        let second = u64::from(client / 20);
        let hash = client_hash(std::net::Ipv4Addr::from_bits(client).into());
        let mut tried = Vec::new();
        let served = (0..2).any(|_| {
            let Pick::Server { at, server } = balancer.choose(hash, hash, &tried, now) else { return false };
            let fails = server.ill.iter().any(|seconds| seconds.contains(&second));
            let change = if fails { server.passive.connect_failed(now) } else { server.passive.connected() };
            hour.told.extend(change.map(|change| (second, at, change != Change::Recovered)));
            hour.failures[at] += u32::from(fails);
            server.served.fetch_add(u32::from(!fails), Relaxed);
            tried.push(at);
            !fails
        });
        hour.refused += u32::from(!served);
    }
    let served: u32 = balancer.members().iter().map(|member| member.server.served.load(Relaxed)).sum();
    assert_eq!(served + hour.refused, 3600 * 20, "every client is served by somebody, or was refused");
    hour
}

#[test]
fn ten_minutes_of_one_cost_three_clients_a_second_try_and_one_more_each_ten_seconds() {
    for scheduler in [WeightedLeastConnection, WeightedRoundRobin, SourceHash, Maglev] {
        let Hour { told, failures, refused } = hour(scheduler, vec![vec![600..1200], vec![], vec![]]);

        assert_eq!(refused, 0, "{scheduler:?}: the second try meets another");
        let [(fell, 0, true), (rose, 0, false)] = told[..] else { panic!("{scheduler:?}: {told:?}") };
        assert!((600..605).contains(&fell), "{scheduler:?}: suspect at {fell}");
        assert!((1200..1215).contains(&rose), "{scheduler:?}: trusted at {rose}");
        // Three at the beginning, then a trial when the rest is over and a client comes by: 59, or a few less.
        assert!((3 + 54..=3 + 59).contains(&failures[0]), "{scheduler:?}: {failures:?}");
        assert_eq!(failures[1..], [0, 0]);
    }
}

#[test]
fn when_all_are_suspect_all_are_asked_and_whoever_works_again_is_found_within_a_rest() {
    let ill = vec![vec![600..660, 900..901], vec![600..720]];
    let Hour { told, failures, refused } = hour(WeightedRoundRobin, ill);
    let changes: Vec<(usize, bool)> = told.iter().map(|(_, at, suspect)| (*at, *suspect)).collect();
    // The second of illness at 900 is twenty clients, ten of them at each: three in a row.
    assert!(matches!(changes[..2], [(0, true), (1, true)] | [(1, true), (0, true)]), "{told:?}");
    assert_eq!(changes[2..], [(0, false), (1, false), (0, true), (0, false)], "{told:?}");
    let seconds: Vec<u64> = told.iter().map(|(second, ..)| *second).collect();
    assert!((660..671).contains(&seconds[2]) && (720..731).contains(&seconds[3]), "{told:?}");
    assert!((910..912).contains(&seconds[5]), "{told:?}");
    // For a minute nobody is there, and each client meets both; then nobody is refused.
    assert_eq!(refused, 60 * 20);
    assert!(failures[1] >= 60 * 20 && failures[0] >= 60 * 20, "{failures:?}");
}
