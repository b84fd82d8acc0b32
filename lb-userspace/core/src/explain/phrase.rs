//! Lengths of time, numbers of things, lists and states, as a sentence has them.

use crate::view::{self, RealServer};

/// A length of time by its two largest units: `41 s`, `5 h 59 m`, `12 d 4 h`.
pub(super) fn span(seconds: u64) -> String {
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => pair(minutes, "m", seconds % 60, "s"),
        (0, hours, minutes) => pair(hours, "h", minutes, "m"),
        (days, hours, _) => pair(days, "d", hours, "h"),
    }
}

/// `1 connection`, `12 connections`.
pub(super) fn connections(count: u64) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The first `most` of a list, and how many more there are.
pub(super) fn shortened(mut items: Vec<String>, most: usize) -> String {
    let more = items.len().saturating_sub(most);
    if more > 0 {
        items.truncate(most);
        items.push(format!("{more} more"));
    }
    list(&items)
}

/// The state of a server with its reason, after "is".
pub(super) fn state(row: &RealServer) -> String {
    let since = match row.since_seconds {
        0 => String::new(),
        seconds => format!(" for {}", span(seconds)),
    };
    let by = row.administration.as_ref().map_or_else(String::new, |order| format!(" by {}", order.by));
    match row.state {
        view::ServerState::Halted => format!("halted{by}"),
        view::ServerState::Draining if row.leaving => format!("on its way out: {}", row.reason),
        view::ServerState::Draining => format!("drained{by}: it keeps the clients that it has and takes nobody new"),
        view::ServerState::Down => format!("down{since}: {}", row.reason),
        view::ServerState::Checking => format!("not checked yet: {}", row.reason),
        view::ServerState::Up => format!("up{since}, and the kernel's tables do not have it yet"),
    }
}
