//! What a packet costs: the loaded program by BPF_PROG_TEST_RUN, beside a floor measured in the
//! same run. Rounds are interleaved and the smallest of each row counts, because the machine's
//! speed drifts; ratios are what to compare.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lb_common::abi::{Scheduler, Settings};
use lb_common::testing::{MemTables, PacketBuilder, Scenario};
use lb_common::wire::tcp;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::frames::TCP_AND_UDP;
use lb_datapath_tests::peers::{MILLION, Peers, VIP, million};

/// Measures the layer 4 datapath.
#[derive(Parser)]
struct Arguments {
    /// What to measure; there is one bench so far.
    #[arg(default_value = "l4", value_parser = ["l4"])]
    bench: String,
    /// Rounds over all rows.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Runs of the program per measurement.
    #[arg(long, default_value_t = 200_000)]
    repeat: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// So many clients that each is a new one.
const ENDLESS: u64 = 1 << 24;

/// What a row runs.
#[derive(Clone, Copy)]
enum Work {
    Peer(&'static str),
    PeerVaried(&'static str, u64),
    Datapath,
    DatapathVaried(u64),
}

/// What a row is divided by.
#[derive(Clone, Copy, PartialEq)]
enum Against {
    Nothing,
    /// The row of this name.
    Row(&'static str),
}

struct Row {
    name: String,
    work: Work,
    frame: Vec<u8>,
    tables: usize,
    against: Against,
    target: Option<f64>,
    best: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut peers = Peers::load()?;
    let mut stages = stages()?;
    let mut rows = rows();
    for round in 1..=arguments.rounds {
        for row in &mut rows {
            progress(&format!("round {round} of {}: {}", arguments.rounds, row.name));
            let repeat = arguments.repeat;
            let time = match row.work {
                Work::Peer(name) => peers.time(name, &row.frame, repeat)?,
                Work::PeerVaried(name, clients) => peers.time_varied(name, &row.frame, clients, repeat)?,
                Work::Datapath => stages[row.tables].time(&row.frame, repeat)?,
                Work::DatapathVaried(clients) => {
                    let target = stages[row.tables].xdp()?.fd()?.try_clone()?;
                    peers.time_target(&target, &row.frame, clients, repeat)?
                }
            };
            row.best = row.best.min(time.as_secs_f64() * 1e9);
        }
    }
    progress("");
    if std::env::var_os("LB_BENCH_VERDICTS").is_some() {
        for (number, stage) in stages.iter().enumerate() {
            let seen: Vec<_> = stage.verdicts()?.into_iter().filter(|(_, n)| *n > 0).collect();
            eprintln!("tables {number}: {seen:?}");
        }
    }
    if arguments.json { print_json(&rows) } else { print_table(&rows) }
}

fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
    }
}

/// The loaded programs, each over tables of its own.
fn stages() -> Result<Vec<Rig>> {
    let mut stages = Vec::new();
    for (number, tables) in all_tables().iter().enumerate() {
        progress(&format!("loading tables {number}"));
        let mut rig = Rig::load(&format!("bench{number}"), Limits::default())?;
        rig.fill(tables)?;
        if number == 0 {
            fill_flows(&mut rig)?;
        }
        warm(&mut rig)?;
        stages.push(rig);
    }
    Ok(stages)
}

/// A million established flows, as `vary` asks for them.
fn fill_flows(rig: &mut Rig) -> Result<()> {
    let now = rig.now()?;
    let (keys, flows) = million(now);
    rig.table("flows")?.set_many(&keys, &flows).context("filling the flow table")
}

/// Opens the hot flow and the hot datagram, and checks that frames take the paths they are named for.
fn warm(rig: &mut Rig) -> Result<()> {
    for frame in [segment(80, tcp::SYN), segment(80, tcp::ACK), fragments()[0].clone(), fragments()[1].clone()] {
        ensure!(rig.run(&frame)?.action >= 3, "a frame of the bench was not forwarded");
    }
    Ok(())
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

fn all_tables() -> Vec<MemTables> {
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
    service(scheduler, &[(80, 80)], servers).install(&mut tables, 0, 0, 0);
    tables
}

fn many_services() -> MemTables {
    let mut tables = MemTables::default();
    service(Scheduler::WeightedLeastConnection, &[(80, 80)], 2).install(&mut tables, 0, 0, 0);
    for id in 1..1000_u16 {
        let scenario = service(Scheduler::WeightedLeastConnection, &[(1000 + id, 1000 + id)], 2);
        scenario.install(&mut tables, id.into(), u32::from(id) * 2, u32::from(id) * 4);
    }
    tables
}

fn persistent() -> MemTables {
    let mut tables = MemTables::default();
    // All clients of `vary` are of 10.0.0.0/8: one record, found by each new flow.
    let mut scenario = service(Scheduler::WeightedLeastConnection, &[(80, 80)], 2).persistent(3600);
    scenario.client_mask = lb_common::abi::Address::v4([255, 0, 0, 0]);
    scenario.client_mask.octets[..12].fill(0xff);
    scenario.install(&mut tables, 0, 0, 0);
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
    service(Scheduler::WeightedLeastConnection, &ports, 2).install(&mut tables, 0, 0, 0);
    tables
}

fn segment(port: u16, flags: u8) -> Vec<u8> {
    PacketBuilder::tcp(([10, 200, 0, 1].into(), 40_000), (VIP.into(), port), flags, &[0; 6]).build()
}

fn fragments() -> Vec<Vec<u8>> {
    PacketBuilder::udp(([10, 200, 0, 1].into(), 40_000), (VIP.into(), 80), &[0; 56]).fragments(7, 32)
}

fn stranger() -> Vec<u8> {
    PacketBuilder::tcp(([10, 200, 0, 1].into(), 40_000), ([192, 168, 94, 9].into(), 22), tcp::ACK, &[0; 6]).build()
}

const FLOOR: Against = Against::Row("floor");
const VARIED: Against = Against::Row("floor, varied clients");
const INSERT: Against = Against::Row("bare insert of a pending flow");

fn rows() -> Vec<Row> {
    let row = |name: &str, work, frame: Vec<u8>, tables, against, target| Row {
        name: name.to_owned(),
        work,
        frame,
        tables,
        against,
        target,
        best: f64::INFINITY,
    };
    let (ack, syn) = (segment(80, tcp::ACK), segment(80, tcp::SYN));
    let new = Work::DatapathVaried(ENDLESS);
    let mut rows = vec![
        row("floor", Work::Peer("floor"), ack.clone(), 0, Against::Nothing, None),
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

fn best(rows: &[Row], name: &str) -> f64 {
    rows.iter().find(|row| row.name == name).map_or(f64::NAN, |row| row.best)
}

fn ratio(rows: &[Row], row: &Row) -> Option<f64> {
    match row.against {
        Against::Nothing => None,
        Against::Row(name) => Some(row.best / best(rows, name)),
    }
}

fn print_table(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<46} {:>8}  {:>6}  {:>7}  against", "path", "ns", "ratio", "target")?;
    for row in rows {
        write!(out, "{:<46} {:>8.1}", row.name, row.best)?;
        if let (Some(ratio), Against::Row(name)) = (ratio(rows, row), row.against) {
            let target = row.target.map_or(String::new(), |target| format!("<= {target}"));
            let missed = if row.target.is_some_and(|target| ratio > target) { "  (missed)" } else { "" };
            write!(out, "  {ratio:>6.2}  {target:>7}  {name}{missed}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn print_json(rows: &[Row]) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let against = match row.against {
                Against::Nothing => None,
                Against::Row(name) => Some(name),
            };
            serde_json::json!({
                "path": row.name, "nanoseconds": row.best, "ratio": ratio(rows, row),
                "against": against, "target": row.target,
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}
