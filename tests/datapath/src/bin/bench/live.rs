//! Frames a second over virtual links. All ways of forwarding take turns within each round, and
//! ratios are taken within a round, because the machine's speed drifts; the median round counts.
//! Ratios are of frames per second of CPU time, so that other programs do not count.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_common::wire::protocol;
use lb_datapath_tests::live::{Flows, Kind, Live, Measured, cpu_time_is_whole};

use crate::progress;

/// How long it is measured.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds over all rows
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Milliseconds of sending per measurement
    #[arg(long, default_value_t = 250)]
    milliseconds: u64,
    /// Flows, one set-up each
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 60_000], value_parser = clap::value_parser!(u32).range(100..=65_536))]
    flows: Vec<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One row: a way of forwarding under one load.
struct Row {
    kind: Kind,
    flows: Flows,
    own_cpu: bool,
    /// By round.
    measured: Vec<Measured>,
    /// How many times the rate of each peer this one's was, by round.
    ratios: [Vec<f64>; 2],
}

/// What each row is compared with: translation with what is spared in `l4-dr`, all with what the kernel has
/// for it.
const PEERS: [Kind; 2] = [Kind::DirectRouting, Kind::Nftables];

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.rounds > 0, "at least one round is needed");
    progress("building the links");
    let mut live = Live::build()?;
    for (kind, complaint) in live.missing() {
        eprintln!("left out: {} ({complaint})", kind.name());
    }
    let loads = loads(&arguments.flows);
    for flows in &loads {
        for lane in 0..live.lanes().len() {
            progress(&format!("opening flows: {}", live.lanes()[lane].describe(*flows)));
            live.introduce(lane, *flows)?;
        }
    }
    let mut rows = Vec::new();
    for own_cpu in [false, true] {
        live.own_cpu(own_cpu)?;
        for flows in &loads {
            rows.extend(measure(&mut live, *flows, own_cpu, arguments)?);
        }
    }
    progress("");
    if arguments.json { print_json(&rows) } else { print_table(&rows) }
}

fn loads(counts: &[u32]) -> Vec<Flows> {
    let protocols = [protocol::UDP, protocol::TCP];
    counts.iter().flat_map(|&count| protocols.map(|protocol| Flows { protocol, count })).collect()
}

/// All ways of forwarding under one load.
fn measure(live: &mut Live, flows: Flows, own_cpu: bool, arguments: &Arguments) -> Result<Vec<Row>> {
    let row = |kind| Row { kind, flows, own_cpu, measured: Vec::new(), ratios: Default::default() };
    let mut rows: Vec<_> = live.lanes().iter().map(|lane| row(lane.kind())).collect();
    let by_cpu_time = cpu_time_is_whole();
    let rate = |measured: &Measured| if by_cpu_time { measured.cpu_rate() } else { measured.rate() };
    for round in 1..=arguments.rounds {
        for (lane, row) in rows.iter_mut().enumerate() {
            let what = live.lanes()[lane].describe(flows);
            progress(&format!("round {round} of {}, {}: {what}", arguments.rounds, cpus(own_cpu)));
            row.measured.push(live.measure(lane, flows, Duration::from_millis(arguments.milliseconds))?);
        }
        let last = |row: &Row| row.measured.last().map(rate);
        let peers = PEERS.map(|peer| rows.iter().find(|row| row.kind == peer).and_then(last));
        for row in &mut rows {
            let Some(own) = last(row) else { continue };
            for (ratios, peer) in row.ratios.iter_mut().zip(peers) {
                ratios.extend(peer.map(|peer| own / peer));
            }
        }
    }
    Ok(rows)
}

impl Row {
    /// How many times the rate of which peer it has to reach.
    fn target(&self) -> Option<(Kind, f64)> {
        if matches!(self.kind, Kind::Nat | Kind::SourceNat) {
            return Some((Kind::DirectRouting, 0.85));
        }
        if self.kind != Kind::DirectRouting {
            return None;
        }
        let target = match (self.flows.count, self.own_cpu) {
            (1_000, false) => 2.2,
            (1_000, true) => 3.4,
            (60_000, false) => 2.6,
            (60_000, true) => 4.0,
            _ => return None,
        };
        Some((Kind::Nftables, target))
    }

    fn rate(&self) -> f64 {
        median(self.measured.iter().map(Measured::rate))
    }

    fn cpu_rate(&self) -> f64 {
        median(self.measured.iter().map(Measured::cpu_rate))
    }

    /// How many times the rate of each peer.
    fn ratios(&self) -> [f64; 2] {
        self.ratios.each_ref().map(|ratios| median(ratios.iter().copied()))
    }

    /// How many times the rate of this peer.
    fn ratio(&self, to: Kind) -> f64 {
        PEERS.iter().zip(self.ratios()).find(|(peer, _)| **peer == to).map_or(f64::NAN, |(_, ratio)| ratio)
    }

    fn protocol(&self) -> &'static str {
        if self.flows.protocol == protocol::TCP { "tcp" } else { "udp" }
    }
}

fn cpus(own_cpu: bool) -> &'static str {
    if own_cpu { "balancer's CPU its own" } else { "one CPU" }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_table(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<22} {:>6} {:>4}  {:<24} {:>11} {:>12} {:>9} {:>11}  {:>6}",
        "CPUs", "flows", "", "forwarded by", "frames/s", "per CPU-s", "x l4-dr", "x nftables", "target"
    )?;
    for row in rows {
        let load = format!("{:<22} {:>6} {:>4}", cpus(row.own_cpu), row.flows.count, row.protocol());
        let (rate, cpu_rate, [direct, nftables]) = (row.rate(), row.cpu_rate(), row.ratios());
        write!(out, "{load}  {:<24} {rate:>11.0} {cpu_rate:>12.0} {direct:>9.2} {nftables:>11.2}", row.kind.name())?;
        if let Some((peer, target)) = row.target() {
            let missed = if row.ratio(peer) < target { "  (missed)" } else { "" };
            write!(out, "  {:>6} x {}{missed}", format!(">= {target}"), peer.name())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn print_json(rows: &[Row]) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "forwarded_by": row.kind.name(), "flows": row.flows.count, "protocol": row.protocol(),
                "own_cpu": row.own_cpu, "frames_per_second": row.rate(),
                "frames_per_cpu_second": row.cpu_rate(), "peers": PEERS.map(Kind::name), "ratios": row.ratios(),
                "target": row.target().map(|(peer, target)| (peer.name(), target)),
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}
