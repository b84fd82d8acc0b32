//! Tables of the kernel. Needs root.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lb_common::abi::{Address, Flow, FlowKey, FlowState, Opened, Persistence, PersistenceKey, Server, Service};
use lb_core::config::model::Limits;
use lb_core::config::{self, Source};
use lb_core::control::{Control, Past};
use lb_core::neighbour::{Action as Question, Input, Link, NeighbourState, RouteAnswer};
use lb_core::tables::{Ids, Installed};

use super::program::{Options, remove};
use super::*;

/// The datapath in the kernel, attached to nothing; gone when the test ends.
struct Kernel {
    pins: PathBuf,
    tables: Tables,
}

impl Kernel {
    fn new(name: &str) -> Self {
        let pins = PathBuf::from(format!("/sys/fs/bpf/lb-test-{}-{name}", std::process::id()));
        let limits = Limits { flows: 20_000, pending_flows: 1024, persistence: 20_000, ..Limits::default() };
        let options = Options { pins: pins.clone(), limits, tick_shift: 8, log_verdicts: false };
        Program::load(&options).expect("root, and a kernel that takes the program");
        let tables = Tables::open(&pins).unwrap();
        Self { pins, tables }
    }

    /// Writes what is planned.
    fn write(&self, control: &mut Control) -> usize {
        let plan = control.plan().unwrap();
        for operation in &plan {
            self.tables.write(operation).unwrap();
            control.applied(operation);
        }
        control.settled();
        plan.len()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = remove(&self.pins);
    }
}

const YAML: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80, 443, 50000-50010]
    protocol: tcp+udp
    mode: l4-dr
    scheduler: weighted-round-robin
    persistence: {by: source-ip, timeout: 5m}
    health_check: {type: none}
    real_servers:
      - {name: a, address: 10.0.0.1}
      - {name: b, address: 10.0.0.2, weight: 37}
  - name: six
    address: 2001:db8::100
    ports: [80]
    mode: l4-dr
    health_check: {type: none}
    real_servers:
      - {name: a, address: 2001:db8::1}
";

fn control(installed: Installed, ids: Ids) -> Control {
    let source = Source { path: "lb.yaml".to_owned(), text: YAML.to_owned() };
    let config = config::load(&[source], &|_| None).unwrap().config;
    Control::new(config, Past { installed, ids, ..Past::default() }, Duration::from_secs(1), 1, Instant::now()).unwrap()
}

/// Control with everybody in service, on empty tables.
fn in_service() -> Control {
    let mut control = control(Installed::default(), Ids::new());
    let now = Instant::now();
    let mac = Some([2, 0, 0, 0, 0, 1]);
    let link = Link { ifindex: 7, device: "eth0".to_owned(), mac, up: true, vlan: None };
    control.neighbour(Input::Resync(vec![link]), now);
    while let Some(action) = control.poll_action() {
        match action {
            lb_core::control::Action::Ask(Question::AskRoute(destination)) => {
                let result = Ok(RouteAnswer { ifindex: 7, gateway: None, source: None });
                control.neighbour(Input::Route { destination, result }, now);
            }
            lb_core::control::Action::Ask(Question::AskNeighbour { ifindex, address }) => {
                let state = NeighbourState::Reachable;
                control.neighbour(Input::Neighbour { ifindex, address, mac, state }, now);
            }
            _ => {}
        }
    }
    control
}

#[test]
fn what_was_written_is_found_again_and_a_restart_writes_nothing() {
    let kernel = Kernel::new("restart");
    assert_eq!(kernel.tables.installed().unwrap(), Installed::default());
    let mut before = in_service();
    assert!(kernel.write(&mut before) > 8);

    let found = kernel.tables.installed().unwrap();
    assert!(found == *before.installed(), "{found:?}\nis not\n{:?}", before.installed());
    assert_eq!(lb_core::tables::consistent(&found), Ok(()));

    let services = before.ids().services().map(|(name, id)| (name.to_owned(), id)).collect();
    let servers = before.ids().servers().map(|(identity, id)| (identity.clone(), id)).collect();
    let ids = Ids::adopt_tables(&found, &services, &servers).unwrap();
    assert_eq!(kernel.write(&mut control(found, ids)), 0);
}

