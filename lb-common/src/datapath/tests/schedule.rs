//! Which server a new flow gets.

use std::collections::BTreeMap;

use super::*;
use crate::abi::schedule_word;

/// New flows from ports 1 to `count`, by server.
fn spread(tables: &MemTables, count: u16) -> BTreeMap<ServerId, usize> {
    let mut spread = BTreeMap::new();
    for port in 1..=count {
        *spread.entry(server_of(tables, &syn(port))).or_insert(0) += 1;
    }
    spread
}

fn opened(tables: &MemTables, server: ServerId, connections: u64) {
    tables.opened.borrow_mut().entry(server).or_default().flows = connections;
}

fn limits(tables: &mut MemTables, server: ServerId, most: u32, least: u32) {
    let entry = tables.servers.get_mut(&server).expect("a server of the scenario");
    (entry.max_connections, entry.min_connections) = (most, least);
}

/// Sets the turn list and the ring of the only service.
fn places(tables: &mut MemTables, servers: &[ServerId]) {
    for (word, four) in (0..).zip(servers.chunks(4)) {
        let place = |i: usize| four.get(i).copied().unwrap_or(crate::abi::NO_SERVER);
        tables.schedule.insert(PLACES / 4 + word, schedule_word([place(0), place(1), place(2), place(3)]));
    }
    let size = u32::try_from(servers.len()).expect("few places");
    let service = tables.services.get_mut(&SERVICE).expect("the service");
    (service.ring_size, service.turns_size) = (size, size);
}

#[test]
fn least_connection_is_exact_for_up_to_four_servers() {
    for count in 1..=4_u32 {
        let tables = tables(&scenario(Scheduler::WeightedLeastConnection, count as usize));
        for fewest in 0..count {
            for server in 0..count {
                opened(&tables, FIRST + server, if server == fewest { 3 } else { 5 + u64::from(server) });
            }
            for turn in 0..4 {
                let port = u16::try_from(1000 + fewest * 10 + turn).expect("a port");
                opened(&tables, FIRST + fewest, 3);
                assert_eq!(server_of(&tables, &syn(port)), FIRST + fewest, "{count} servers, turn {turn}");
            }
        }
    }
}

#[test]
fn least_connection_fills_servers_by_their_weights() {
    let mut scenario = scenario(Scheduler::WeightedLeastConnection, 4);
    for (server, weight) in scenario.servers.iter_mut().zip([100, 50, 25, 25]) {
        server.weight = weight;
    }
    let spread = spread(&tables(&scenario), 400);
    assert_eq!(spread.into_iter().collect::<Vec<_>>(), [(10, 200), (11, 100), (12, 50), (13, 50)]);
}

#[test]
fn of_idle_servers_the_heaviest_is_first() {
    let mut scenario = scenario(Scheduler::WeightedLeastConnection, 3);
    scenario.servers[1].weight = 7;
    assert_eq!(server_of(&tables(&scenario), &syn(1)), FIRST + 1);
}

#[test]
fn a_server_of_weight_zero_gets_no_flow_by_least_connection() {
    let mut scenario = scenario(Scheduler::WeightedLeastConnection, 2);
    scenario.servers[0].weight = 0;
    let tables = tables(&scenario);
    opened(&tables, FIRST + 1, 1_000_000);
    assert_eq!(spread(&tables, 20), [(FIRST + 1, 20)].into());
}

#[test]
fn connections_that_ended_count_no_more() {
    let mut tables = tables(&scenario(Scheduler::WeightedLeastConnection, 2));
    opened(&tables, FIRST, 100);
    opened(&tables, FIRST + 1, 5);
    tables.closed.insert(FIRST, 98);
    assert_eq!(server_of(&tables, &syn(1)), FIRST);
}

#[test]
fn least_connection_over_many_servers_stays_close_to_even() {
    let tables = tables(&scenario(Scheduler::WeightedLeastConnection, 20));
    let spread = spread(&tables, 2000);
    assert_eq!(spread.len(), 20);
    assert!(spread.values().all(|flows| (95..=105).contains(flows)), "{spread:?}");
}

