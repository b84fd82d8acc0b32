//! The overview (`lbctl status`).

use std::fmt::Write as _;
use std::time::Duration;

use lb_core::view::{
    Administration, AdministrativeState, CounterAction, Interface, LinkState, RealServer, ServerState, ServiceState,
    SourcePorts, Status, VirtualService,
};

use super::human::{age, count, cut_ports};
use super::order::left;
use super::style::{Style, clean_line};
use super::table::{Align, Cell, Table};
use super::wrong;

/// Longer port lists are cut short.
const PORTS_WIDTH: usize = 16;

/// The status before, for rates.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// As it was then.
    pub status: &'a Status,
    /// How long ago.
    pub elapsed: Duration,
}

/// The overview for a terminal of `width` columns; `now` in seconds since 1970-01-01 UTC.
#[must_use]
pub fn status(status: &Status, now: u64, width: usize, colour: bool) -> String {
    page(status, None, now, width, colour)
}

/// The overview with packets per second since `earlier`; without it the rates are still unknown.
#[must_use]
pub fn status_since(status: &Status, earlier: Option<&Earlier<'_>>, now: u64, width: usize, colour: bool) -> String {
    page(status, Some(Rates { earlier }), now, width, colour)
}

fn page(status: &Status, rates: Option<Rates<'_>>, now: u64, width: usize, colour: bool) -> String {
    let mut out = head(status, colour);
    out.push('\n');
    if status.virtual_services.is_empty() {
        out.push_str("No virtual service is configured.\n");
    } else {
        out.push_str(&services(status, rates, now, width, colour));
    }
    out.push_str(&tables(status, colour));
    out.push_str(&dropped(status, rates, width, colour));
    out.push_str(&wrong::problems(status, width, colour));
    out.push_str(&wrong::hint(status, width, colour));
    out
}

fn head(status: &Status, colour: bool) -> String {
    let configuration = &status.configuration;
    let services = match configuration.services {
        1 => "1 virtual service".to_owned(),
        services => format!("{} virtual services", count(services)),
    };
    let mut out = format!(
        "{}   lbd {}, up {}   {} loaded {} ago, {services}\n",
        Style::Bold.paint(&clean_line(&status.node), colour),
        clean_line(&status.version),
        age(status.uptime_seconds),
        clean_line(&configuration.path),
        age(configuration.loaded_seconds_ago),
    );
    let interfaces: Vec<_> = status.interfaces.iter().map(|interface| interface_text(interface, colour)).collect();
    if !interfaces.is_empty() {
        let _ = writeln!(out, "{}", interfaces.join("   "));
    }
    if let Some(before) = &status.predecessor {
        let left = match before.connections {
            1 => "1 connection".to_owned(),
            more => format!("{} connections", count(more)),
        };
        let _ = writeln!(out, "The lbd before this one (pid {}) finishes {left}", before.pid);
    }
    if let Some(seconds) = configuration.confirm_within_seconds {
        let text = format!("The configuration is rolled back in {seconds} s unless you run: lbctl confirm");
        let _ = writeln!(out, "{}", Style::Yellow.paint(&text, colour));
    }
    out
}

fn interface_text(interface: &Interface, colour: bool) -> String {
    let (arrow, style, remark) = match interface.state {
        LinkState::Up => ("▲", Style::Green, ""),
        LinkState::Down => ("▼", Style::Red, ", no link"),
    };
    let device = clean_line(&interface.device);
    format!("{} {device} ({}{remark})", style.paint(arrow, colour), interface.xdp)
}

fn services(status: &Status, rates: Option<Rates<'_>>, now: u64, width: usize, colour: bool) -> String {
    use Align::{Left, Right};
    let columns: &[Align] = match rates {
        Some(_) => &[Left, Left, Left, Right, Right, Left, Left, Left],
        None => &[Left, Left, Left, Right, Left, Left, Left],
    };
    let mut table = Table::new(columns);
    let header = |texts: [&'static str; 8]| {
        let shown = texts.into_iter().enumerate().filter(|(column, _)| *column != RATE_COLUMN || rates.is_some());
        shown.map(|(_, text)| text).collect::<Vec<_>>()
    };
    let service_header = ["  Virtual service", "IP", "Ports", "Conns", "Packets/s", "Protocol", "Method", "Mode"];
    let server_header = ["    Real server", "IP", "Port", "Conns", "Packets/s", "Weight", "State", "For"];
    table.header(header(service_header), "Scheduler");
    table.header(header(server_header), "Reason");
    for service in &status.virtual_services {
        service_rows(&mut table, service, rates, now);
    }
    table.render(width, colour)
}

