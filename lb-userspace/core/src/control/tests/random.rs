//! Random reloads, orders, checks, refused writes and restarts: what is said, what is asked and what the
//! kernel has must agree at every step.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::Measured;
use crate::view::{self, HealthState, Order};

#[derive(Clone, Debug)]
enum Step {
    /// Services by name: whether it is there, its check, whether removal cuts, and its servers.
    Reload(Vec<Sample>, u64),
    Order(usize, u8, Order),
    Check(u8, Answer),
    /// Milliseconds pass; with a limit, the kernel takes so many writes meanwhile.
    Wait(u64, Option<usize>),
    Restart {
        memory: bool,
    },
    /// A walk finds that nobody has a connection, or everybody.
    Count(bool),
}

#[derive(Clone, Debug)]
struct Sample {
    present: bool,
    check: usize,
    cut: bool,
    slow: bool,
    servers: BTreeSet<u8>,
}

const NAMES: [&str; 3] = ["one", "two", "three"];
const CHECKS: [&str; 5] = [
    "type: connect, port: 22",
    "type: connect, port: 23",
    "type: connect, port: 22, fall: 1",
    "type: script, path: /bin/true",
    "type: none",
];

fn yaml(samples: &[Sample], interval: u64) -> String {
    let services: Vec<String> = samples
        .iter()
        .zip(NAMES)
        .zip(101..)
        .filter(|((sample, _), _)| sample.present)
        .map(|((sample, name), vip)| {
            let servers: Vec<String> =
                sample.servers.iter().map(|n| format!("      - {{name: s{n}, address: 10.0.0.{n}}}\n")).collect();
            format!(
                "  - name: {name}
    address: 10.0.0.{vip}
    ports: [80]
    mode: l4-dr
    health_check: {{{}}}
    on_removal: {}
    slow_start: {}
    real_servers:
{}",
                CHECKS[sample.check],
                if sample.cut { "cut" } else { "drain" },
                if sample.slow { "20s" } else { "0s" },
                servers.concat()
            )
        })
        .collect();
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: {interval}s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
{}",
        services.concat()
    )
}

fn sample() -> impl Strategy<Value = Sample> {
    let servers = prop::collection::btree_set(1..5_u8, 1..4);
    (prop::bool::weighted(0.7), 0..CHECKS.len(), prop::bool::weighted(0.3), any::<bool>(), servers)
        .prop_map(|(present, check, cut, slow, servers)| Sample { present, check, cut, slow, servers })
}

/// At least one service is there.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    (prop::collection::vec(sample(), NAMES.len()), 0..NAMES.len()).prop_map(|(mut samples, there)| {
        samples[there].present = true;
        samples
    })
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![
        2 => Just(Order::Drain),
        1 => Just(Order::Halt),
        3 => Just(Order::Online),
        1 => prop::option::of(0..200_u16).prop_map(|weight| Order::Weight { weight }),
    ];
    let answer = prop_oneof![2 => Just(Answer::Good), 1 => Just(Answer::Refused), 1 => Just(Answer::Silent)];
    prop_oneof![
        3 => (samples(), 1..3_u64).prop_map(|(samples, interval)| Step::Reload(samples, interval)),
        3 => (0..NAMES.len(), 1..5_u8, order).prop_map(|(service, server, order)| Step::Order(service, server, order)),
        3 => (1..5_u8, answer).prop_map(|(server, answer)| Step::Check(server, answer)),
        6 => (prop_oneof![0..3000_u64, 3000..30_000_u64], prop::option::weighted(0.2, 0..6_usize))
            .prop_map(|(time, writes)| Step::Wait(time, writes)),
        1 => any::<bool>().prop_map(|memory| Step::Restart { memory }),
        2 => any::<bool>().prop_map(Step::Count),
    ]
}

