//! The health checks (`lbctl health`).

use lb_core::view::{Check, HealthList, HealthState, Sample};

use super::human::{age, count};
use super::order::counted;
use super::style::Style;
use super::table::{Align, Cell, Table};

/// Probes that the strip shows.
const STRIP: usize = 10;

/// The checks for a terminal of `width` columns.
#[must_use]
pub fn health(list: &HealthList, width: usize, colour: bool) -> String {
    use Align::{Left, Right};
    if list.checks.is_empty() {
        return "No health check matches.\n".to_owned();
    }
    let header = ["  Real server", "Check", "State", "For", "Latency", "Last good", "Probes"];
    let mut table = Table::new(&[Left, Left, Left, Left, Right, Left, Left]);
    table.header(header.to_vec(), "Reason");
    for check in &list.checks {
        row(&mut table, check);
    }
    format!("{}\n{}\n", table.render(width, colour), summary(list))
}

fn row(table: &mut Table, check: &Check) {
    let (arrow, style) = match check.state {
        HealthState::Up => ("▲", Style::Green),
        HealthState::Down => ("▼", Style::Red),
        HealthState::Checking => ("○", Style::Yellow),
        HealthState::Unchecked => ("△", Style::Dim),
    };
    let plain = |text: &str| Cell::new(text, Style::Plain);
    let name = format!("{}/{}", check.service, check.server);
    let cells = vec![
        Cell::new(arrow, style).and(" ", Style::Plain).and(&name, Style::Plain),
        plain(&asked(check)),
        Cell::new(check.state.word(), style),
        plain(&age(check.since_seconds)),
        plain(&check.history.first().map_or_else(String::new, |sample| latency(sample.took_ms))),
        plain(&last_good(check)),
        strip(&check.history),
    ];
    let reason_style = if check.state == HealthState::Down { Style::Red } else { Style::Plain };
    table.row_with_text(cells, &reason(check), reason_style);
}

/// `https /status, port 8443`.
fn asked(check: &Check) -> String {
    match check.port {
        Some(port) => format!("{}, port {port}", check.check),
        None => check.check.clone(),
    }
}

fn last_good(check: &Check) -> String {
    match (check.state, check.last_good_seconds) {
        (HealthState::Unchecked, _) => String::new(),
        (_, Some(seconds)) => format!("{} ago", age(seconds)),
        (_, None) => "never".to_owned(),
    }
}

/// Three digits tell enough: `0.42 ms`, `3.2 ms`, `140 ms`.
fn latency(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// The last probes, the latest at the right.
fn strip(history: &[Sample]) -> Cell {
    history.iter().take(STRIP).rev().fold(Cell::default(), |cell, sample| match sample.good {
        true => cell.and("✓", Style::Green),
        false => cell.and("✗", Style::Red),
    })
}

/// The reason, how far a change is, and who else depends on it.
fn reason(check: &Check) -> String {
    let mut parts = vec![check.reason.clone()];
    match check.state {
        HealthState::Down | HealthState::Checking if check.successes > 0 && check.successes < check.rise => {
            parts.push(format!("{} of {} good probes in a row", check.successes, check.rise));
        }
        HealthState::Up if check.failures > 0 && check.failures < check.fall => {
            parts.push(format!("{} of {} failed probes in a row", check.failures, check.fall));
        }
        _ => {}
    }
    if !check.shared_with.is_empty() {
        parts.push(format!("the same probe answers for {}", check.shared_with.join(", ")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn summary(list: &HealthList) -> String {
    let states: Vec<String> = HealthState::ALL
        .iter()
        .map(|state| (state, list.checks.iter().filter(|check| check.state == *state).count()))
        .filter(|(_, number)| *number > 0)
        .map(|(state, number)| format!("{} {state}", count(number as u64)))
        .collect();
    format!(
        "{}: {}. {} under way; the latest start was {} ms after its time.",
        counted(list.checks.len() as u64, "check"),
        states.join(", "),
        counted(list.under_way, "probe"),
        count(list.latest_start_ms),
    )
}
