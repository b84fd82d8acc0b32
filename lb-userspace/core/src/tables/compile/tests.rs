use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lb_common::abi::{self, Address, ServerId, ServerState};

use super::super::samples::{TICK, address, all_up, config, key, real, service, up};
use super::super::{Admin, Health, Ids, ServerInput, ServerKey, Wanted, schedulable};
use super::{CompileError, Compiler, compile};
use crate::config::model::{Config, Fallback, Mode, Persistence, PersistenceBy, RealServer, Scheduler, VirtualService};
use crate::schedule::ring::ring_size;

const VIP: &str = "192.0.2.10";

fn two() -> Vec<RealServer> {
    vec![real("a", "192.0.2.1"), real("b", "192.0.2.2")]
}

fn web() -> VirtualService {
    service("web", VIP, &[(80, 80)], two())
}

fn compiled(config: &Config, states: &BTreeMap<ServerKey, ServerInput>) -> Wanted {
    compile(config, states, &mut Ids::new(), TICK).unwrap_or_else(|error| panic!("{error}"))
}

fn failure(config: &Config) -> CompileError {
    compile(config, &BTreeMap::new(), &mut Ids::new(), TICK).expect_err("does not fit")
}

/// Names of the servers that a service's ring and turn list hold.
fn scheduled(wanted: &Wanted, service: &str) -> BTreeSet<String> {
    let schedule = &wanted.schedules[&wanted.service_numbers[service]];
    let turns: BTreeSet<ServerId> = schedule.turns.iter().copied().collect();
    let ring: BTreeSet<ServerId> = schedule.ring.iter().copied().collect();
    assert_eq!(ring, turns, "ring and turns name the same servers");
    let names = wanted.server_numbers.iter().filter(|(_, id)| ring.contains(id));
    names.map(|(key, _)| key.server.clone()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn only_direct_routing_is_compiled() {
    let mut proxied = service("proxied", "192.0.2.11", &[(80, 80)], two());
    proxied.mode = Mode::L7Http;
    let config = config(vec![proxied, web()]);

    let wanted = compiled(&config, &all_up(&config));

    assert_eq!(wanted.service_numbers.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!((wanted.service_ports.len(), wanted.servers.len()), (1, 2));
}

#[test]
fn orders_and_checks_decide_the_state() {
    use {Admin::*, Health::*, ServerState as S};
    let cases = [
        (Online, Up, S::Active),
        (Drained, Up, S::Draining),
        (Halted, Up, S::Down),
        (Online, Down, S::Down),
        (Online, Checking, S::Down),
        (Drained, Down, S::Down),
    ];
    let config = config(vec![web()]);
    for (admin, health, expected) in cases {
        let states = BTreeMap::from([(key("web", "a"), ServerInput { admin, health, ..up() })]);

        let wanted = compiled(&config, &states);

        let entry = wanted.servers[&wanted.server_numbers[&key("web", "a")]];
        assert_eq!(entry.state, expected as u8, "{admin:?} {health:?}");
        assert_eq!(scheduled(&wanted, "web").is_empty(), expected != S::Active);
    }
}

#[test]
fn a_server_is_scheduled_only_with_a_weight_and_a_next_hop() {
    let config = config(vec![web()]);
    let mut states = all_up(&config);
    assert_eq!(scheduled(&compiled(&config, &states), "web"), names(&["a", "b"]));

    states.insert(key("web", "a"), ServerInput { next_hop: None, ..up() });
    let wanted = compiled(&config, &states);
    assert_eq!(scheduled(&wanted, "web"), names(&["b"]));
    assert_eq!(wanted.servers[&wanted.server_numbers[&key("web", "a")]].ifindex, 0);

    states.insert(key("web", "b"), ServerInput { weight: Some(0), ..up() });
    let wanted = compiled(&config, &states);
    assert_eq!(wanted.services[&1].ring_size, 0, "nobody is left");
    assert_eq!(wanted.servers[&wanted.server_numbers[&key("web", "b")]].state, ServerState::Active as u8);
}

#[test]
fn a_server_without_an_input_is_down() {
    let wanted = compiled(&config(vec![web()]), &BTreeMap::new());
    assert!(wanted.servers.values().all(|entry| entry.state == ServerState::Down as u8));
}

#[test]
fn backups_and_then_the_fallback_take_over_when_nobody_before_them_can() {
    let mut web = web();
    web.real_servers[1].backup = true;
    web.fallback = Some(Fallback::Server { address: address("192.0.2.3"), port: None });
    let config = config(vec![web]);
    let mut states = all_up(&config);

    let cases: [(_, _, &[ServerId]); 3] = [(None, "a", &[2, 3]), (Some("a"), "b", &[3]), (Some("b"), "fallback", &[])];
    for (down, expected, off_duty) in cases {
        if let Some(down) = down {
            states.insert(key("web", down), ServerInput { health: Health::Down, ..up() });
        }
        let wanted = compiled(&config, &states);
        assert_eq!(scheduled(&wanted, "web"), names(&[expected]), "{down:?} down");
        assert_eq!(wanted.off_duty, off_duty.iter().copied().collect(), "{down:?} down");
    }
    states.insert(key("web", "fallback"), ServerInput { next_hop: None, ..up() });
    let wanted = compiled(&config, &states);
    assert_eq!((wanted.services[&1].ring_size, wanted.services[&1].turns_size), (0, 0));
}

#[test]
fn entries_carry_what_the_datapath_needs() {
    let mut web = web();
    web.real_servers[0].weight = 50;
    web.real_servers[0].max_connections = 10;
    web.real_servers[0].min_connections = 5;
    let config = config(vec![web]);
    let hop = up().next_hop.map(|hop| super::super::NextHop { outer_vlan: 94, inner_vlan: 5, ..hop });
    let states = BTreeMap::from([(key("web", "a"), ServerInput { next_hop: hop, ..up() })]);

    let wanted = compiled(&config, &states);

    let expected = abi::Server {
        generation: 1,
        ifindex: 7,
        destination_mac: [2, 0, 0, 0, 0, 2],
        source_mac: [2, 0, 0, 0, 0, 1],
        outer_vlan: 94,
        inner_vlan: 5,
        port: 0,
        state: ServerState::Active as u8,
        mode: abi::ServiceMode::DirectRouting as u8,
        weight: 50,
        max_connections: 10,
        min_connections: 5,
        service: 1,
        source: 0,
        pool: 0,
        address: Address::v4([192, 0, 2, 1]),
    };
    assert_eq!(wanted.servers[&1], expected);
    assert!(schedulable(&expected));
}

#[test]
fn schedulers_get_the_lists_they_read() {
    let cases = [
        (Scheduler::WeightedLeastConnection, abi::Scheduler::WeightedLeastConnection, 2),
        (Scheduler::WeightedRoundRobin, abi::Scheduler::WeightedRoundRobin, 3),
        (Scheduler::SourceHash, abi::Scheduler::SourceHash, 0),
        (Scheduler::Maglev, abi::Scheduler::Maglev, 0),
    ];
    for (scheduler, number, turns) in cases {
        let mut web = web();
        web.scheduler = scheduler;
        web.real_servers[0].weight = 200;
        let config = config(vec![web]);

        let entry = compiled(&config, &all_up(&config)).services[&1];

        assert_eq!((entry.scheduler, entry.ring_size, entry.turns_size), (number as u8, 509, turns));
    }
}

#[test]
fn a_server_that_is_down_does_not_change_the_size_of_the_ring() {
    let servers: Vec<RealServer> = (1..=6).map(|i| real(&i.to_string(), &format!("192.0.2.{i}"))).collect();
    let config = config(vec![service("web", VIP, &[(80, 80)], servers)]);
    let mut states = all_up(&config);
    states.insert(key("web", "1"), ServerInput { health: Health::Down, ..up() });

    assert_eq!(compiled(&config, &states).services[&1].ring_size, ring_size(6));
}

#[test]
fn services_with_the_same_real_servers_have_the_same_ring() {
    let mut servers = two();
    servers.reverse();
    let config = config(vec![web(), service("tls", VIP, &[(443, 443)], servers)]);

    let wanted = compiled(&config, &all_up(&config));

    let addresses = |service: &str| -> Vec<Address> {
        let schedule = &wanted.schedules[&wanted.service_numbers[service]];
        schedule.ring.iter().map(|id| wanted.servers[id].address).collect()
    };
    assert_eq!(addresses("web"), addresses("tls"));
}

#[test]
fn clients_are_remembered_by_network_and_for_a_time() {
    let persistence = |prefix_v4, prefix_v6, timeout| {
        Some(Persistence { by: PersistenceBy::SourceIp, timeout, prefix_v4, prefix_v6 })
    };
    let cases = [
        (VIP, None, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0),
        (VIP, persistence(24, 64, Duration::from_secs(300)), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00", 300),
        (VIP, persistence(0, 64, Duration::from_millis(10)), "ffff:ffff:ffff:ffff:ffff:ffff::", 1),
        ("2001:db8::1", persistence(24, 64, Duration::from_millis(1001)), "ffff:ffff:ffff:ffff::", 2),
        ("2001:db8::1", persistence(24, 0, Duration::MAX), "::", u32::MAX / 2),
    ];
    for (vip, persistence, mask, timeout) in cases {
        let mut web = service("web", vip, &[(80, 80)], two());
        web.persistence.clone_from(&persistence);

        let entry = compiled(&config(vec![web]), &BTreeMap::new()).services[&1];

        let found = std::net::Ipv6Addr::from(entry.client_mask.octets);
        assert_eq!((IpAddr::from(found), entry.persistence_timeout), (address(mask), timeout), "{vip} {persistence:?}");
    }
}

#[test]
fn settings_count_flows_by_tick() {
    let mut config = config(vec![]);
    config.node.limits.new_flows_per_second = 1001;

    let settings = compile(&config, &BTreeMap::new(), &mut Ids::new(), Duration::from_millis(100)).map(|w| w.settings);

    let expected = abi::Settings {
        abi_version: abi::ABI_VERSION,
        new_flows_per_tick: 101,
        tick_ns: 100_000_000,
        first_source_port: 1024,
        last_source_port: 32_767,
        spare: 0,
    };
    assert_eq!(settings, Ok(expected));
}

#[test]
fn a_server_that_fails_gets_another_generation_and_the_others_do_not() -> Result<(), CompileError> {
    let config = config(vec![web()]);
    let (mut states, mut ids) = (all_up(&config), Ids::new());
    let mut generations = Vec::new();
    for health in [Health::Up, Health::Down, Health::Up] {
        states.insert(key("web", "a"), ServerInput { health, ..up() });
        let wanted = compile(&config, &states, &mut ids, TICK)?;
        generations.push([1, 2].map(|id| wanted.servers[&id].generation));
    }
    assert_eq!(generations, [[1, 1], [2, 1], [2, 1]]);
    Ok(())
}

#[test]
fn a_removed_server_is_down_with_another_generation() -> Result<(), CompileError> {
    let mut config = config(vec![web()]);
    let mut ids = Ids::new();
    compile(&config, &all_up(&config), &mut ids, TICK)?;
    config.virtual_services[0].real_servers.remove(0);

    let wanted = compile(&config, &all_up(&config), &mut ids, TICK)?;

    assert_eq!(wanted.servers[&1], abi::Server { generation: 2, ..abi::Server::default() });
    assert_eq!(wanted.server_numbers, BTreeMap::from([(key("web", "b"), 2)]));
    Ok(())
}

#[test]
fn a_change_of_one_service_computes_no_other_schedule() -> Result<(), CompileError> {
    let config = config(vec![web(), service("tls", VIP, &[(443, 443)], two())]);
    let (mut states, mut ids, mut compiler) = (all_up(&config), Ids::new(), Compiler::default());
    let first = compiler.compile(&config, &states, &mut ids, TICK)?;
    assert_eq!(compiler.computed(), 2);

    compiler.compile(&config, &states, &mut ids, TICK)?;
    assert_eq!(compiler.computed(), 2, "nothing changed");

    states.insert(key("web", "a"), ServerInput { health: Health::Down, ..up() });
    let second = compiler.compile(&config, &states, &mut ids, TICK)?;
    assert_eq!(compiler.computed(), 3, "one service changed");
    assert!(std::sync::Arc::ptr_eq(&first.schedules[&2], &second.schedules[&2]));
    assert_ne!(first.schedules[&1], second.schedules[&1]);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_and_numbers_stay() {
    let ranges: Vec<(u16, u16)> = (0..17).map(|i| (1000 + i * 10, 1005 + i * 10)).collect();
    let too_many_ranges = vec![service("web", VIP, &ranges, two())];
    let mut fallback = service("web", VIP, &[(80, 80)], vec![real("fallback", "192.0.2.1")]);
    fallback.fallback = Some(Fallback::Server { address: address("192.0.2.3"), port: None });
    let many = (0..=1023).map(|i: u16| service(&i.to_string(), VIP, &[(i + 1, i + 1)], two())).collect();
    let singles: Vec<(u16, u16)> = (1..=16_385).map(|port| (port, port)).collect();
    let cases = [
        (too_many_ranges, "192.0.2.10 has 17 port ranges for TCP"),
        (vec![fallback], "virtual service web: a real server cannot be called \"fallback\""),
        (many, "there is room for 1023 virtual services"),
        (vec![service("web", VIP, &singles, two())], "there are 16385 single ports over all virtual services"),
    ];
    for (services, sentence) in cases {
        let error = failure(&config(services)).to_string();
        assert!(error.starts_with(sentence), "{error}");
    }

    let mut ids = Ids::new();
    let good = config(vec![web()]);
    let before = compile(&good, &BTreeMap::new(), &mut ids, TICK);
    let bad = config(vec![service("web", VIP, &ranges, vec![real("c", "192.0.2.3")])]);
    assert!(compile(&bad, &BTreeMap::new(), &mut ids, TICK).is_err());
    assert_eq!(compile(&good, &BTreeMap::new(), &mut ids, TICK), before);
}

#[test]
fn schedules_that_need_half_the_table_are_refused() {
    let services = (0_u16..33)
        .map(|i| {
            let servers =
                (0..330_u16).map(|s| real(&s.to_string(), &format!("10.{i}.{}.{}", s / 256, s % 256))).collect();
            let mut service = service(&i.to_string(), VIP, &[(i + 1, i + 1)], servers);
            service.scheduler = Scheduler::Maglev;
            service
        })
        .collect();
    let config = config(services);

    let error = compile(&config, &all_up(&config), &mut Ids::new(), TICK).expect_err("does not fit");

    assert_eq!(error, CompileError::TooManyPlaces { places: 33 * 65_524 });
}
