//! The kernel runs the code that the tests run: host function and loaded program are given the
//! same frames in the same order, and must agree on every verdict, every byte and every table.

use std::collections::BTreeMap;

use lb_common::abi::{
    Address, Admission, Flow, FlowKey, PORT_WORDS, Plain, Reply, Scheduler, Server, ServerId, ServerState, ServiceMode,
    VerdictCounters,
};
use lb_common::datapath::{Action, Reason, forward};
use lb_common::testing::{DEVICE, MemPacket, MemTables, OTHER_DEVICE, Scenario};
use lb_common::wire::protocol;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::frames::{Dice, TCP_AND_UDP, VIPS, answer, frame};

const FRAMES: usize = 300_000;

/// Frames within one reading of the clock.
const BATCH: usize = 100;

/// Frames that left and may be answered.
const TALKING: usize = 400;

/// So few that some find the table full, and many do not.
const TRANSLATED_FLOWS: u32 = 2_500;

/// So few that those of one real server are all in use at times.
const SOURCE_PORTS: (u16, u16) = (2_010, 2_200);

/// Services of every scheduler and mode, with and without persistence, behind other interfaces and tags,
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
    harmonic.install(&mut tables, 1, 1, 0);

    let mut dicom = Scenario::new(vip(1), &[(104, 104)], &[protocol::TCP], Scheduler::WeightedRoundRobin, 6);
    (dicom.servers[0].outer_vlan, dicom.servers[0].inner_vlan) = (30, 20);
    dicom.servers[1].outer_vlan = 20;
    dicom.servers[2].state = ServerState::Draining as u8;
    dicom.servers[3].state = ServerState::Down as u8;
    dicom.servers[4].ifindex = 0;
    (dicom.servers[5].max_connections, dicom.servers[5].min_connections) = (40, 10);
    dicom.install(&mut tables, 2, 10, 16);

    let everything = [(1, 103), (104, 104), (105, 65_535)];
    Scenario::new(vip(2), &everything, &TCP_AND_UDP, Scheduler::Maglev, 5).install(&mut tables, 3, 20, 32);
    Scenario::new(vip(3), &[(443, 443)], &TCP_AND_UDP, Scheduler::SourceHash, 4).install(&mut tables, 4, 30, 48);
    Scenario::new(vip(3), &[(104, 104)], &TCP_AND_UDP, Scheduler::Maglev, 0).install(&mut tables, 5, 40, 64);
    translated(&mut tables);
    (tables.settings.first_source_port, tables.settings.last_source_port) = SOURCE_PORTS;
    tables.replies.capacity = TRANSLATED_FLOWS as usize;
    tables
}

/// Those of `l4-nat` and `l4-snat`. Real servers of one family have the same addresses in all services.
fn translated(tables: &mut MemTables) {
    let vip = |i: usize| VIPS[i].parse().expect("a literal address");
    let of =
        |i, ports: &[(u16, u16)], scheduler, servers| Scenario::new(vip(i), ports, &TCP_AND_UDP, scheduler, servers);
    let mut web = of(4, &[(443, 443), (1935, 1935), (50_000, 50_001)], Scheduler::WeightedRoundRobin, 3)
        .source_nat(1, "192.168.94.1".parse().expect("a literal address"));
    (web.servers[1].outer_vlan, web.servers[1].ifindex) = (20, OTHER_DEVICE);
    web.servers.iter_mut().for_each(|server| server.port = 8080);
    web.install(tables, 6, 50, 80);
    // One real server, whose ports run out.
    of(4, &[(104, 104), (554, 554)], Scheduler::Maglev, 1).source_nat(2, vip(4)).install(tables, 7, 60, 96);

    let mut imaging = of(5, &[(104, 104), (443, 554)], Scheduler::WeightedLeastConnection, 4).persistent(300).nat();
    imaging.servers[0].port = 11_112;
    imaging.servers[2].state = ServerState::Draining as u8;
    imaging.servers[3].max_connections = 30;
    imaging.install(tables, 8, 70, 112);
    // The same machines by another VIP.
    of(6, &[(104, 104), (443, 554)], Scheduler::SourceHash, 3).nat().install(tables, 9, 80, 128);
    let mut nowhere = of(6, &[(1935, 1935)], Scheduler::SourceHash, 2);
    nowhere.mode = ServiceMode::SourceNat;
    nowhere.install(tables, 10, 90, 144);
    of(6, &[(50_000, 50_000)], Scheduler::SourceHash, 2).nat().install(tables, 11, 95, 160);
    tables.services.get_mut(&11).expect("just installed").new_flows_per_tick = 0;

    let source = "fd00:94::1".parse().expect("a literal address");
    of(7, &[(1, 60_000)], Scheduler::Maglev, 4).source_nat(3, source).persistent(300).install(tables, 12, 100, 176);
    let mut old = of(8, &[(443, 443), (104, 104)], Scheduler::WeightedRoundRobin, 3).nat();
    (old.servers[1].outer_vlan, old.servers[1].inner_vlan, old.servers[1].port) = (30, 20, 80);
    old.install(tables, 13, 110, 192);
}