#[test]
fn a_second_daemon_loads_over_the_same_tables() {
    let kernel = Kernel::new("again");
    kernel.write(&mut in_service());
    let options = Options { pins: kernel.pins.clone(), limits: Limits::default(), tick_shift: 8, log_verdicts: false };
    // Sizes are those of the first time.
    Program::load(&options).map(drop).unwrap();
    let tables = Tables::open(&kernel.pins).unwrap();
    assert!(tables.installed().unwrap() == kernel.tables.installed().unwrap());
    assert_eq!(tables.capacities()[0], ("flows", 20_000));
}

#[test]
fn a_part_of_an_array_is_read_from_any_place_to_its_end() {
    let kernel = Kernel::new("places");
    let schedule = Table::<u32, u64>::open(&kernel.pins, "schedule").unwrap();
    let end = schedule.capacity();
    for first in [0, end - 5000] {
        let keys: Vec<u32> = (first..first + 5000).collect();
        schedule.set_many(&keys, &keys.iter().map(|key| u64::from(*key) + 1).collect::<Vec<_>>()).unwrap();
    }
    let written = |range: std::ops::Range<u32>| range.map(|place| u64::from(place) + 1).collect::<Vec<_>>();
    for range in [0..1, 0..5000, 1..2, 17..4999, 4095..4098, end - 5000..end, end - 1..end] {
        assert_eq!(schedule.places(range.clone()).unwrap(), written(range));
    }
    assert_eq!(schedule.places(4998..5002).unwrap(), [4999, 5000, 0, 0]);
    assert_eq!(schedule.places(end - 2..end + 7).unwrap(), written(end - 2..end));
    assert_eq!(schedule.places(end..end + 7).unwrap(), [0; 0]);
    assert_eq!(schedule.places(7..7).unwrap(), [0; 0]);
}

#[test]
fn schedules_that_overlap_or_reach_beyond_the_table_are_read_once() {
    let kernel = Kernel::new("overlap");
    let schedule = Table::<u32, u64>::open(&kernel.pins, "schedule").unwrap();
    let services = Table::<u32, Service>::open(&kernel.pins, "services").unwrap();
    schedule.set_many(&[2, 3, 4, 9], &[20, 30, 40, 90]).unwrap();
    let entry = |ring_base, ring_size| Service { ring_base, ring_size, mode: 1, ..Service::default() };
    for (id, ring) in [(1, (8, 8)), (2, (13, 6)), (3, (36, 1))] {
        services.set(&id, &entry(ring.0, ring.1)).unwrap();
    }
    assert_eq!(kernel.tables.installed().unwrap().schedule, [0, 0, 20, 30, 40, 0, 0, 0, 0, 90]);
    services.set(&4, &entry(u32::MAX - 1, 9)).unwrap();
    services.set(&5, &entry(4, u32::MAX)).unwrap();
    assert_eq!(kernel.tables.installed().unwrap().schedule.len(), schedule.capacity() as usize);
}

fn flow_key(number: u16) -> FlowKey {
    let vip = Address::v4([10, 0, 0, 100]);
    FlowKey {
        client: Address::v4([198, 51, 100, 1]),
        vip,
        client_port: number,
        vip_port: 80,
        protocol: 6,
        spare8: 0,
        spare16: 0,
    }
}

