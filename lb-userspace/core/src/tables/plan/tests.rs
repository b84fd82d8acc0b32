use std::collections::BTreeMap;
use std::ops::Range;

use lb_common::abi::{
    Address, PLACES_PER_WORD, PortRangesKey, SCHEDULE_PLACES, Server, Service, ServiceId, ServicePortKey, Settings,
    vip_filter_bit,
};
use proptest::prelude::*;

use super::super::samples::{TICK, address, all_up, config, key, real, service, up};
use super::super::{
    Admin, CompileError, Compiler, Health, Ids, Installed, ServerInput, ServerKey, TableOp, Wanted, compile, consistent,
};
use super::{PlanError, plan};
use crate::config::model::{Config, Fallback, Persistence, PersistenceBy, Protocol, Scheduler, VirtualService};

const VIP: &str = "192.0.2.10";

fn web() -> VirtualService {
    service("web", VIP, &[(80, 80), (8000, 8009)], vec![real("a", "192.0.2.1"), real("b", "192.0.2.2")])
}

/// A configuration that is in the tables, and what put it there.
struct Running {
    config: Config,
    states: BTreeMap<ServerKey, ServerInput>,
    ids: Ids,
    installed: Installed,
}

impl Running {
    fn new(services: Vec<VirtualService>) -> Self {
        let config = config(services);
        let states = all_up(&config);
        let mut running = Self { config, states, ids: Ids::new(), installed: Installed::default() };
        running.change();
        running
    }

    /// Brings the tables to the configuration and the states; the kinds of operations it took.
    fn change(&mut self) -> Vec<&'static str> {
        let wanted = self.wanted();
        let ops = plan(&self.installed, &wanted).unwrap_or_else(|error| panic!("{error}"));
        every_prefix_is_safe(&self.installed, &wanted, &ops);
        for op in &ops {
            self.installed.apply(op);
        }
        holds_exactly(&self.installed, &wanted);
        self.ids.settle();
        ops.iter().map(kind).collect()
    }

    fn wanted(&mut self) -> Wanted {
        compile(&self.config, &self.states, &mut self.ids, TICK).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn kind(op: &TableOp) -> &'static str {
    match op {
        TableOp::SetSettings(_) => "settings",
        TableOp::SetServer { .. } => "server",
        TableOp::WriteSchedule { .. } => "schedule",
        TableOp::SetService { .. } => "service",
        TableOp::SetServicePort { .. } => "port",
        TableOp::RemoveServicePort { .. } => "no port",
        TableOp::SetPortRanges { .. } => "ranges",
        TableOp::RemovePortRanges { .. } => "no ranges",
        TableOp::SetFilter { .. } => "filter",
    }
}

/// Independent of `plan`, so that it cannot agree with it by mistake.
fn holds_exactly(installed: &Installed, wanted: &Wanted) {
    assert_eq!(installed.settings, wanted.settings);
    assert_eq!(installed.filter, wanted.filter);
    assert_eq!(installed.service_ports, wanted.service_ports);
    assert_eq!(installed.port_ranges, wanted.port_ranges);
    assert_eq!(installed.servers, wanted.servers);
    assert_eq!(installed.services.len(), wanted.services.len());
    for (id, entry) in &installed.services {
        assert_eq!(Service { ring_base: 0, turns_base: 0, ..*entry }, wanted.services[id]);
        let schedule = &wanted.schedules[id];
        assert!(installed.places(entry.ring_base, entry.ring_size).eq(schedule.ring.iter().copied()));
        assert!(installed.places(entry.turns_base, entry.turns_size).eq(schedule.turns.iter().copied()));
    }
    assert_eq!(plan(installed, wanted), Ok(vec![]), "planning again gives nothing");
}

fn every_prefix_is_safe(before: &Installed, wanted: &Wanted, ops: &[TableOp]) {
    let mut tables = before.clone();
    let kept: Vec<_> = sockets(before).into_iter().filter(|socket| wanted_service(wanted, *socket).is_some()).collect();
    for (at, op) in ops.iter().enumerate() {
        writes_only_free_places(before, &tables, op);
        filter_opens_late_and_closes_late(&tables, wanted, op);
        tables.apply(op);

        assert_eq!(consistent(&tables), Ok(()), "after operation {at} of {ops:#?}");
        for socket in &kept {
            let now = service_of(&tables.service_ports, &tables.port_ranges, *socket);
            let allowed =
                [service_of(&before.service_ports, &before.port_ranges, *socket), wanted_service(wanted, *socket)];
            assert!(now.is_some() && allowed.contains(&now), "{socket:?} leads to {now:?} after operation {at}");
        }
    }
}

