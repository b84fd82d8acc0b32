//! What an order came to.

use lb_core::view::OrderReport;

use super::human::count;
use super::style::clean_line;

/// What was done.
#[must_use]
pub fn order(report: &OrderReport) -> String {
    format!("{}\n", sentence(&report.sentence))
}

/// What the administrator should know.
#[must_use]
pub fn order_warnings(report: &OrderReport) -> String {
    report.warnings.iter().map(|warning| format!("warning: {}\n", clean_line(warning))).collect()
}

/// `14 connections and 3 persistent clients left`.
#[must_use]
pub fn left(connections: u64, clients: u64) -> String {
    match (connections, clients) {
        (0, 0) => "nobody left".to_owned(),
        (connections, 0) => format!("{} left", counted(connections, "connection")),
        (0, clients) => format!("{} left", counted(clients, "persistent client")),
        (connections, clients) => {
            format!("{} and {} left", counted(connections, "connection"), counted(clients, "persistent client"))
        }
    }
}

/// `1 connection`, `1,204 connections`.
#[must_use]
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// One line with a full stop.
pub(super) fn sentence(text: &str) -> String {
    let text = clean_line(text);
    if text.ends_with('.') { text } else { format!("{text}.") }
}