#[test]
fn the_sweep_removes_what_is_over_and_sets_the_counts_right() {
    let kernel = Kernel::new("sweep");
    let mut control = in_service();
    kernel.write(&mut control);
    let tables = &kernel.tables;
    let (now, server) = (100_000, 1_u32);
    let Server { generation, service, .. } = control.installed().servers[&server];
    let flow =
        Flow { service, server, generation, last_seen: now, state: FlowState::Established as u8, ..Flow::default() };
    // More than one batch of a walk.
    for number in 0..12_000_u16 {
        let flow = match number % 3 {
            0 => flow,
            1 => Flow { last_seen: now - 2 * 3600 - 1, ..flow },
            _ => Flow { generation: generation.wrapping_add(1), ..flow },
        };
        tables.flows.set(&flow_key(number), &flow).unwrap();
    }
    tables.pending_flows.set(&flow_key(60_000), &Flow { state: FlowState::Pending as u8, ..flow }).unwrap();
    tables.opened.set(&server, &Opened { flows: 12_500, ..Opened::default() }).unwrap();
    let client = |number: u8| PersistenceKey { client: Address::v4([198, 51, 100, number]), service };
    let record = Persistence { server, generation, last_used: now, created: now };
    tables.persistence.set(&client(1), &record).unwrap();
    tables.persistence.set(&client(2), &Persistence { last_used: now - 301, ..record }).unwrap();
    tables.new_clients.set(&client(3), &Persistence { generation: generation.wrapping_add(1), ..record }).unwrap();

    let swept = tables.sweep(&control.roster(), now).unwrap();

    assert_eq!((swept.flows_removed, swept.clients_removed), (8000, 2));
    assert_eq!(swept.entries, [4000, 1, 1, 0, 0]);
    assert_eq!(swept.counts.connections.get(&server), Some(&4001));
    assert_eq!(swept.counts.clients.get(&server), Some(&1));
    assert_eq!(tables.connections(server).unwrap(), 4001);
    assert!(tables.flows.get(&flow_key(0)).unwrap().is_some());
    assert!(tables.flows.get(&flow_key(1)).unwrap().is_none());
    assert!(tables.persistence.get(&client(1)).unwrap().is_some());

    let again = tables.sweep(&control.roster(), now).unwrap();
    assert_eq!((again.flows_removed, again.clients_removed, again.entries), (0, 0, swept.entries));
}

#[test]
fn removing_many_passes_over_those_that_are_gone() {
    let kernel = Kernel::new("remove");
    let table = &kernel.tables.flows;
    let keys: Vec<FlowKey> = (0..10_000).map(flow_key).collect();
    for key in keys.iter().filter(|key| key.client_port % 2 == 1) {
        table.set(key, &Flow::default()).unwrap();
    }
    assert_eq!(table.remove_many(&keys).unwrap(), 5000);
    assert_eq!(table.remove_many(&keys).unwrap(), 0);
    assert_eq!(table.remove_many(&[]).unwrap(), 0);
}

#[test]
fn a_full_table_says_so() {
    let kernel = Kernel::new("full");
    // A hash table takes its size exactly when it is allocated beforehand.
    let error = (0..=u16::MAX).find_map(|number| kernel.tables.flows.set(&flow_key(number), &Flow::default()).err());
    let sentence = error.expect("65,536 flows do not fit 20,000 places").to_string();
    assert!(sentence.starts_with("writing table flows: "), "{sentence}");
}

#[test]
fn a_table_of_another_layout_is_refused() {
    let kernel = Kernel::new("layout");
    let refused = Table::<u32, u64>::open(&kernel.pins, "servers").unwrap_err().to_string();
    assert!(refused.contains("was left by another version of lbd"), "{refused}");
    let missing = Table::<u32, u64>::open(&kernel.pins, "nonsense").unwrap_err().to_string();
    assert!(missing.starts_with("cannot open the table ") && missing.contains("/nonsense: "), "{missing}");
}

#[test]
fn a_busy_machine_does_not_change_the_length_of_a_tick() {
    let mut clock = Clock::start().expect("root, and a kernel that takes the program");
    let quiet = clock.measure().unwrap();
    let busy = AtomicBool::new(true);
    let rates: Vec<u32> = std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let rates = (0..12).map(|_| clock.measure().unwrap_or_default()).collect();
        busy.store(false, Ordering::Relaxed);
        rates
    });
    assert_eq!(rates, [quiet; 12]);
}

#[test]
fn the_page_on_the_tables_lists_those_that_are_pinned_and_no_others() {
    let page = include_str!("../../../docs/reference/maps.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
    assert_eq!(listed, program::TABLES.into_iter().collect());
}