fn action(action: Action) -> u32 {
    match action {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect(_) => 4,
    }
}

/// What is sent: frames of clients, and answers to frames that left.
struct Traffic {
    dice: Dice,
    left: Vec<Vec<u8>>,
}

impl Traffic {
    fn next(&mut self) -> Vec<u8> {
        let answered = if self.left.is_empty() || self.dice.below(2) == 0 {
            None
        } else {
            let which = self.dice.below(self.left.len());
            answer(&mut self.dice, &self.left[which])
        };
        answered.unwrap_or_else(|| frame(&mut self.dice))
    }

    /// A frame has left that was another one when it came.
    fn left(&mut self, frame: &[u8]) {
        if self.left.len() < TALKING {
            self.left.push(frame.to_vec());
        } else {
            let which = self.dice.below(TALKING);
            frame.clone_into(&mut self.left[which]);
        }
    }
}

#[test]
fn host_and_kernel_agree_on_every_frame_and_every_table() {
    let mut tables = tables();
    let limits = Limits { translated_flows: TRANSLATED_FLOWS, ..Limits::default() };
    // Both have the same time: a tick of many seconds, of which the last part is left out.
    let mut rig = Rig::load_slow("parity", limits, 1).expect("loading the program");
    rig.fill(&tables).expect("filling the tables");
    let mut traffic = Traffic { dice: Dice::new(0x1b), left: Vec::new() };
    let mut seen = BTreeMap::new();
    let mut ticks = std::collections::BTreeSet::new();
    for batch in 0..FRAMES / BATCH {
        tables.now.set(rig.steady_now().expect("the kernel's clock"));
        ticks.insert(tables.now.get());
        if let Some(entry) = changes(batch, &mut tables) {
            rig.table("servers").expect("servers").set(&entry.0, &entry.1).expect("writing a server");
        }
        for number in 0..BATCH {
            let frame = traffic.next();
            let mut packet = MemPacket::new(&frame, DEVICE);
            let verdict = forward(&mut packet, &tables);
            let kernel = rig.run(&frame).expect("running the program");
            let number = batch * BATCH + number;
            assert_eq!(action(verdict.action), kernel.action, "frame {number}, host says {verdict:?}: {frame:02x?}");
            assert_eq!(packet.frame(), kernel.frame, "frame {number}, {verdict:?}: {frame:02x?}");
            *seen.entry(verdict.reason).or_insert(0_u64) += 1;
            if matches!(verdict.action, Action::Transmit | Action::Redirect(_)) && kernel.frame[14..] != frame[14..] {
                traffic.left(&kernel.frame);
            }
        }
        assert_eq!(rig.now().expect("the kernel's clock"), tables.now.get(), "this took longer than a second");
    }
    println!("{FRAMES} frames within {} ticks agreed: {seen:?}", ticks.len());
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !seen.contains_key(reason)).map(|r| r.name()).collect();
    // Frames without headroom, floods and full flow tables have tests of their own.
    assert_eq!(missing, ["untracked", "flow-table-full", "no-headroom"], "reasons that no frame met");
    agrees(&rig, &tables);
}

