//! What is wrong, and one line on what to do about it.

use lb_core::view::{LinkState, RealServer, ServerState, ServiceState, Status, Table, VirtualService};

use super::style::{Style, clean_line, wrap};

/// A table is nearly full at this share of its capacity.
const NEARLY_FULL_PERCENT: u64 = 80;

pub(super) fn nearly_full(table: &Table) -> bool {
    table.capacity > 0 && table.entries.saturating_mul(100) / table.capacity >= NEARLY_FULL_PERCENT
}

/// The problems of this machine, one below the other.
pub(super) fn problems(status: &Status, width: usize, colour: bool) -> String {
    listed(&status.problems, width, colour)
}

/// Problems of any kind, one below the other.
pub(super) fn listed(problems: &[String], width: usize, colour: bool) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", Style::Red.paint("Problems:", colour));
    for problem in problems {
        out.push_str(&paragraph("  - ", &clean_line(problem), width));
    }
    out
}

/// What to look at first; nothing where all is well.
pub(super) fn hint(status: &Status, width: usize, colour: bool) -> String {
    let Some(hint) = first_thing(status) else { return String::new() };
    let text = paragraph("Hint: ", &clean_line(&hint), width);
    format!("\n{}\n", Style::Bold.paint(text.trim_end(), colour))
}

/// The cause before its effects: the machine, its links, a whole service, one server, a table.
fn first_thing(status: &Status) -> Option<String> {
    if !status.problems.is_empty() {
        return Some("mend the problems above first; what else is wrong may come from them.".to_owned());
    }
    if let Some(interface) = status.interfaces.iter().find(|interface| interface.state == LinkState::Down) {
        let device = &interface.device;
        return Some(format!(
            "{device} has no link: look at its cable and switch port, then at `ip link show {device}`."
        ));
    }
    if let Some(service) = status.virtual_services.iter().find(|service| service.state == ServiceState::Down) {
        return Some(service_down(service));
    }
    let down = || servers(status).filter(|(_, server)| server.state == ServerState::Down);
    if let Some((service, server)) = down().next() {
        let others = match down().count() - 1 {
            0 => String::new(),
            1 => ", and so is 1 other".to_owned(),
            others => format!(", and so are {others} others"),
        };
        return Some(format!(
            "{} of {} is down{others}; clients are sent to those that are up. The reason is in its row; `journalctl -u \
             lbd` has what happened before.",
            server.name, service.name
        ));
    }
    let table = status.tables.iter().find(|table| nearly_full(table))?;
    let remedy = match table.name.as_str() {
        name @ ("flows" | "pending_flows" | "persistence") => {
            format!("; raise node.limits.{name} in the configuration")
        }
        "replies" => "; raise node.limits.translated_flows in the configuration".to_owned(),
        _ => String::new(),
    };
    Some(format!("the table of {} is at least {NEARLY_FULL_PERCENT} % full{remedy}.", table.name.replace('_', " ")))
}

fn service_down(service: &VirtualService) -> String {
    let reason = service.reason.as_deref().unwrap_or("none of its real servers takes clients");
    format!(
        "{} answers no client: {reason}. The reason of each real server is in its row; `journalctl -u lbd` has what \
         happened before.",
        service.name
    )
}

fn servers(status: &Status) -> impl Iterator<Item = (&VirtualService, &RealServer)> {
    status.virtual_services.iter().flat_map(|service| service.real_servers.iter().map(move |server| (service, server)))
}

/// `text` after `lead`, wrapped, its further lines below its first.
pub(super) fn paragraph(lead: &str, text: &str, width: usize) -> String {
    let lines = wrap(text, width.saturating_sub(lead.len()).max(20));
    let indent = format!("\n{}", " ".repeat(lead.len()));
    format!("{lead}{}\n", lines.join(&indent))
}
