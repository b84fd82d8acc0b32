//! What a packet costs: the loaded program by BPF_PROG_TEST_RUN, beside a floor measured in the
//! same run. Rounds are interleaved and the smallest of each row counts, because the machine's
//! speed drifts; ratios are what to compare.

mod report;
mod rows;

use anyhow::{Context, Result, ensure};
use lb_common::wire::tcp;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::peers::{Peers, million};

use crate::progress;
use rows::{Work, all_tables, fragments, rows, segment};

/// How often it is measured.
#[derive(clap::Args)]
pub(crate) struct Arguments {
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

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
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
    if arguments.json { report::print_json(&rows) } else { report::print_table(&rows) }
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