struct World {
    site: Site,
    yaml: String,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Reload(samples, interval) => {
                self.yaml = yaml(samples, *interval);
                self.site.reload(&self.yaml);
            }
            Step::Order(service, server, order) => {
                let server = format!("s{server}");
                let before = self.site.control.orders();
                let came_to = self.site.try_order(NAMES[*service], &server, *order);
                let changed = came_to.is_ok_and(|came_to| came_to.changed);
                let named = self.site.control.wanted().server_numbers.contains_key(&key(NAMES[*service], &server));
                if named {
                    assert_eq!(self.site.control.orders() != before, changed, "{order:?}");
                }
            }
            Step::Check(server, answer) => self.site.answer(&format!("10.0.0.{server}"), *answer),
            Step::Wait(time, writes) => {
                self.site.writes_left = *writes;
                self.site.run(Duration::from_millis(*time));
                assert_eq!(consistent(self.site.control.installed()), Ok(()));
                self.site.writes_left = None;
                self.site.run(Duration::ZERO);
            }
            Step::Restart { memory } => {
                if *memory {
                    self.site.restart_with_memory(&self.yaml, true);
                } else {
                    self.site.restart(&self.yaml, true);
                }
                self.site.start();
            }
            Step::Count(idle) => {
                let alive = self.site.control.installed().servers.keys().map(|id| (*id, 1)).collect::<Vec<_>>();
                let now = self.site.now;
                self.site.counted(if *idle { &[] } else { &alive }, &[], now);
            }
        }
    }

    fn agrees(&mut self) {
        let site = &mut self.site;
        let control = &site.control;
        assert_eq!(consistent(control.installed()), Ok(()));
        assert_eq!(crate::tables::plan(control.installed(), control.wanted()), Ok(Vec::new()));
        assert!(control.next_deadline().is_none_or(|due| due >= site.now), "a deadline has passed");
        let status = control.status(&Measured::new(), site.now);
        let rows: BTreeMap<ServerKey, &view::RealServer> = status
            .iter()
            .flat_map(|of| of.real_servers.iter().filter(|row| !row.leaving).map(|row| (key(&of.name, &row.name), row)))
            .collect();
        let list = control.checks(site.now);
        assert_eq!(list.checks.len(), rows.len());
        for check in &list.checks {
            let of = key(&check.service, &check.server);
            let row = rows[&of];
            let entry = control.installed().servers[&control.wanted().server_numbers[&of]];
            let order = control.orders().get(&of).map(|order| order.state);
            the_row_is_what_the_check_says(row, check.state, order);
            the_entry_is_what_the_row_says(row, &entry);
            for other in &check.shared_with {
                let twin = list.checks.iter().find(|of| format!("{}/{}", of.service, of.server) == *other);
                let twin = twin.expect("it is configured");
                assert_eq!((twin.address, &twin.check, twin.state), (check.address, &check.check, check.state));
                assert!(twin.shared_with.contains(&format!("{}/{}", check.service, check.server)));
            }
        }
        // Who leaves is alive, and nobody of the configuration.
        for (identity, id) in &control.wanted().leaving {
            assert_eq!(state(&control.installed().servers[id]), ServerState::Draining, "{identity:?}");
            let named = control.ids().servers().find(|(of, _)| *of == identity).map(|(_, id)| id);
            assert_eq!(named, Some(*id));
            assert!(!control.wanted().server_numbers.values().any(|of| of == id));
        }
    }
}

fn the_row_is_what_the_check_says(
    row: &view::RealServer,
    check: HealthState,
    order: Option<view::AdministrativeState>,
) {
    use view::AdministrativeState::{Drained, Halted, Online};
    let expected: &[view::ServerState] = match (order.unwrap_or(Online), check) {
        (Halted, _) => &[view::ServerState::Halted],
        (_, HealthState::Down) => &[view::ServerState::Down],
        (Drained, HealthState::Up | HealthState::Unchecked) => &[view::ServerState::Draining],
        (Online, HealthState::Up | HealthState::Unchecked) => &[view::ServerState::Up],
        // A new check has not spoken yet, so what the one before said counts.
        (Drained, HealthState::Checking) => {
            &[view::ServerState::Draining, view::ServerState::Down, view::ServerState::Checking]
        }
        (Online, HealthState::Checking) => {
            &[view::ServerState::Up, view::ServerState::Down, view::ServerState::Checking]
        }
    };
    assert!(expected.contains(&row.state), "{row:?}, but the check says {check} and {order:?} is ordered");
}

fn the_entry_is_what_the_row_says(row: &view::RealServer, entry: &Server) {
    let expected = match row.state {
        view::ServerState::Up => ServerState::Active,
        view::ServerState::Draining => ServerState::Draining,
        view::ServerState::Down | view::ServerState::Checking | view::ServerState::Halted => ServerState::Down,
    };
    assert_eq!(state(entry), expected, "{row:?}");
    assert_eq!(entry.weight, u32::from(row.weight), "{row:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overview_checks_orders_and_tables_agree_whatever_happens(
        first in samples(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let yaml = yaml(&first, 1);
        let mut world = World { site: Site::new(&yaml), yaml };
        world.agrees();
        for step in &steps {
            world.step(step);
            world.agrees();
        }
        // One question is asked once: so many targets are probed as there are different questions.
        world.site.asked.clear();
        world.site.run(Duration::from_secs(6));
        let mut targets: BTreeMap<crate::health::TargetId, String> = BTreeMap::new();
        for asked in &world.site.asked {
            let question = format!("{} {:?} {:?}", asked.address, asked.check, asked.subject);
            let before = targets.insert(asked.id, question.clone());
            prop_assert!(before.is_none_or(|before| before == question));
        }
        let questions: BTreeSet<&String> = targets.values().collect();
        prop_assert_eq!(questions.len(), targets.len(), "{:?}", targets);
    }
}