#[test]
fn round_robin_goes_through_the_turn_list_in_order() {
    let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 3));
    let turns = [10, 11, 10, 12, 10, 11];
    places(&mut tables, &turns);
    for (port, turn) in (1..=18).zip(turns.iter().cycle()) {
        assert_eq!(sent(&tables, &syn(port)), (*turn, Reason::Scheduled), "flow {port}");
    }
}

#[test]
fn round_robin_goes_on_over_the_wrap_of_its_counter() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 4));
    tables.rotation.borrow_mut().insert(SERVICE, u32::MAX - 1);
    let servers: Vec<_> = (1..=4).map(|port| server_of(&tables, &syn(port))).collect();
    assert_eq!(servers, [12, 13, 10, 11]);
}

#[test]
fn each_service_has_turns_of_its_own() {
    let other = Scenario::new(ip(VIP), &[(81, 81)], &BOTH, Scheduler::WeightedRoundRobin, 2);
    let tables = and(tables(&scenario(Scheduler::WeightedRoundRobin, 2)), other);
    let to = |port, source| PacketBuilder::tcp((ip(CLIENT), source), (ip(VIP), port), tcp::SYN, b"").build();
    let servers: Vec<_> = [80, 81, 80, 81].iter().zip(1..).map(|(port, i)| server_of(&tables, &to(*port, i))).collect();
    assert_eq!(servers, [FIRST, SECOND, FIRST + 1, SECOND + 1]);
}

#[test]
fn source_hash_is_the_same_for_all_ports_and_protocols_of_a_client() {
    let mut tables = MemTables::default();
    Scenario::new(ip(VIP), &[(1, 65_535)], &BOTH, Scheduler::SourceHash, 7).install(
        &mut tables,
        SERVICE,
        FIRST,
        PLACES,
    );
    for low in 0..100_u8 {
        let client = IpAddr::from([10, 7, 1, low]);
        let mut servers: Vec<_> = [(1, 80), (2, 443), (65_535, 65_535)]
            .into_iter()
            .flat_map(|(source, port)| {
                let tcp = PacketBuilder::tcp((client, source), (ip(VIP), port), tcp::SYN, b"").build();
                let udp = PacketBuilder::udp((client, source), (ip(VIP), port), b"").build();
                [server_of(&tables, &tcp), server_of(&tables, &udp)]
            })
            .collect();
        servers.dedup();
        assert_eq!(servers.len(), 1, "{client}");
    }
}

#[test]
fn source_hash_spreads_neighbouring_clients() {
    let tables = tables(&scenario(Scheduler::SourceHash, 8));
    let mut spread = BTreeMap::new();
    for low in 0..4000_u16 {
        let [high, low] = low.to_be_bytes();
        let frame = segment_from(&format!("10.7.{high}.{low}"), 9, tcp::SYN);
        *spread.entry(server_of(&tables, &frame)).or_insert(0) += 1;
    }
    assert!(spread.len() == 8 && spread.values().all(|clients| (400..=600).contains(clients)), "{spread:?}");
}

#[test]
fn maglev_goes_by_the_flow_and_by_nothing_that_happened_before() {
    let one = tables(&scenario(Scheduler::Maglev, 8));
    let other = tables(&scenario(Scheduler::Maglev, 8));
    let forward: Vec<_> = (1..=500).map(|port| server_of(&one, &syn(port))).collect();
    let mut backward: Vec<_> = (1..=500).rev().map(|port| server_of(&other, &syn(port))).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let spread = spread(&tables(&scenario(Scheduler::Maglev, 8)), 4000);
    assert!(spread.len() == 8 && spread.values().all(|flows| (400..=600).contains(flows)), "{spread:?}");
}

