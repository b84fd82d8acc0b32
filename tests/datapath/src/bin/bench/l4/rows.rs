//! What the layer 4 bench measures, over which tables, and what each figure is divided by.

use lb_common::abi::{Address, Scheduler, Settings};
use lb_common::testing::{MemTables, PacketBuilder, Scenario};
use lb_common::wire::tcp;
use lb_datapath_tests::frames::TCP_AND_UDP;
use lb_datapath_tests::peers::{MILLION, VIP};

/// So many clients that each is a new one.
pub(super) const ENDLESS: u64 = 1 << 24;

/// What a row runs.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Peer(&'static str),
    PeerVaried(&'static str, u64),
    Datapath,
    DatapathVaried(u64),
    /// A program that is measured against, its frame written anew by a program of `Replay`, with so many
    /// clients.
    PeerReplayed(&'static str, &'static str, u64),
    /// The datapath, the same.
    Replayed(&'static str, u64),
    /// Bare inserts of new flows into tables that are emptied afterwards.
    PeerOpened,
    /// New translated flows, forgotten afterwards.
    Opened,
}

/// What a row is divided by.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Against {
    Nothing,
    /// The row of this name.
    Row(&'static str),
}

pub(super) struct Row {
    pub(super) name: String,
    pub(super) work: Work,
    pub(super) frame: Vec<u8>,
    pub(super) tables: usize,
    pub(super) against: Against,
    pub(super) target: Option<f64>,
    /// Its frame is written anew each time, and the time that takes is not its own.
    pub(super) without_replay: bool,
    pub(super) best: f64,
}

const FLOOR: Against = Against::Row("floor");
const VARIED: Against = Against::Row("floor, varied clients");
const INSERT: Against = Against::Row("bare insert of a pending flow");

pub(super) fn rows() -> Vec<Row> {
    let row = |name: &str, work, frame: Vec<u8>, tables, against, target| Row {
        name: name.to_owned(),
        work,
        frame,
        tables,
        against,
        target,
        without_replay: false,
        best: f64::INFINITY,
    };
    let (ack, syn) = (segment(80, tcp::ACK), segment(80, tcp::SYN));
    let new = Work::DatapathVaried(ENDLESS);
    let mut rows = vec![
        row("floor", Work::Peer("floor"), ack.clone(), 0, Against::Nothing, None),
        row("floor, in a function", Work::Peer("floor_called"), ack.clone(), 0, Against::Nothing, None),
        row("established, hot", Work::Datapath, ack.clone(), TWO, FLOOR, Some(5.5)),
        row("established, hot, 250 servers", Work::Datapath, ack.clone(), MANY, FLOOR, Some(5.5)),
        row("established, hot, 1,000 services", Work::Datapath, ack.clone(), SERVICES, FLOOR, Some(5.5)),
        row("established, hot, persistent", Work::Datapath, ack.clone(), PERSISTENT, FLOOR, Some(5.5)),
        row("established, hot, port lists and ranges", Work::Datapath, ack.clone(), RANGES, FLOOR, Some(5.5)),
        row("not ours", Work::Datapath, stranger(), TWO, FLOOR, Some(3.0)),
        row("later fragment", Work::Datapath, fragments()[1].clone(), TWO, Against::Row("established, hot"), Some(2.0)),
        row("floor, varied clients", Work::PeerVaried("floor", ENDLESS), syn.clone(), 0, Against::Nothing, None),
        row(
            "bare lookup, one of a million",
            Work::PeerVaried("bare_lookup", MILLION.into()),
            ack.clone(),
            0,
            VARIED,
            None,
        ),
        row(
            "established, one of a million",
            Work::DatapathVaried(MILLION.into()),
            ack,
            TWO,
            Against::Row("bare lookup, one of a million"),
            Some(1.0),
        ),
        row("bare insert of a pending flow", Work::PeerVaried("bare_insert", ENDLESS), syn.clone(), 0, VARIED, None),
    ];
    for (number, (_, name)) in SCHEDULERS.iter().enumerate() {
        for (more, servers) in [(0, 2), (1, 250)] {
            let name = format!("new flow, {name}, {servers} servers");
            rows.push(row(&name, new, syn.clone(), RANGES + 1 + 2 * number + more, INSERT, Some(1.1)));
        }
    }
    rows.extend([
        row("new flow, 1,000 services", new, syn.clone(), SERVICES, INSERT, Some(1.1)),
        row("new flow, port in a range of 15,536", new, segment(60_000, tcp::SYN), RANGES, INSERT, Some(1.1)),
        row("new flow, persistent client", new, syn.clone(), PERSISTENT, INSERT, Some(1.1)),
        row("flood: new flow without a record", new, syn, FLOOD, VARIED, Some(14.0)),
    ]);
    rows
}

const TWO: usize = 0;
const MANY: usize = 1;
const SERVICES: usize = 2;
const PERSISTENT: usize = 3;
const FLOOD: usize = 4;
const RANGES: usize = 5;
/// Then a stage for each of these schedulers, with 2 and with 250 servers.
const SCHEDULERS: [(Scheduler, &str); 4] = [
    (Scheduler::WeightedLeastConnection, "weighted-least-connection"),
    (Scheduler::WeightedRoundRobin, "weighted-round-robin"),
    (Scheduler::SourceHash, "source-hash"),
    (Scheduler::Maglev, "maglev"),
];

pub(super) fn all_tables() -> Vec<MemTables> {
    let wlc = Scheduler::WeightedLeastConnection;
    let mut all = vec![one(wlc, 2), one(wlc, 250), many_services(), persistent(), flood(), ranges()];
    all.extend(SCHEDULERS.iter().flat_map(|(scheduler, _)| [one(*scheduler, 2), one(*scheduler, 250)]));
    all
}

fn service(scheduler: Scheduler, ports: &[(u16, u16)], servers: usize) -> Scenario {
    Scenario::new(VIP.into(), ports, &TCP_AND_UDP, scheduler, servers)
}

fn one(scheduler: Scheduler, servers: usize) -> MemTables {
    let mut tables = MemTables::default();
    service(scheduler, &[(80, 80)], servers).install(&mut tables, 1, 1, 0);
    tables
}

fn many_services() -> MemTables {
    let mut tables = MemTables::default();
    service(Scheduler::WeightedLeastConnection, &[(80, 80)], 2).install(&mut tables, 1, 1, 0);
    for id in 2..=1000_u16 {
        let scenario = service(Scheduler::WeightedLeastConnection, &[(1000 + id, 1000 + id)], 2);
        scenario.install(&mut tables, id.into(), u32::from(id) * 2, u32::from(id) * 4);
    }
    tables
}

fn persistent() -> MemTables {
    let mut tables = MemTables::default();
    // All clients of `vary` are of 10.0.0.0/8: one record, found by each new flow.
    let mut scenario = service(Scheduler::WeightedLeastConnection, &[(80, 80)], 2).persistent(3600);
    scenario.client_mask = Address::v4([255, 0, 0, 0]);
    scenario.client_mask.octets[..12].fill(0xff);
    scenario.install(&mut tables, 1, 1, 0);
    tables
}

fn flood() -> MemTables {
    let mut tables = one(Scheduler::WeightedLeastConnection, 250);
    // Enough for the flows that `warm` opens, no more.
    tables.settings = Settings { new_flows_per_tick: 8, ..tables.settings };
    tables
}

fn ranges() -> MemTables {
    let mut tables = MemTables::default();
    let ports = [(80, 80), (554, 554), (1935, 1935), (50_000, 65_535)];
    service(Scheduler::WeightedLeastConnection, &ports, 2).install(&mut tables, 1, 1, 0);
    tables
}

pub(super) fn segment(port: u16, flags: u8) -> Vec<u8> {
    PacketBuilder::tcp(([10, 200, 0, 1].into(), 40_000), (VIP.into(), port), flags, &[0; 6]).build()
}

pub(super) fn fragments() -> Vec<Vec<u8>> {
    PacketBuilder::udp(([10, 200, 0, 1].into(), 40_000), (VIP.into(), 80), &[0; 56]).fragments(7, 32)
}

fn stranger() -> Vec<u8> {
    PacketBuilder::tcp(([10, 200, 0, 1].into(), 40_000), ([192, 168, 94, 9].into(), 22), tcp::ACK, &[0; 6]).build()
}
