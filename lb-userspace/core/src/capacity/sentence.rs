//! What is said of what runs out. Events have names beside them; problems have to bring their own.

use super::reading::{Limit, Pool, Table};
use crate::view::Transport;

pub(super) const PRESSED: &str =
    "flows whose client has not answered yet are forgotten after about 2 s now, to make room";

pub(super) const AT_EASE: &str =
    "there is room again: flows whose client has not answered yet are kept as long as `defaults.flow_timeouts` says";

const EARLY: &str = "; flows whose client has not answered yet are forgotten after about 2 s meanwhile";

pub(super) fn table_high(table: &Table) -> String {
    let Table { name, when_full, .. } = table;
    format!(
        "table {name} is {} % full, with {} of {} entries; when it is full, {when_full}",
        table.percent(),
        number(table.entries),
        number(table.capacity)
    )
}

pub(super) fn table_low(table: &Table) -> String {
    format!("table {} has room again, with {} of {} entries", table.name, number(table.entries), number(table.capacity))
}

pub(super) fn table_problem(table: &Table, early: bool) -> String {
    let Table { name, limit, when_full, entries, capacity, .. } = table;
    let early = if early { EARLY } else { "" };
    format!(
        "table {name} holds {entries} of {capacity} entries; when it is full, {when_full}: raise \
         `node.limits.{limit}`{early}"
    )
}

pub(super) fn pool_high(pool: &Pool) -> String {
    format!("{}; when all are, its new flows are refused", in_use(pool))
}

pub(super) fn pool_low(pool: &Pool) -> String {
    let protocol = pool.protocol;
    format!("only {} of its {} source ports for {protocol} are in use again", number(pool.in_use), number(pool.size))
}

pub(super) fn pool_problem(pool: &Pool, early: bool) -> String {
    let timeouts = match pool.protocol {
        Transport::Tcp => "`defaults.flow_timeouts`",
        Transport::Udp => "`defaults.flow_timeouts.udp`",
    };
    let shared = pool.shared_with.as_ref().map_or_else(String::new, |other| {
        format!(", or give it and virtual service {other}, which shares them, a `source_address` each")
    });
    format!(
        "virtual service {}, real server {}: {}; when they run out, new flows are refused: add real servers, widen \
         `node.source_ports`, shorten {timeouts}{shared}{}",
        pool.service,
        pool.server,
        in_use(pool),
        if early { EARLY } else { "" }
    )
}

/// `91 % of its 31,744 source ports for UDP are in use`.
fn in_use(pool: &Pool) -> String {
    format!("{} % of its {} source ports for {} are in use", pool.percent(), number(pool.size), pool.protocol)
}

pub(super) fn more_pools(more: usize) -> Option<String> {
    (more > 0).then(|| {
        format!(
            "{more} more real servers have 80 % of their source ports in use; `lbctl status` counts them in their rows"
        )
    })
}

pub(super) fn ports_refused(fullest: Option<&Pool>) -> String {
    let fullest = fullest.map_or_else(String::new, |pool| {
        format!(
            "; the fullest are those of virtual service {}, real server {}: {}",
            pool.service,
            pool.server,
            in_use(pool)
        )
    });
    format!("new flows of l4-snat are refused, because their real server has no source port left{fullest}")
}

pub(super) fn ports_suffice(flows: u64) -> String {
    format!("source ports suffice again; {} packets of new flows were dropped for want of one", number(flows))
}

pub(super) fn ports_refused_problem(flows: u64) -> String {
    format!(
        "source ports of l4-snat run out: {} packets of new flows were dropped; add real servers, widen \
         `node.source_ports`, or shorten `defaults.flow_timeouts`",
        number(flows)
    )
}

pub(super) fn beyond_limit(limit: &Limit) -> String {
    format!("more new flows arrive than {}; {}", allowed(limit), consequence(limit))
}

pub(super) fn within_limit(limit: &Limit, flows: u64) -> String {
    let of = if limit.service.is_some() { "its new flows" } else { "the new flows of this machine" };
    format!("{of} are within their limit again; {} were beyond it", number(flows))
}

pub(super) fn limit_problem(limit: &Limit, flows: u64) -> String {
    let (who, key) = match &limit.service {
        Some(service) => (format!("virtual service {service}"), "`new_flows_per_second` of the service"),
        None => ("this machine".to_owned(), "`node.limits.new_flows_per_second`"),
    };
    format!(
        "{who} gets more new flows than {}, {} until now; {}: if clients need more, raise {key}",
        allowed(limit),
        number(flows),
        consequence(limit)
    )
}

pub(super) fn more_limits(more: usize) -> Option<String> {
    (more > 0).then(|| format!("{more} more virtual services get more new flows than their limit"))
}

fn allowed(limit: &Limit) -> String {
    format!("the {} per second that one CPU records", number(limit.per_second.into()))
}

fn consequence(limit: &Limit) -> &'static str {
    match (limit.refuses, limit.service.is_some()) {
        (true, true) => "those beyond it are refused",
        (true, false) => "l4-nat and l4-snat refuse those beyond it, l4-dr forwards them without remembering them",
        (false, _) => "those beyond it are forwarded without being remembered",
    }
}

/// With its thousands set apart.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
