mod leavers;
mod random;
mod safety;

use std::collections::BTreeMap;

use lb_common::abi::{SCHEDULE_PLACES, Server, Service};

use self::safety::{every_prefix_is_safe, holds_exactly};
use super::super::samples::{TICK, all_up, config, key, real, service, up};
use super::super::{Health, Ids, Installed, ServerInput, ServerKey, TableOp, Wanted, compile, consistent};
use super::{PlanError, plan};
use crate::config::model::{Config, Persistence, PersistenceBy, Scheduler, VirtualService};

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
        TableOp::SetSource { .. } => "source",
        TableOp::SetReplyFilter { .. } => "reply filter",
        TableOp::SetFilter { .. } => "filter",
    }
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
    assert_eq!(running.change(), ["settings", "service"]);
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
fn an_entry_that_points_nowhere_is_replaced() {
    let mut running = Running::new(vec![web()]);
    for entry in running.installed.services.values_mut() {
        (entry.ring_base, entry.ring_size) = (SCHEDULE_PLACES - 2, u32::MAX);
    }

    let wanted = running.wanted();
    let ops = plan(&running.installed, &wanted).map(|ops| ops.iter().map(kind).collect::<Vec<_>>());

    assert_eq!(ops, Ok(vec!["schedule", "service"]));
}

#[test]
fn a_thousand_services_of_ten_real_servers_can_all_change_at_once() {
    let name = |i: u16| i.to_string();
    let services = (1..=1000).map(|i| {
        let servers = (1..=10_u16).map(|s| real(&name(s), &format!("10.{}.{}.{s}", i / 256, i % 256))).collect();
        let vip = format!("192.0.2.{}", i % 8);
        VirtualService { scheduler: Scheduler::WeightedRoundRobin, ..service(&name(i), &vip, &[(i, i)], servers) }
    });
    let mut running = Running::new(vec![]);
    running.config = config(services.collect());
    running.states = all_up(&running.config);
    for weight in [100, 64] {
        for service in &mut running.config.virtual_services {
            service.real_servers[0].weight = weight;
        }
        let wanted = running.wanted();
        let ops = plan(&running.installed, &wanted).unwrap_or_else(|error| panic!("{error}"));
        ops.iter().for_each(|op| running.installed.apply(op));

        assert_eq!(ops.iter().filter(|op| kind(op) == "service").count(), 1000);
        assert_eq!(consistent(&running.installed), Ok(()));
        holds_exactly(&running.installed, &wanted);
    }
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