/// Servers fail, come back, drain, and lose their next hop, as the daemon would write it.
fn changes(batch: usize, tables: &mut MemTables) -> Option<(ServerId, Server)> {
    const EVERY: usize = FRAMES / BATCH / 40;
    if batch == 0 || !batch.is_multiple_of(EVERY) {
        return None;
    }
    let ids: Vec<ServerId> = tables.servers.keys().copied().collect();
    let id = ids[batch / EVERY * 7 % ids.len()];
    let entry = tables.servers.get_mut(&id).expect("a server");
    match batch / EVERY % 4 {
        0 => (entry.state, entry.generation) = (ServerState::Down as u8, entry.generation + 1),
        1 => entry.ifindex = 0,
        2 => entry.state = ServerState::Draining as u8,
        _ => (entry.state, entry.ifindex) = (ServerState::Active as u8, DEVICE),
    }
    Some((id, *entry))
}

fn agrees(rig: &Rig, tables: &MemTables) {
    same::<Flow>(rig, "flows", &tables.flows.all());
    same::<Flow>(rig, "pending_flows", &tables.pending_flows.all());
    same::<Reply>(rig, "replies", &tables.replies.all());
    assert_eq!(rig.persistence().expect("persistence"), tables.persistence.all());
    assert_eq!(rig.entries("new_clients").expect("new clients"), tables.new_clients.all());
    assert_eq!(rig.entries("fragments").expect("fragments"), tables.fragments.all());
    let verdicts = rig.table::<u32, VerdictCounters>("verdicts").expect("verdicts");
    for reason in Reason::ALL {
        let kernel = verdicts.get_all(&u32::from(*reason as u8)).expect("a counter").expect("an element");
        let host = tables.verdicts.borrow().get(reason).copied().unwrap_or_default();
        assert_eq!(kernel[0], host, "counter {}", reason.name());
    }
    for server in tables.servers.keys() {
        let host = tables.server_counters.borrow().get(server).copied().unwrap_or_default();
        assert_eq!(rig.server_counters(*server).expect("counters"), host, "server {server}");
        let host = tables.opened.borrow().get(server).copied().unwrap_or_default();
        assert_eq!(rig.opened(*server).expect("opened"), host, "server {server}");
    }
    let admission = rig.table::<u32, Admission>("admission").expect("admission");
    for service in std::iter::once(0).chain(tables.services.keys().copied()) {
        let kernel = admission.get_all(&service).expect("an account").expect("an element");
        let host = tables.admission.borrow().get(&service).copied().unwrap_or_default();
        assert_eq!(kernel[0], host, "service {service}");
    }
    let ports = rig.table::<u32, u64>("source_ports").expect("source ports");
    let pools = tables.servers.values().flat_map(|server| [server.pool, server.pool + 1]);
    let mut in_use = 0;
    for word in pools.flat_map(|pool| pool * PORT_WORDS..(pool + 1) * PORT_WORDS) {
        let host = tables.source_ports.borrow().get(&word).copied().unwrap_or(0);
        assert_eq!(ports.get(&word).expect("a word").expect("an element"), host, "word {word} of the source ports");
        in_use += host.count_ones();
    }
    assert!(in_use > 500, "{in_use} source ports were used");
}

/// All entries of a table, times included.
fn same<V: Plain + Default + PartialEq + std::fmt::Debug>(rig: &Rig, name: &str, host: &[(FlowKey, V)]) {
    let kernel = rig.entries::<FlowKey, V>(name).expect(name);
    assert_eq!(kernel.len(), host.len(), "{name}");
    for (kernel, host) in kernel.iter().zip(host) {
        assert_eq!(kernel, host, "{name}");
    }
    println!("{} {name}", host.len());
}
