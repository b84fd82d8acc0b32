//! What the proxy costs beside HAProxy and nginx, each with one thread and set as its documentation advises.
//!
//! All of them stand at the same time and take turns within each round; ratios are taken within a round, because the
//! machine's speed drifts, and the median round counts. Work is counted per second of CPU time of the proxy's
//! process, so that it does not matter what the clients and servers beside it cost, or what else runs. Everything is
//! on the loopback interface of a network namespace: a send is charged with what the kernel does at the other end,
//! for all alike.

mod bed;
mod generator;
mod proxy;
mod report;
mod row;
mod servers;

use anyhow::{Result, bail, ensure};

use crate::progress;
use bed::Bed;
pub(crate) use generator::Generator;
use proxy::{Kind, Proxy};
use row::{Measure, ROWS, Row};

/// What is measured, and how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds over all rows
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds per measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Only rows whose name contains this; may be given several times
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One row and what came of it.
pub(crate) struct Measured {
    row: &'static Row,
    /// By round, then by [`Kind::ALL`].
    rounds: Vec<[f64; 3]>,
}

/// Runs a part of the set-up that is a process of its own.
pub(crate) fn generate(generator: &Generator) -> Result<()> {
    generator.run()
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.rounds > 0, "at least one round is needed");
    let chosen = |row: &&Row| arguments.rows.is_empty() || arguments.rows.iter().any(|name| row.name.contains(name));
    let rows: Vec<&'static Row> = ROWS.iter().filter(chosen).collect();
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("no row is called so; there are: {}", names.join(", "));
    }
    progress("building the servers");
    let bed = Bed::build()?;
    let mut measured: Vec<Measured> = rows.iter().map(|row| Measured { row, rounds: Vec::new() }).collect();
    // Memory that was in use before would hide what a connection takes: these have processes of their own.
    for of_row in measured.iter_mut().filter(|of_row| matches!(of_row.row.measure, Measure::Idle(_))) {
        of_row.rounds.push(each(|kind| {
            progress(&format!("{}: {}", of_row.row.name, kind.name()));
            of_row.row.measure(&bed, &Proxy::start(kind, &bed)?, arguments.seconds, None)
        })?);
    }
    let loads: Vec<&mut Measured> = measured.iter_mut().filter(|of_row| of_row.rounds.is_empty()).collect();
    if !loads.is_empty() {
        take_turns(&bed, loads, arguments)?;
    }
    progress("");
    if arguments.json { report::print_json(&measured) } else { report::print_table(&measured) }
}

fn take_turns(bed: &Bed, mut rows: Vec<&mut Measured>, arguments: &Arguments) -> Result<()> {
    let proxies = Kind::ALL.into_iter().map(|kind| Proxy::start(kind, bed)).collect::<Result<Vec<Proxy>>>()?;
    for round in 1..=arguments.rounds {
        for of_row in &mut rows {
            let row = of_row.row;
            let at = |proxy: &Proxy, rate| {
                progress(&format!("round {round} of {}, {}: {}", arguments.rounds, row.name, proxy.kind().name()));
                row.measure(bed, proxy, arguments.seconds, rate)
            };
            let rate = match row.measure {
                Measure::Latency(percent) => Some(row::pace(bed, &proxies, percent)?),
                Measure::Idle(_) | Measure::Work(_) => None,
            };
            // Who is first finds the caches cold; everybody is in turn.
            let mut values = [0.0; 3];
            for turn in 0..proxies.len() {
                let place = (turn + round as usize) % proxies.len();
                if let (Some(value), Some(proxy)) = (values.get_mut(place), proxies.get(place)) {
                    *value = at(proxy, rate)?;
                }
            }
            of_row.rounds.push(values);
        }
    }
    Ok(())
}

fn each(mut measure: impl FnMut(Kind) -> Result<f64>) -> Result<[f64; 3]> {
    let [ours, haproxy, nginx] = Kind::ALL;
    Ok([measure(ours)?, measure(haproxy)?, measure(nginx)?])
}