/// Neither places in use now, nor those in use when the plan began.
fn writes_only_free_places(before: &Installed, now: &Installed, op: &TableOp) {
    let TableOp::WriteSchedule { first_word, words } = op else { return };
    let written = *first_word..first_word + u32::try_from(words.len()).unwrap_or(u32::MAX);
    for extent in extents(before).chain(extents(now)) {
        assert!(written.end <= extent.start || extent.end <= written.start, "{written:?} overwrites {extent:?}");
    }
}

fn extents(tables: &Installed) -> impl Iterator<Item = Range<u32>> {
    let lists = tables.services.values().flat_map(|s| [(s.ring_base, s.ring_size), (s.turns_base, s.turns_size)]);
    lists
        .filter(|(_, size)| *size > 0)
        .map(|(base, size)| base / PLACES_PER_WORD..(base + size).div_ceil(PLACES_PER_WORD))
}

fn filter_opens_late_and_closes_late(tables: &Installed, wanted: &Wanted, op: &TableOp) {
    let TableOp::SetFilter { word, bits } = op else { return };
    let old = tables.filter.get(word).copied().unwrap_or(0);
    let has = |vip: &Address, bits: u64| vip_filter_bit(vip).0 == *word && bits & vip_filter_bit(vip).1 != 0;
    for (key, service) in wanted.service_ports.iter().filter(|(key, _)| has(&key.vip, bits & !old)) {
        assert_eq!(tables.service_ports.get(key), Some(service), "the filter opens before {key:?} is there");
    }
    for (key, ranges) in wanted.port_ranges.iter().filter(|(key, _)| has(&key.vip, bits & !old)) {
        assert_eq!(tables.port_ranges.get(key), Some(ranges), "the filter opens before {key:?} is there");
    }
    let mut vips = tables.service_ports.keys().map(|key| key.vip).chain(tables.port_ranges.keys().map(|key| key.vip));
    assert!(!vips.any(|vip| has(&vip, old & !bits)), "the filter closes before the ports are gone");
}

type Socket = (Address, u8, u16);

/// Every port that leads somewhere: single ones, and both ends of ranges.
fn sockets(tables: &Installed) -> Vec<Socket> {
    let single = tables.service_ports.keys().map(|key| (key.vip, key.protocol, key.port));
    let ranges = tables.port_ranges.iter().flat_map(|(key, entry)| {
        let ends = entry.ranges[..entry.count as usize].iter().flat_map(|range| [range.first, range.last]);
        ends.map(|port| (key.vip, key.protocol, port))
    });
    single.chain(ranges).collect()
}

fn wanted_service(wanted: &Wanted, socket: Socket) -> Option<ServiceId> {
    service_of(&wanted.service_ports, &wanted.port_ranges, socket)
}

/// As the datapath looks it up: the single port first, then the ranges.
fn service_of(
    single: &BTreeMap<ServicePortKey, ServiceId>,
    ranges: &BTreeMap<PortRangesKey, lb_common::abi::PortRanges>,
    (vip, protocol, port): Socket,
) -> Option<ServiceId> {
    let exact = single.get(&ServicePortKey { vip, port, protocol, spare: 0 }).copied();
    exact.or_else(|| {
        let entry = ranges.get(&PortRangesKey { vip, protocol, spare: [0; 3] })?;
        let range = entry.ranges[..entry.count as usize].iter().find(|r| (r.first..=r.last).contains(&port))?;
        Some(range.service)
    })
}

#[test]
fn a_first_configuration_opens_the_filter_last() {
    let config = config(vec![web()]);
    let mut running = Running { states: all_up(&config), config, ids: Ids::new(), installed: Installed::default() };

    let ops = running.change();

    let expected = ["settings", "server", "server", "schedule", "schedule", "service", "port", "ranges", "filter"];
    assert_eq!(ops, expected);
}

#[test]
fn the_last_configuration_closes_the_filter_before_the_service_goes() {
    let mut running = Running::new(vec![web()]);
    running.config.virtual_services.clear();

    assert_eq!(running.change(), ["no port", "no ranges", "filter", "service", "server", "server"]);
}

