//! The figures of the layer 4 bench, for people and for programs.

use std::io::Write;

use anyhow::Result;

use super::pool::{self, Level};
use super::rows::{Against, Row};
use super::translated::REPLAYED_FLOOR;

fn best(rows: &[Row], name: &str) -> f64 {
    rows.iter().find(|row| row.name == name).map_or(f64::NAN, |row| row.best)
}

/// Nanoseconds.
fn cost(rows: &[Row], row: &Row) -> f64 {
    if row.without_replay { row.best - best(rows, REPLAYED_FLOOR) + best(rows, "floor") } else { row.best }
}

fn ratio(rows: &[Row], row: &Row) -> Option<f64> {
    match row.against {
        Against::Nothing => None,
        Against::Row(name) => Some(cost(rows, row) / best(rows, name)),
    }
}

pub(super) fn print_table(rows: &[Row], levels: &[Level]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<54} {:>8}  {:>6}  {:>7}  against", "path", "ns", "ratio", "target")?;
    for row in rows {
        write!(out, "{:<54} {:>8.1}", row.name, cost(rows, row))?;
        if let (Some(ratio), Against::Row(name)) = (ratio(rows, row), row.against) {
            let target = row.target.map_or(String::new(), |target| format!("<= {target}"));
            let missed = if row.target.is_some_and(|target| ratio > target) { "  (missed)" } else { "" };
            write!(out, "  {ratio:>6.2}  {target:>7}  {name}{missed}")?;
        }
        writeln!(out)?;
    }
    drop(out);
    if levels.is_empty() { Ok(()) } else { pool::print(levels) }
}

pub(super) fn print_json(rows: &[Row], levels: &[Level]) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let against = match row.against {
                Against::Nothing => None,
                Against::Row(name) => Some(name),
            };
            serde_json::json!({
                "path": row.name, "nanoseconds": cost(rows, row), "ratio": ratio(rows, row),
                "against": against, "target": row.target,
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&serde_json::json!({"rows": rows, "pool": pool::json(levels)}))?);
    Ok(())
}