const RATE_COLUMN: usize = 4;

fn service_rows(table: &mut Table, service: &VirtualService, rates: Option<Rates<'_>>, now: u64) {
    let (arrow, style, text_style) = match service.state {
        ServiceState::Up => ("▲", Style::Green, Style::Dim),
        ServiceState::Degraded => ("▲", Style::Yellow, Style::Yellow),
        ServiceState::Down => ("▼", Style::Red, Style::Red),
    };
    let plain = |text: &str| Cell::new(text, Style::Plain);
    let mut cells = vec![
        Cell::new(arrow, style).and(" ", Style::Plain).and(&service.name, Style::Bold),
        plain(&service.address.to_string()),
        plain(&cut_ports(&service.ports, PORTS_WIDTH)),
        plain(&count(service.connections)),
        plain(service.protocol.word()),
        plain(service.method.word()),
        plain(service.mode.word()),
    ];
    if let Some(rates) = rates {
        cells.insert(RATE_COLUMN, plain(&rates.service(service)));
    }
    let persistence = match service.persistence_timeout_seconds {
        Some(seconds) => format!(", persistence {}", age(seconds)),
        None => String::new(),
    };
    let reason = service.reason.as_ref().map_or_else(String::new, |reason| format!("; {reason}"));
    let half_open = half_open(service);
    table.row_with_text(cells, &format!("{}{persistence}{half_open}{reason}", service.scheduler), text_style);
    for server in &service.real_servers {
        server_row(table, service, server, rates, now);
    }
}

/// Said where it may be a flood of SYN: a few flows are always about to be answered.
fn half_open(service: &VirtualService) -> String {
    let many = service.half_open >= HALF_OPEN && service.half_open.saturating_mul(2) >= service.connections;
    if many { format!(", {} half-open flows", count(service.half_open)) } else { String::new() }
}

/// Fewer half-open flows than this are no flood.
const HALF_OPEN: u64 = 100;

fn server_row(table: &mut Table, service: &VirtualService, server: &RealServer, rates: Option<Rates<'_>>, now: u64) {
    let (arrow, style) = match server.state {
        ServerState::Up => ("▲", Style::Green),
        ServerState::Down => ("▼", Style::Red),
        ServerState::Checking => ("○", Style::Yellow),
        ServerState::Draining => ("▽", Style::Yellow),
        ServerState::Halted => ("■", Style::Yellow),
    };
    let plain = |text: &str| Cell::new(text, Style::Plain);
    let port = server.port.map_or_else(|| "same".to_owned(), |port| port.to_string());
    let mut cells = vec![
        Cell::new("  ", Style::Plain).and(arrow, style).and(" ", Style::Plain).and(&server.name, Style::Plain),
        plain(&server.address.to_string()),
        plain(&port),
        plain(&count(server.connections)),
        match server.administration.as_ref().and_then(|administration| administration.weight) {
            Some(_) => Cell::new(&server.weight.to_string(), Style::Yellow).and("*", Style::Yellow),
            None => plain(&server.weight.to_string()),
        },
        Cell::new(server.state.word(), style),
        plain(&age(server.since_seconds)),
    ];
    if let Some(rates) = rates {
        cells.insert(RATE_COLUMN, plain(&rates.server(service, server)));
    }
    let reason_style = if server.state == ServerState::Down { Style::Red } else { Style::Plain };
    table.row_with_text(cells, &reason(server, now), reason_style);
}