#[test]
fn a_server_that_fails_leaves_the_ring_and_then_goes_down() {
    let mut running = Running::new(vec![web(), service("other", VIP, &[(90, 90)], vec![real("a", "192.0.2.1")])]);
    running.states.insert(key("web", "a"), ServerInput { health: Health::Down, ..up() });

    assert_eq!(running.change(), ["schedule", "schedule", "service", "server"]);

    running.states.insert(key("web", "a"), up());
    assert_eq!(running.change(), ["server", "schedule", "schedule", "service"]);
}

#[test]
fn what_is_not_in_the_schedule_leaves_the_schedule_alone() {
    let mut running = Running::new(vec![web()]);
    running.config.virtual_services[0].persistence =
        Some(Persistence { by: PersistenceBy::SourceIp, timeout: TICK, prefix_v4: 32, prefix_v6: 128 });
    assert_eq!(running.change(), ["service"]);

    running.config.virtual_services[0].real_servers[0].max_connections = 5;
    assert_eq!(running.change(), ["server"]);

    running.config.node.limits.new_flows_per_second = 5;
    assert_eq!(running.change(), ["settings"]);
    assert!(running.change().is_empty());
}

#[test]
fn places_are_used_again_after_a_plan_and_not_within_it() {
    let mut running = Running::new(vec![web()]);
    let used = |running: &Running| running.installed.schedule.len();
    let at_first = used(&running);
    for round in 0..20_u16 {
        running.config.virtual_services[0].real_servers[0].weight = 10 + round;
        running.change();
    }
    assert!(used(&running) <= 2 * at_first, "{} words, {at_first} at first", used(&running));
}

#[test]
fn a_plan_that_was_cut_is_taken_up_where_it_stopped() -> Result<(), PlanError> {
    let mut running = Running::new(vec![web()]);
    running.config.virtual_services.push(service("new", "192.0.2.11", &[(1, 9)], vec![real("c", "192.0.2.3")]));
    running.config.virtual_services[0].real_servers.remove(0);
    running.states.extend(all_up(&running.config));
    let wanted = running.wanted();
    let ops = plan(&running.installed, &wanted)?;

    for cut in 0..ops.len() {
        let mut tables = running.installed.clone();
        ops[..cut].iter().for_each(|op| tables.apply(op));
        let rest = plan(&tables, &wanted)?;
        every_prefix_is_safe(&tables, &wanted, &rest);
        rest.iter().for_each(|op| tables.apply(op));
        holds_exactly(&tables, &wanted);
    }
    Ok(())
}

#[test]
fn servers_that_nobody_knows_go_down_with_another_generation() {
    let mut running = Running::new(vec![]);
    let left_behind = Server { generation: 8, state: 1, ifindex: 3, weight: 1, service: 9, ..Server::default() };
    running.installed.servers.insert(77, left_behind);
    let wanted = running.wanted();

    let down = Server { generation: 9, ..Server::default() };
    assert_eq!(plan(&running.installed, &wanted), Ok(vec![TableOp::SetServer { id: 77, entry: down }]));
    running.installed.apply(&TableOp::SetServer { id: 77, entry: down });
    assert_eq!(plan(&running.installed, &wanted), Ok(vec![]), "once is enough");
}

#[test]
fn a_full_schedule_is_an_error() {
    let mut running = Running::new(vec![web()]);
    let hog = Service { ring_base: 4096, ring_size: SCHEDULE_PLACES - 4096, mode: 1, ..Service::default() };
    running.installed.services.insert(1000, hog);
    let servers = (1..=50).map(|i| real(&format!("s{i}"), &format!("192.0.2.{i}"))).collect();
    running.config.virtual_services[0].real_servers = servers;
    running.states = all_up(&running.config);
    let wanted = running.wanted();

    assert_eq!(plan(&running.installed, &wanted), Err(PlanError::NoRoom { service: 1 }));
}

#[test]
fn numbers_that_were_not_adopted_are_noticed() {
    let running = Running::new(vec![web(), service("other", VIP, &[(90, 90)], vec![real("c", "192.0.2.3")])]);
    let mut reversed = running.config.clone();
    reversed.virtual_services.reverse();
    let wanted = compile(&reversed, &running.states, &mut Ids::new(), TICK);

    let planned = wanted.map(|wanted| plan(&running.installed, &wanted));

    assert_eq!(planned, Ok(Err(PlanError::NumberInUse { server: 2, from: 1, to: 2 })));
}

