//! The kernel runs the code that the tests run: host function and loaded program are given the
//! same frames in the same order, and must agree on every verdict, every byte and every table.

use std::collections::BTreeMap;

use lb_common::abi::{Address, Flow, FlowKey, Persistence, PersistenceKey, Scheduler, ServerState};
use lb_common::datapath::{Action, forward};
use lb_common::testing::{DEVICE, MemPacket, MemTables, OTHER_DEVICE, Scenario};
use lb_common::wire::protocol;
use lb_datapath_tests::Rig;
use lb_datapath_tests::frames::{Dice, TCP_AND_UDP, VIPS, frame};

const FRAMES: usize = 300_000;

/// Services of every scheduler, with and without persistence, behind other interfaces and tags,
/// with servers that are draining, down, full and unreachable.
fn tables() -> MemTables {
    let mut tables = MemTables::default();
    let vip = |i: usize| VIPS[i].parse().expect("a literal address");
    let media = [(554, 554), (1935, 1935), (50_000, 65_535)];
    let mut harmonic =
        Scenario::new(vip(0), &media, &TCP_AND_UDP, Scheduler::WeightedLeastConnection, 3).persistent(300);
    harmonic.client_mask =
        Address::v6([255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0xf0]);
    harmonic.servers[1].ifindex = OTHER_DEVICE;
    harmonic.install(&mut tables, 0, 0, 0);

    let mut dicom = Scenario::new(vip(1), &[(104, 104)], &[protocol::TCP], Scheduler::WeightedRoundRobin, 6);
    (dicom.servers[0].outer_vlan, dicom.servers[0].inner_vlan) = (30, 20);
    dicom.servers[1].outer_vlan = 20;
    dicom.servers[2].state = ServerState::Draining as u8;
    dicom.servers[3].state = ServerState::Down as u8;
    dicom.servers[4].ifindex = 0;
    (dicom.servers[5].max_connections, dicom.servers[5].min_connections) = (40, 10);
    dicom.install(&mut tables, 1, 10, 16);

    let everything = [(1, 103), (104, 104), (105, 65_535)];
    Scenario::new(vip(2), &everything, &TCP_AND_UDP, Scheduler::Maglev, 5).install(&mut tables, 2, 20, 32);
    Scenario::new(vip(3), &[(443, 443)], &TCP_AND_UDP, Scheduler::SourceHash, 4).install(&mut tables, 3, 30, 48);
    Scenario::new(vip(3), &[(104, 104)], &TCP_AND_UDP, Scheduler::Maglev, 0).install(&mut tables, 4, 40, 64);
    tables
}

fn action(action: Action) -> u32 {
    match action {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect(_) => 4,
    }
}

/// Times differ by a tick when the clock ticks between the two runs.
fn timeless_flows(entries: Vec<(FlowKey, Flow)>) -> BTreeMap<FlowKey, Flow> {
    entries.into_iter().map(|(key, flow)| (key, Flow { last_seen: 0, created: 0, ..flow })).collect()
}

fn timeless_clients(entries: Vec<(PersistenceKey, Persistence)>) -> BTreeMap<PersistenceKey, Persistence> {
    entries.into_iter().map(|(key, record)| (key, Persistence { last_used: 0, created: 0, ..record })).collect()
}

#[test]
fn host_and_kernel_agree_on_every_frame_and_every_table() {
    let tables = tables();
    let mut rig = Rig::load("parity", lb_core::config::model::Limits::default()).expect("loading the program");
    rig.fill(&tables).expect("filling the tables");
    let mut dice = Dice::new(0x1b);
    let mut seen = BTreeMap::new();
    for number in 0..FRAMES {
        let frame = frame(&mut dice);
        tables.now.set(rig.now().expect("the kernel's clock"));
        let mut packet = MemPacket::new(&frame, DEVICE);
        let verdict = forward(&mut packet, &tables);
        let kernel = rig.run(&frame).expect("running the program");
        assert_eq!(action(verdict.action), kernel.action, "frame {number}, host says {verdict:?}: {frame:02x?}");
        assert_eq!(packet.frame(), kernel.frame, "frame {number}, {verdict:?}: {frame:02x?}");
        *seen.entry(verdict.reason).or_insert(0_u64) += 1;
    }
    for (reason, packets) in rig.verdicts().expect("reading the counters") {
        assert_eq!(packets, seen.get(&reason).copied().unwrap_or(0), "counter {}", reason.name());
    }
    let expected = ["established", "pending", "scheduled", "persistent", "resumed", "fragment", "icmp-error"];
    for name in expected {
        assert!(seen.keys().any(|reason| reason.name() == name), "no frame was {name}; seen: {seen:?}");
    }
    assert_eq!(timeless_flows(rig.flows().expect("flows")), timeless_flows(tables.flows.all()));
    let pending = rig.entries("pending_flows").expect("pending flows");
    assert_eq!(timeless_flows(pending), timeless_flows(tables.pending_flows.all()));
    assert_eq!(timeless_clients(rig.persistence().expect("persistence")), timeless_clients(tables.persistence.all()));
    for (server, counters) in tables.server_counters.borrow().iter() {
        assert_eq!(&rig.server_counters(*server).expect("counters"), counters, "server {server}");
    }
    for (server, opened) in tables.opened.borrow().iter() {
        assert_eq!(&rig.opened(*server).expect("opened"), opened, "server {server}");
    }
    println!("{FRAMES} frames agreed: {seen:?}");
}