/// What an administrator did, what the configuration says, and what the check says.
fn reason(server: &RealServer, now: u64) -> String {
    if server.leaving {
        // Nobody checks it any more.
        return format!("removed, {}", left(server.connections, server.persistent_clients));
    }
    let mut parts = Vec::new();
    let mut found = server.reason.as_str();
    if let Some(administration) = &server.administration {
        parts.extend(ordered(server, administration, now));
        // The daemon says what was ordered as well, but not by whom and when.
        if let Some(rest) = found.strip_prefix(administration.state.word()) {
            found = rest.trim_start_matches("; ");
        }
    }
    if server.backup {
        parts.push("backup".to_owned());
    }
    parts.push(found.to_owned());
    parts.extend(source_ports(server));
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// `source ports in use: 120 of 31,744 (TCP), 29,000 of 31,744 (UDP)`; only in l4-snat.
fn source_ports(server: &RealServer) -> Option<String> {
    let text = |ports: &SourcePorts| format!("{} of {} ({})", count(ports.in_use), count(ports.size), ports.protocol);
    let ports: Vec<_> = server.source_ports.iter().map(text).collect();
    (!ports.is_empty()).then(|| format!("source ports in use: {}", ports.join(", ")))
}

/// `drained by alice 3m 12s ago, 14 connections left; weight 50 by order`.
fn ordered(server: &RealServer, administration: &Administration, now: u64) -> Vec<String> {
    let Administration { state, weight, by, at } = administration;
    let who = format!("by {by} {} ago", age(now.saturating_sub(*at)));
    let weight = weight.map(|weight| format!("weight {weight} instead of the configured one"));
    let state = match state {
        AdministrativeState::Drained => {
            Some(format!("drained {who}, {}", left(server.connections, server.persistent_clients)))
        }
        AdministrativeState::Halted => Some(format!("halted {who}")),
        AdministrativeState::Online => return weight.map(|weight| format!("{weight} {who}")).into_iter().collect(),
    };
    state.into_iter().chain(weight).collect()
}

fn tables(status: &Status, colour: bool) -> String {
    if status.tables.is_empty() {
        return String::new();
    }
    let texts: Vec<_> = status
        .tables
        .iter()
        .map(|table| {
            let text = format!("{} {} of {}", clean_line(&table.name), count(table.entries), count(table.capacity));
            let style = if wrong::nearly_full(table) { Style::Yellow } else { Style::Plain };
            style.paint(&text, colour)
        })
        .collect();
    format!("\nTables: {}\n", texts.join(", "))
}

fn dropped(status: &Status, rates: Option<Rates<'_>>, width: usize, colour: bool) -> String {
    let mut dropped: Vec<_> =
        status.counters.iter().filter(|counter| counter.action == CounterAction::Drop && counter.packets > 0).collect();
    if dropped.is_empty() {
        return String::new();
    }
    dropped.sort_by_key(|counter| std::cmp::Reverse(counter.packets));
    let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
    for counter in dropped {
        let rate = rates.map_or_else(String::new, |rates| {
            let rate = rates.counter(&counter.reason, counter.packets);
            if rate.is_empty() { rate } else { format!("{rate}/s") }
        });
        let cells = vec![
            Cell::new("  ", Style::Plain).and(&counter.reason, Style::Plain),
            Cell::new(&count(counter.packets), Style::Plain),
            Cell::new(&rate, Style::Plain),
        ];
        table.row_with_text(cells, &counter.help, Style::Dim);
    }
    format!("\nPackets dropped:\n{}", table.render(width, colour))
}

/// Packets per second, as text; empty where they are not known.
#[derive(Clone, Copy)]
struct Rates<'a> {
    earlier: Option<&'a Earlier<'a>>,
}

impl Rates<'_> {
    fn service(&self, now: &VirtualService) -> String {
        self.rate(now.packets, |status| Some(service_of(status, &now.name)?.packets))
    }

    fn server(&self, service: &VirtualService, now: &RealServer) -> String {
        self.rate(now.packets, |status| {
            let servers = &service_of(status, &service.name)?.real_servers;
            servers.iter().find(|server| server.name == now.name).map(|server| server.packets)
        })
    }

    fn counter(&self, reason: &str, now: u64) -> String {
        self.rate(now, |status| {
            status.counters.iter().find(|counter| counter.reason == reason).map(|counter| counter.packets)
        })
    }

    fn rate(&self, now: u64, before: impl Fn(&Status) -> Option<u64>) -> String {
        let rate = || {
            let earlier = self.earlier?;
            // A count that fell was started again; how long ago is not known.
            let packets = now.checked_sub(before(earlier.status)?)?;
            u128::from(packets).checked_mul(1_000_000)?.checked_div(earlier.elapsed.as_micros())
        };
        rate().and_then(|rate| u64::try_from(rate).ok()).map(count).unwrap_or_default()
    }
}

fn service_of<'a>(status: &'a Status, name: &str) -> Option<&'a VirtualService> {
    status.virtual_services.iter().find(|service| service.name == name)
}