#[test]
fn maglev_tells_every_part_of_a_flow_apart() {
    let mut tables = MemTables::default();
    Scenario::new(ip(VIP), &[(1, 65_535)], &BOTH, Scheduler::Maglev, 8).install(&mut tables, SERVICE, FIRST, PLACES);
    let flow = |client: &str, source, port| PacketBuilder::udp((ip(client), source), (ip(VIP), port), b"");
    let tcp = |source| PacketBuilder::tcp((ip(CLIENT), source), (ip(VIP), PORT), tcp::SYN, b"");
    let others: [(&str, &dyn Fn(u16) -> PacketBuilder); 3] = [
        ("client", &|i| flow("10.7.0.2", i, PORT)),
        ("destination port", &|i| flow(CLIENT, i, PORT + 1)),
        ("protocol", &tcp),
    ];
    for (what, other) in others {
        let same = (1..=400)
            .filter(|i| server_of(&tables, &flow(CLIENT, *i, PORT).build()) == server_of(&tables, &other(*i).build()));
        let same = same.count();
        assert!((20..=80).contains(&same), "{what}: {same} of 400 agree, where chance says 50");
    }
}

#[test]
fn the_places_of_a_ring_are_all_used_and_no_others() {
    for size in [1, 2, 3, 5, 13, 64] {
        let mut tables = tables(&scenario(Scheduler::Maglev, 64));
        let ring: Vec<_> = (FIRST..FIRST + size).collect();
        places(&mut tables, &ring);
        assert_eq!(spread(&tables, 2000).into_keys().collect::<Vec<_>>(), ring, "{size} places");
    }
}

#[test]
fn a_full_server_takes_flows_again_below_its_low_mark() {
    let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 1));
    limits(&mut tables, FIRST, 10, 4);
    let mut ports = 1..;
    let mut try_one = |tables: &MemTables| reason(tables, &syn(ports.next().expect("a port")));
    for flow in 0..10 {
        assert_eq!(try_one(&tables), Reason::Scheduled, "flow {flow}");
    }
    assert_eq!(try_one(&tables), Reason::ServersFull, "10 of 10");
    for (closed, expected) in [(1, Reason::ServersFull), (6, Reason::ServersFull), (7, Reason::Scheduled)] {
        tables.closed.insert(FIRST, closed);
        assert_eq!(try_one(&tables), expected, "{} of 10 left", 10 - closed);
    }
    assert_eq!(try_one(&tables), Reason::Scheduled, "and from there up to the maximum");
}

#[test]
fn without_a_low_mark_a_full_server_takes_flows_again_below_the_maximum() {
    let mut tables = tables(&scenario(Scheduler::Maglev, 1));
    limits(&mut tables, FIRST, 2, 0);
    let reasons: Vec<_> = (1..=3).map(|port| reason(&tables, &syn(port))).collect();
    assert_eq!(reasons, [Reason::Scheduled, Reason::Scheduled, Reason::ServersFull]);
    tables.closed.insert(FIRST, 1);
    assert_eq!(reason(&tables, &syn(4)), Reason::Scheduled);
}

#[test]
fn limits_divert_new_flows_and_leave_the_old_ones() {
    for scheduler in [Scheduler::WeightedLeastConnection, Scheduler::WeightedRoundRobin, Scheduler::Maglev] {
        let mut tables = tables(&scenario(scheduler, 3));
        limits(&mut tables, FIRST, 5, 0);
        limits(&mut tables, FIRST + 1, 7, 0);
        let servers: Vec<_> = (1..=100).map(|port| (port, establish(&tables, port))).collect();
        let count = |server| servers.iter().filter(|(_, s)| *s == server).count();
        assert_eq!([count(FIRST), count(FIRST + 1), count(FIRST + 2)], [5, 7, 88], "{scheduler:?}");
        for (port, server) in servers {
            assert_eq!(sent(&tables, &ack(port)), (server, Reason::Established), "{scheduler:?}");
        }
    }
}

#[test]
fn when_all_servers_are_full_the_drop_says_so() {
    for scheduler in ALL {
        let mut tables = tables(&scenario(scheduler, 3));
        for server in FIRST..FIRST + 3 {
            limits(&mut tables, server, 1, 0);
            opened(&tables, server, 1);
        }
        assert_eq!(run(&tables, &syn(1)), (Verdict::drop(Reason::ServersFull), syn(1)), "{scheduler:?}");
        cut(&mut tables, FIRST);
        assert_eq!(reason(&tables, &syn(1)), Reason::ServersFull, "{scheduler:?}, one of them down");
        assert!(tables.pending_flows.is_empty());
    }
}

