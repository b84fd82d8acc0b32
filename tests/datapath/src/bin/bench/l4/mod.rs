//! What a packet costs: the loaded program by BPF_PROG_TEST_RUN, beside a floor measured in the
//! same run. Rounds are interleaved and the smallest of each row counts, because the machine's
//! speed drifts; ratios are what to compare.

mod pool;
mod report;
mod rows;
mod translated;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lb_common::wire::tcp;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::peers::{MILLION, Peers, million};
use lb_datapath_tests::replay;

use crate::progress;
use rows::{ENDLESS, Row, Work, all_tables, fragments, rows, segment};
use translated::MOST_NEW;

/// How often it is measured.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds over all rows.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Runs of the program per measurement.
    #[arg(long, default_value_t = 200_000)]
    repeat: u32,
    /// Only rows with this in their name, and the floors; `pool` is a table of its own.
    #[arg(long)]
    only: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut peers = Peers::load()?;
    // The filter of the prototype knows the million flows.
    peers.time_replayed("set_presence", replay::CLIENTS, &translated::from_client(80, 0), MILLION.into(), MILLION)?;
    let mut rows = rows();
    rows.retain(|row| arguments.measures(&row.name));
    let mut stages = stages(&rows)?;
    let (translated, mut translated_rows) = translated::build(stages.len())?;
    translated_rows.retain(|row| arguments.measures(&row.name));
    stages.extend(translated.into_iter().map(Some));
    rows.extend(translated_rows);
    for round in 1..=arguments.rounds {
        for row in &mut rows {
            progress(&format!("round {round} of {}: {}", arguments.rounds, row.name));
            let time = measure(row, &mut peers, &mut stages, arguments.repeat)?;
            row.best = row.best.min(time.as_secs_f64() * 1e9);
        }
    }
    progress("");
    if std::env::var_os("LB_BENCH_VERDICTS").is_some() {
        for (number, stage) in stages.iter().enumerate() {
            let Some(stage) = stage else { continue };
            let seen: Vec<_> = stage.verdicts()?.into_iter().filter(|(_, n)| *n > 0).collect();
            eprintln!("tables {number}: {seen:?}");
        }
    }
    let levels = if arguments.only.as_ref().is_none_or(|only| only == "pool") {
        drop((stages, peers));
        pool::measure(arguments.rounds)?
    } else {
        Vec::new()
    };
    if arguments.json { report::print_json(&rows, &levels) } else { report::print_table(&rows, &levels) }
}

impl Arguments {
    fn measures(&self, row: &str) -> bool {
        self.only.as_ref().is_none_or(|only| row.contains(only) || row.contains("floor"))
    }
}

fn measure(row: &Row, peers: &mut Peers, stages: &mut [Option<Rig>], repeat: u32) -> Result<Duration> {
    let frame = &row.frame;
    let stage = stages.get_mut(row.tables).and_then(Option::as_mut).context("a row without tables")?;
    let opened = repeat.min(MOST_NEW);
    match row.work {
        Work::Peer(name) => peers.time(name, frame, repeat),
        Work::PeerVaried(name, clients) => peers.time_varied(name, frame, clients, repeat),
        Work::PeerReplayed(name, by, clients) => peers.time_replayed(name, by, frame, clients, repeat),
        Work::PeerOpened => {
            let time = peers.time_replayed("bare_inserts", replay::CLIENTS, frame, ENDLESS, opened)?;
            let (flows, replies) = peers.forget_new()?;
            ensure!(flows == opened as usize && replies == flows, "of {opened} new flows {flows} were inserted");
            Ok(time)
        }
        Work::Datapath => stage.time(frame, repeat),
        Work::DatapathVaried(clients) => {
            let target = stage.xdp()?.fd()?.try_clone()?;
            peers.time_target(&target, frame, clients, repeat)
        }
        Work::Replayed(by, clients) => {
            let target = stage.xdp()?.fd()?.try_clone()?;
            peers.replay().play(by, &target, frame, clients, repeat)
        }
        Work::Opened => {
            let target = stage.xdp()?.fd()?.try_clone()?;
            let time = peers.replay().play(replay::CLIENTS, &target, frame, ENDLESS, opened)?;
            let flows = translated::forget(stage)?;
            ensure!(flows == opened as usize, "of {opened} new flows {flows} were recorded");
            Ok(time)
        }
    }
}

/// The loaded programs, each over tables of its own.
fn stages(rows: &[Row]) -> Result<Vec<Option<Rig>>> {
    let mut stages = Vec::new();
    for (number, tables) in all_tables().iter().enumerate() {
        if rows.iter().all(|row| row.tables != number) {
            stages.push(None);
            continue;
        }
        progress(&format!("loading tables {number}"));
        let mut rig = Rig::load(&format!("bench{number}"), Limits::default())?;
        rig.fill(tables)?;
        if number == 0 {
            fill_flows(&mut rig)?;
        }
        warm(&mut rig).with_context(|| format!("tables {number}"))?;
        stages.push(Some(rig));
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
        let action = rig.run(&frame)?.action;
        if action < 3 {
            let mut ends = rig.verdicts()?;
            ends.retain(|(_, frames)| *frames > 0);
            bail!("a frame of the bench was not forwarded: XDP action {action}, frames so far: {ends:?}");
        }
    }
    Ok(())
}
