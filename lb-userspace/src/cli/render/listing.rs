//! Listings of flows and persistence records, and what a reload or stop came to.

use std::fmt::Write as _;
use std::net::SocketAddr;

use lb_core::view::{ConfirmReport, Connections, PersistenceList, ReloadReport, ReloadResult, StopReport};

use super::human::{age, count};
use super::order::sentence;
use super::style::{Style, clean_line};
use super::table::{Align, Cell, Table};

/// The flows for a terminal of `width` columns.
#[must_use]
pub fn connections(list: &Connections, width: usize, colour: bool) -> String {
    use Align::{Left, Right};
    if list.connections.is_empty() {
        return "No connection matches.\n".to_owned();
    }
    let header = ["Virtual service", "Real server", "Protocol", "Client", "VIP", "State", "Age", "Idle", "Expires"];
    let aligned = [Left, Left, Left, Left, Left, Left, Right, Right, Right];
    // What the real server sees, and bytes, are columns where somebody has them.
    let translated = list.connections.iter().any(|flow| flow.source.is_some() || flow.destination.is_some());
    let counted = list.connections.iter().any(|flow| flow.bytes.is_some() || flow.reply_bytes.is_some());
    let mut columns: Vec<_> = header.into_iter().zip(aligned).collect();
    if counted {
        columns.splice(BYTES..BYTES, [("Received", Right), ("Sent", Right)]);
    }
    if translated {
        columns.splice(TRANSLATION..TRANSLATION, [("Source", Left), ("Destination", Left)]);
    }
    let (header, aligned): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let mut table = Table::new(&aligned);
    table.header(header, "");
    for flow in &list.connections {
        let mut cells = plain([
            flow.virtual_service.as_str(),
            flow.real_server.as_deref().unwrap_or("-"),
            flow.protocol.word(),
            &flow.client.to_string(),
            &flow.vip.to_string(),
            flow.state.word(),
            &age(flow.age_seconds),
            &age(flow.idle_seconds),
            &age(flow.expires_seconds),
        ]);
        if counted {
            let text = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), count);
            cells.splice(BYTES..BYTES, plain([&*text(flow.bytes), &*text(flow.reply_bytes)]));
        }
        if translated {
            let text = |address: Option<SocketAddr>| address.map_or_else(|| "-".to_owned(), |it| it.to_string());
            cells.splice(TRANSLATION..TRANSLATION, plain([&*text(flow.source), &*text(flow.destination)]));
        }
        table.row(cells);
    }
    let cut = "narrow it with --client, --service, --server, --vip, --port, --state or other filters (`lbctl connections \
               --help`), or raise --limit";
    table.render(width, colour) + &total("connection", list.shown, list.total, cut)
}

/// Where the columns of translated flows stand: after the VIP.
const TRANSLATION: usize = 5;

/// Where those of bytes stand: after the state.
const BYTES: usize = 6;

/// The persistence records for a terminal of `width` columns.
#[must_use]
pub fn persistence(list: &PersistenceList, width: usize, colour: bool) -> String {
    use Align::{Left, Right};
    if list.persistence.is_empty() {
        return "No persistence record matches.\n".to_owned() + &kept_by_cookie(&list.by_cookie);
    }
    let header = ["Virtual service", "Client", "Real server", "Age", "Idle", "Expires", "Confirmed"];
    let mut table = Table::new(&[Left, Left, Left, Right, Right, Right, Left]);
    table.header(header.to_vec(), "");
    for record in &list.persistence {
        table.row(plain([
            record.virtual_service.as_str(),
            &record.client.to_string(),
            &record.real_server,
            &age(record.age_seconds),
            &age(record.idle_seconds),
            &age(record.expires_seconds),
            if record.confirmed { "yes" } else { "no" },
        ]));
    }
    let cut = "narrow it with --service, --server or --client, or raise --limit";
    let total = total("persistence record", list.shown, list.total, cut);
    table.render(width, colour) + &total + &kept_by_cookie(&list.by_cookie)
}

/// Why there are no records of these services.
#[must_use]
pub fn kept_by_cookie(services: &[String]) -> String {
    let name = |service: &String| {
        format!(
            "{} keeps its clients by a cookie: they have it themselves, and lbd records nothing of them.\n",
            clean_line(service)
        )
    };
    services.iter().map(name).collect()
}

fn plain<const N: usize>(texts: [&str; N]) -> Vec<Cell> {
    texts.iter().map(|text| Cell::new(text, Style::Plain)).collect()
}

fn total(what: &str, shown: u64, total: u64, cut: &str) -> String {
    match (shown < total, total) {
        (true, _) => format!("\n{} of {} {what}s are shown; {cut}.\n", count(shown), count(total)),
        (false, 1) => format!("\n1 {what}.\n"),
        (false, total) => format!("\n{} {what}s.\n", count(total)),
    }
}

/// What a reload came to.
#[must_use]
pub fn reload(report: &ReloadReport) -> String {
    if report.result == ReloadResult::Unchanged {
        return "Nothing to do: the configuration in force is the same.\n".to_owned();
    }
    let mut out = "The new configuration is in force.\n".to_owned();
    for change in &report.changes {
        out.push_str("  - ");
        out.push_str(&clean_line(change));
        out.push('\n');
    }
    if let Some(seconds) = report.confirm_within_seconds {
        let _ = writeln!(out, "It is rolled back in {seconds} s unless you run: lbctl confirm");
    }
    out
}

/// What a confirmation or a rollback came to.
#[must_use]
pub fn confirmed(report: &ConfirmReport) -> String {
    format!("{}\n", sentence(&report.sentence))
}

/// The warnings of a reload.
#[must_use]
pub fn warnings(report: &ReloadReport) -> String {
    report.warnings.iter().map(|warning| format!("warning: {}\n", clean_line(warning))).collect()
}

/// What a stop means for clients.
#[must_use]
pub const fn stop(report: StopReport) -> &'static str {
    match report.detach {
        true => "lbd is stopping and takes the datapath down: its virtual services are no longer answered.\n",
        false => {
            "lbd is stopping. The kernel goes on forwarding layer 4 traffic, but nobody checks the real servers until \
             lbd runs again (`systemctl start lbd`).\n"
        }
    }
}
