//! The figures of the layer 7 bench, for people and for programs.

use std::io::Write as _;

use anyhow::Result;

use super::Measured;
use super::proxy::Kind;
use super::row::{Measure, Target};

impl Measured {
    /// The median of each proxy.
    fn values(&self) -> [f64; 3] {
        [0, 1, 2].map(|place| median(self.rounds.iter().filter_map(|round| round.get(place).copied())))
    }

    /// How many times the better peer's value, within each round; the median.
    fn ratio(&self) -> f64 {
        let better = match self.row.target {
            Target::AtLeast(_) => f64::max,
            Target::AtMost(_) => f64::min,
        };
        median(self.rounds.iter().map(|[ours, haproxy, nginx]| ours / better(*haproxy, *nginx)))
    }

    fn is_missed(&self) -> bool {
        match self.row.target {
            Target::AtLeast(target) => self.ratio() < target,
            Target::AtMost(target) => self.ratio() > target,
        }
    }

    fn unit(&self) -> String {
        match self.row.measure {
            Measure::Work(_) => format!("{}/CPU-s", self.row.unit),
            Measure::Latency(percent) => format!("{} at {percent} % of the peers' peak", self.row.unit),
            Measure::Idle(_) => format!("{}/connection", self.row.unit),
        }
    }

    fn target(&self) -> String {
        match self.row.target {
            Target::AtLeast(target) => format!(">= {target}"),
            Target::AtMost(target) => format!("<= {target}"),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(super) fn print_table(rows: &[Measured]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{:<16}", "")?;
    for kind in Kind::ALL {
        write!(out, " {:>10}", kind.name())?;
    }
    writeln!(out, "  {:>6}  {:>7}  in", "ratio", "target")?;
    for of_row in rows {
        write!(out, "{:<16}", of_row.row.name)?;
        for value in of_row.values() {
            let digits = if value >= 1000.0 { 0 } else { 2 };
            write!(out, " {value:>10.digits$}")?;
        }
        let missed = if of_row.is_missed() { "  (missed)" } else { "" };
        writeln!(out, "  {:>6.2}  {:>7}  {}{missed}", of_row.ratio(), of_row.target(), of_row.unit())?;
    }
    Ok(())
}

pub(super) fn print_json(rows: &[Measured]) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|of_row| {
            serde_json::json!({
                "row": of_row.row.name, "unit": of_row.unit(), "proxies": Kind::ALL.map(Kind::name),
                "values": of_row.values(), "rounds": of_row.rounds, "ratio": of_row.ratio(), "target": of_row.target(),
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}
