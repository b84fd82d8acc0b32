//! What both of a pair, and layer 4, agree about.

use std::collections::BTreeMap;

use super::*;
use crate::config::model::PortRange;
use crate::config::{Source, load};
use crate::tables::{Admin, Health, Ids, NextHop, ServerInput, ServerKey, compile};

const SITE: &str = "\
version: 1
node: {name: lb1, interfaces: [{device: eth0}]}
virtual_services:
  - name: web
    address: 192.0.2.100
    ports: [80]
    mode: l4-nat
    scheduler: source-hash
    real_servers:
      - {name: r1, address: 192.0.2.1, port: 8080}
      - {name: r2, address: 192.0.2.2, weight: 30}
      - {name: r3, address: 192.0.2.3, weight: 5}
      - {name: r4, address: 192.0.2.4}
      - {name: r5, address: 192.0.2.5, port: 8081}
      - {name: r6, address: 192.0.2.6}
";

/// A hash that looks at this place of a ring of this size.
fn at_place(place: usize, size: usize) -> u64 {
    let hash = ((place as u128) << 64).div_ceil(size as u128);
    u64::try_from(hash).expect("a place below the size")
}

#[test]
fn every_place_of_the_ring_is_the_one_of_the_tables() {
    let source = Source { path: "lb.yaml".into(), text: SITE.to_owned() };
    let config = load(&[source], &|_| None).unwrap_or_else(|errors| panic!("{errors:?}")).config;
    let service = &config.virtual_services[0];
    assert_eq!(service.ports, [PortRange { first: 80, last: 80 }]);
    let hop = NextHop {
        ifindex: 7,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        outer_vlan: 0,
        inner_vlan: 0,
        source: None,
    };
    // r4 is down, so the ring has fewer members than are configured.
    let health = |name: &str| if name == "r4" { Health::Down } else { Health::Up };
    let key = |name: &str| ServerKey { service: "web".to_owned(), server: name.to_owned() };
    let states: BTreeMap<ServerKey, ServerInput> = service
        .real_servers
        .iter()
        .map(|real| {
            let health = health(&real.name);
            let input = ServerInput { admin: Admin::Online, health, next_hop: Some(hop), weight: None, full: false };
            (key(&real.name), input)
        })
        .collect();
    let wanted = compile(&config, &states, &mut Ids::new(), std::time::Duration::from_secs(1)).expect("it fits");
    let ring = &wanted.schedules[&wanted.service_numbers["web"]].ring;

    let members = service.real_servers.iter().map(|real| Member {
        key: place_key(real.address, real.port),
        weight: real.weight,
        serves: health(&real.name) == Health::Up,
        takes_new: health(&real.name) == Health::Up,
        ..member(0)
    });
    let balancer = pool(SourceHash, members.collect());

    assert_eq!(ring.len(), 1021);
    for (place, number) in ring.iter().enumerate() {
        let at = chosen(&balancer.choose(0, at_place(place, ring.len()), &[], Instant::now())).expect("somebody can");
        assert_eq!(wanted.server_numbers[&key(&service.real_servers[at].name)], *number, "place {place}");
    }
}

/// Recorded: another value means that an update of the daemon, or the other unit of a pair, would send every client to
/// another server.
#[test]
fn hashes_of_clients_are_the_same_in_every_build() {
    let client = "198.51.100.7:50000".parse().expect("an address");
    assert_eq!([flow_hash(client), client_hash(client.ip()), place_key(client.ip(), None)], RECORDED);
}

const RECORDED: [u64; 3] = [15_873_391_035_394_045_817, 18_400_885_765_045_018_608, 7_667_092_426_915_652_162];

#[test]
fn source_hash_goes_by_the_client_and_maglev_by_the_flow() {
    let spread = |scheduler, vary_flow: bool| {
        let balancer = pool(scheduler, (1..=5).map(member).collect());
        let mut seen = [0; 5];
        for port in 0..1000_u16 {
            let hash = flow_hash((address(9), port).into());
            let (flow, client) = if vary_flow { (hash, 7) } else { (7, hash) };
            seen[chosen(&balancer.choose(flow, client, &[], Instant::now())).expect("somebody can")] += 1;
        }
        seen.iter().filter(|count| **count > 150).count()
    };
    assert_eq!([spread(SourceHash, false), spread(Maglev, true)], [5, 5]);
    assert_eq!([spread(SourceHash, true), spread(Maglev, false)], [1, 1]);
}

#[test]
fn clients_of_one_that_cannot_go_to_all_others_and_nobody_else_moves() {
    for how in ["full", "suspect", "tried"] {
        let members = || (1..=5).map(|number| Member { max_connections: 9, ..member(number) }).collect();
        let (before, after) = (pool(SourceHash, members()), pool(SourceHash, members()));
        let mut tried: &[usize] = &[];
        match how {
            "full" => after.members()[2].server.connections.store(9, Relaxed),
            "suspect" => after.members()[2].server.suspect.store(true, Relaxed),
            _ => tried = &[2],
        }
        let mut heirs = [0; 5];
        for number in 0..2000 {
            let was = client(&before, number, &[]).expect("somebody can");
            let is = client(&after, number, tried).expect("somebody can");
            if was == 2 {
                heirs[is] += 1;
            } else {
                assert_eq!(was, is, "{how}: client {number}");
            }
        }
        assert!(heirs[2] == 0 && [0, 1, 3, 4].iter().all(|at| heirs[*at] > 40), "{how}: {heirs:?}");
    }
}

#[test]
fn who_is_far_away_on_the_ring_is_the_same_on_both_and_stays_when_others_come() {
    // Two that can have a few places of a ring that somebody else has nearly alone.
    let members = |others: &[u32]| {
        let heavy = with(1, Member { weight: u16::MAX, max_connections: 1, ..member(1) });
        let light = (2..=9).zip(others).map(|(number, connections)| {
            with(*connections, Member { weight: 1, max_connections: 1, ..member(number) })
        });
        std::iter::once(heavy).chain(light).collect::<Vec<_>>()
    };
    let some = pool(SourceHash, members(&[0, 0, 0, 0, 1, 1, 1, 1]));
    let mut other_unit_members = members(&[0, 0, 0, 0, 1, 1, 1, 1]);
    other_unit_members.reverse();
    let other_unit = pool(SourceHash, other_unit_members);
    let more = pool(SourceHash, members(&[0, 0, 0, 0, 0, 1, 1, 1]));
    let mut moved = 0;
    for number in 0..1000 {
        let at = client(&some, number, &[]).expect("somebody can");
        assert_eq!(client(&other_unit, number, &[]), Some(8 - at), "client {number}");
        let with_more = client(&more, number, &[]).expect("somebody can");
        if with_more != at {
            assert_eq!(with_more, 5, "client {number} moves only to the one that came");
            moved += 1;
        }
    }
    assert!((100..300).contains(&moved), "{moved} of 1000 come to one of five");
}