/// What a test may change from one configuration to the next.
#[derive(Clone, Debug)]
struct Sample {
    services: Vec<ServiceSample>,
    /// Which service has each of [`PORTS`], and whether its ports are listed one by one.
    owners: Vec<(usize, bool)>,
    new_flows_per_second: u32,
}

#[derive(Clone, Debug)]
struct ServiceSample {
    present: bool,
    vip: usize,
    protocol: Protocol,
    scheduler: Scheduler,
    timeout: Option<u64>,
    fallback: bool,
    servers: Vec<ServerSample>,
}

#[derive(Clone, Debug)]
struct ServerSample {
    present: bool,
    address: u8,
    weight: u16,
    backup: bool,
    input: ServerInput,
}

const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
const VIPS: [&str; 3] = ["192.0.2.10", "192.0.2.11", "2001:db8::10"];
const PORTS: [(u16, u16); 4] = [(80, 80), (443, 445), (2000, 2003), (9000, 9009)];

impl Sample {
    fn build(&self) -> (Config, BTreeMap<ServerKey, ServerInput>) {
        let (mut services, mut states) = (Vec::new(), BTreeMap::new());
        for (i, sample) in self.services.iter().enumerate().filter(|(_, sample)| sample.present) {
            let real_servers = sample.servers.iter().enumerate().filter(|(_, server)| server.present);
            let real_servers = real_servers.map(|(number, server)| {
                let name = format!("server{number}");
                states.insert(key(NAMES[i], &name), server.input);
                let mut real = real(&name, &format!("10.0.{number}.{}", server.address));
                (real.weight, real.backup) = (server.weight, server.backup);
                real
            });
            let mut service = service(NAMES[i], VIPS[sample.vip], &self.ports(i), real_servers.collect());
            service.protocol = sample.protocol;
            service.scheduler = sample.scheduler;
            service.persistence = sample.timeout.map(|seconds| Persistence {
                by: PersistenceBy::SourceIp,
                timeout: TICK * u32::try_from(seconds).unwrap_or(1),
                prefix_v4: 24,
                prefix_v6: 64,
            });
            if sample.fallback {
                service.fallback = Some(Fallback::Server { address: address("10.0.99.1"), port: None });
                states.insert(key(NAMES[i], "fallback"), up());
            }
            services.push(service);
        }
        let mut config = config(services);
        config.node.limits.new_flows_per_second = self.new_flows_per_second;
        (config, states)
    }

    /// Ports that a service owns on whatever VIP it has, and one that it always has.
    fn ports(&self, service: usize) -> Vec<(u16, u16)> {
        let own = 10_000 + u16::try_from(service).unwrap_or(0);
        let mut ports = vec![(own, own)];
        for ((first, last), (owner, one_by_one)) in PORTS.into_iter().zip(&self.owners) {
            match (*owner == service, one_by_one) {
                (true, true) => ports.extend((first..=last).map(|port| (port, port))),
                (true, false) => ports.push((first, last)),
                (false, _) => {}
            }
        }
        ports.sort_unstable();
        ports
    }
}

fn a_server() -> impl Strategy<Value = ServerSample> {
    let admin = prop_oneof![4 => Just(Admin::Online), 1 => Just(Admin::Drained), 1 => Just(Admin::Halted)];
    let health = prop_oneof![4 => Just(Health::Up), 1 => Just(Health::Down), 1 => Just(Health::Checking)];
    let input = (admin, health, prop::bool::weighted(0.9), 1..3_u32).prop_map(|(admin, health, found, ifindex)| {
        let next_hop = up().next_hop.filter(|_| found).map(|hop| super::super::NextHop { ifindex, ..hop });
        ServerInput { admin, health, next_hop, weight: None }
    });
    let weight = prop_oneof![1 => Just(0_u16), 4 => Just(100), 2 => 1..50_u16];
    (prop::bool::weighted(0.8), 1..3_u8, weight, prop::bool::weighted(0.2), input)
        .prop_map(|(present, address, weight, backup, input)| ServerSample { present, address, weight, backup, input })
}

