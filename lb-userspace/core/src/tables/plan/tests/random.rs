//! Random configurations and states, one after the other.

use std::collections::BTreeMap;

use lb_common::abi::Settings;
use proptest::prelude::*;

use super::safety::{every_prefix_is_safe, holds_exactly};
use crate::config::model::{Config, Fallback, Persistence, PersistenceBy, Protocol, Scheduler};
use crate::tables::samples::{TICK, address, config, key, real, service, up};
use crate::tables::{
    Admin, CompileError, Compiler, Health, Ids, Installed, NextHop, ServerInput, ServerKey, TableOp, Wanted, compile,
    plan,
};

/// What a test may change from one configuration to the next.
#[derive(Clone, Debug)]
pub(super) struct Sample {
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
    pub(super) fn build(&self) -> (Config, BTreeMap<ServerKey, ServerInput>) {
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
    let found = prop::bool::weighted(0.9);
    let weight = prop_oneof![4 => Just(None), 1 => Just(Some(0)), 2 => (1..200_u16).prop_map(Some)];
    let input = (admin, health, found, 1..3_u32, weight, prop::bool::weighted(0.1)).prop_map(
        |(admin, health, found, ifindex, weight, full)| {
            let next_hop = up().next_hop.filter(|_| found).map(|hop| NextHop { ifindex, ..hop });
            ServerInput { admin, health, next_hop, weight, full }
        },
    );
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

pub(super) fn a_sample() -> impl Strategy<Value = Sample> {
    let services = prop::collection::vec(a_service(), NAMES.len());
    let owners = prop::collection::vec((0..NAMES.len(), any::<bool>()), PORTS.len());
    (services, owners, 1..3_u32).prop_map(|(services, owners, new_flows_per_second)| Sample {
        services,
        owners,
        new_flows_per_second,
    })
}

/// The second is like the first in about half of the services and ports.
pub(super) fn two_samples() -> impl Strategy<Value = (Sample, Sample)> {
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
                TableOp::SetSource { number, .. } => before.sources.get(number) != wanted.sources.get(number),
                TableOp::SetReplyFilter { word, .. } => {
                    before.reply_filter.get(word) != wanted.reply_filter.get(word)
                }
                TableOp::SetFilter { word, .. } => before.filter.get(word) != wanted.filter.get(word),
            };
            prop_assert!(changes, "{:?}", op);
        }
        prop_assert_ne!(wanted.settings, Settings::default());
    }
}