#[test]
fn when_no_server_can_take_a_flow_the_drop_says_so() {
    for scheduler in ALL {
        assert_eq!(reason(&tables(&scenario(scheduler, 0)), &syn(1)), Reason::NoServer, "{scheduler:?}, none");
        type Change = fn(&mut crate::abi::Server);
        let changes: [(&str, Change); 4] = [
            ("down", |server| server.state = ServerState::Down as u8),
            ("draining", |server| server.state = ServerState::Draining as u8),
            ("in an unknown state", |server| server.state = 77),
            ("without next hop", |server| server.ifindex = 0),
        ];
        for (what, change) in changes {
            let mut tables = tables(&scenario(scheduler, 3));
            tables.servers.values_mut().for_each(change);
            assert_eq!(reason(&tables, &syn(1)), Reason::NoServer, "{scheduler:?}, {what}");
            assert_eq!(reason(&tables, &ack(1)), Reason::NoServer, "{scheduler:?}, {what}, resumed");
            tables.servers.clear();
            assert_eq!(reason(&tables, &syn(1)), Reason::NoServer, "{scheduler:?}, no entries");
        }
    }
}

#[test]
fn places_of_servers_that_cannot_are_passed_over() {
    for scheduler in ALL {
        let mut tables = tables(&scenario(scheduler, 4));
        cut(&mut tables, FIRST);
        drain(&mut tables, FIRST + 1);
        tables.servers.get_mut(&(FIRST + 3)).expect("a server").ifindex = 0;
        for port in 1..=50 {
            assert_eq!(server_of(&tables, &syn(port)), FIRST + 2, "{scheduler:?}, port {port}");
        }
    }
}

#[test]
fn only_the_flows_of_a_failed_server_move_on_a_ring() {
    let mut tables = tables(&scenario(Scheduler::Maglev, 8));
    let before: Vec<_> = (1..=500).map(|port| (port, server_of(&tables, &syn(port)))).collect();
    tables.pending_flows.clear();
    cut(&mut tables, FIRST + 3);
    for (port, server) in before {
        let expected = if server == FIRST + 3 { FIRST + 4 } else { server };
        assert_eq!(server_of(&tables, &syn(port)), expected, "port {port}");
    }
}

#[test]
fn numbers_that_no_daemon_writes_are_harmless() {
    let mut tables = tables(&scenario(Scheduler::Maglev, 2));
    let service = tables.services[&SERVICE];
    let written = [
        crate::abi::Service { scheduler: 200, ..service },
        crate::abi::Service { ring_base: u32::MAX, turns_base: u32::MAX, ..service },
        crate::abi::Service { ring_size: u32::MAX, turns_size: u32::MAX, ..service },
        crate::abi::Service { persistence_timeout: u32::MAX, ..service },
    ];
    for entry in written {
        tables.services.insert(SERVICE, entry);
        for port in 1..50 {
            let reason = reason(&tables, &syn(port));
            let expected = [Reason::Scheduled, Reason::Persistent, Reason::NoServer, Reason::Pending];
            assert!(expected.contains(&reason), "{reason:?} {entry:?}");
        }
    }
    tables.services.insert(SERVICE, crate::abi::Service { mode: 9, ..service });
    tables.pending_flows.clear();
    assert_eq!(reason(&tables, &syn(1)), Reason::NoService, "an unknown mode is no service");
    tables.port_ranges.insert(
        crate::abi::PortRangesKey { vip: Address::from(ip(VIP)), protocol: protocol::UDP, spare8: 0, spare16: 0 },
        crate::abi::PortRanges { count: u32::MAX, ..Default::default() },
    );
    let datagram = PacketBuilder::udp((ip(CLIENT), 1), (ip(VIP), 9999), b"").build();
    assert_eq!(reason(&tables, &datagram), Reason::NoService, "more ranges than there is room for");
}

const ALL: [Scheduler; 4] =
    [Scheduler::WeightedLeastConnection, Scheduler::WeightedRoundRobin, Scheduler::SourceHash, Scheduler::Maglev];