fn a_service() -> impl Strategy<Value = ServiceSample> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::TcpUdp)];
    let scheduler = prop_oneof![
        Just(Scheduler::WeightedLeastConnection),
        Just(Scheduler::WeightedRoundRobin),
        Just(Scheduler::SourceHash),
        Just(Scheduler::Maglev)
    ];
    let timeout = prop::option::of(1..4_u64);
    let servers = prop::collection::vec(a_server(), 4);
    (prop::bool::weighted(0.8), 0..VIPS.len(), protocol, scheduler, timeout, any::<bool>(), servers).prop_map(
        |(present, vip, protocol, scheduler, timeout, fallback, servers)| ServiceSample {
            present,
            vip,
            protocol,
            scheduler,
            timeout,
            fallback,
            servers,
        },
    )
}

fn a_sample() -> impl Strategy<Value = Sample> {
    let services = prop::collection::vec(a_service(), NAMES.len());
    let owners = prop::collection::vec((0..NAMES.len(), any::<bool>()), PORTS.len());
    (services, owners, 1..3_u32).prop_map(|(services, owners, new_flows_per_second)| Sample {
        services,
        owners,
        new_flows_per_second,
    })
}

/// The second is like the first in about half of the services and ports.
fn two_samples() -> impl Strategy<Value = (Sample, Sample)> {
    (a_sample(), a_sample(), prop::collection::vec(any::<bool>(), NAMES.len() + PORTS.len())).prop_map(
        |(first, mut second, same)| {
            for (i, same) in same.into_iter().enumerate().filter(|(_, same)| *same) {
                debug_assert!(same);
                match i.checked_sub(NAMES.len()) {
                    None => second.services[i] = first.services[i].clone(),
                    Some(port) => second.owners[port] = first.owners[port],
                }
            }
            (first, second)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_plan_cut_short_anywhere_is_safe_and_the_whole_one_gives_what_is_wanted(
        (first, second) in two_samples(), third in a_sample(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut ids, mut compiler, mut tables) = (Ids::new(), Compiler::default(), Installed::default());
        let mut compiled = |sample: &Sample, ids: &mut Ids| -> Result<Wanted, CompileError> {
            let (config, states) = sample.build();
            compiler.compile(&config, &states, ids, TICK)
        };
        for sample in [&first, &second] {
            let wanted = compiled(sample, &mut ids)?;
            let ops = plan(&tables, &wanted)?;
            every_prefix_is_safe(&tables, &wanted, &ops);
            ops.iter().for_each(|op| tables.apply(op));
            holds_exactly(&tables, &wanted);
            ids.settle();
        }

        // Now the daemon is stopped in the middle, and goes on to yet another configuration.
        let ops = plan(&tables, &compiled(&third, &mut ids)?)?;
        ops.iter().take(cut.index(ops.len() + 1)).for_each(|op| tables.apply(op));
        let wanted = compiled(&first, &mut ids)?;
        let ops = plan(&tables, &wanted)?;
        every_prefix_is_safe(&tables, &wanted, &ops);
        ops.iter().for_each(|op| tables.apply(op));
        holds_exactly(&tables, &wanted);
    }

    #[test]
    fn what_did_not_change_gets_no_operation((first, second) in two_samples()) {
        let (mut ids, mut tables) = (Ids::new(), Installed::default());
        let (config, states) = first.build();
        let before = compile(&config, &states, &mut ids, TICK)?;
        plan(&tables, &before)?.iter().for_each(|op| tables.apply(op));
        ids.settle();
        let (config, states) = second.build();
        let wanted = compile(&config, &states, &mut ids, TICK)?;

        for op in plan(&tables, &wanted)? {
            let changes = match &op {
                TableOp::SetSettings(settings) => before.settings != *settings && wanted.settings == *settings,
                TableOp::SetServer { id, .. } => before.servers.get(id) != wanted.servers.get(id),
                TableOp::SetService { id, .. } => {
                    before.services.get(id) != wanted.services.get(id)
                        || before.schedules.get(id) != wanted.schedules.get(id)
                }
                TableOp::WriteSchedule { .. } => before.schedules != wanted.schedules,
                TableOp::SetServicePort { key, .. } | TableOp::RemoveServicePort { key } => {
                    before.service_ports.get(key) != wanted.service_ports.get(key)
                }
                TableOp::SetPortRanges { key, .. } | TableOp::RemovePortRanges { key } => {
                    before.port_ranges.get(key) != wanted.port_ranges.get(key)
                }
                TableOp::SetFilter { word, .. } => before.filter.get(word) != wanted.filter.get(word),
            };
            prop_assert!(changes, "{:?}", op);
        }
        prop_assert_ne!(wanted.settings, Settings::default());
    }
}
