//! Pools: the groups of real servers that rules choose from, and the main one.

use std::collections::BTreeMap;

use super::rule::takes_all;
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::Mode;
use crate::config::places::Place;
use crate::config::raw::{self, Server};
use crate::config::words::closest;

/// Checks that each pool has a real server that serves, and that rules and pools name each other.
pub(super) fn pools(raw: &raw::Service, servers: &[At<Server>], default_weight: u16, cx: &mut Context<'_>) {
    let mut pools: BTreeMap<Option<&str>, Vec<&At<Server>>> = BTreeMap::new();
    for server in servers {
        pools.entry(pool_of(&server.value)).or_default().push(server);
    }
    for (pool, servers) in &pools {
        somebody_serves(raw, *pool, servers, default_weight, cx);
    }
    // Of a real server with a mistake it is not known where it belongs.
    let is_http = raw.mode.as_ref().is_some_and(|mode| mode.value == Mode::L7Http);
    if is_http && !servers.iter().any(|server| server.value.faulty) {
        rules_name_pools(raw, &pools, cx);
    }
}

fn pool_of(server: &Server) -> Option<&str> {
    server.pool.as_ref().map(|pool| pool.value.text.as_str())
}

fn somebody_serves(
    raw: &raw::Service,
    pool: Option<&str>,
    servers: &[&At<Server>],
    default_weight: u16,
    cx: &mut Context<'_>,
) {
    let whole = raw.real_servers.as_ref().map_or(raw.place, |list| list.place);
    let name = pool.map(|pool| format!(" of the pool {pool}")).unwrap_or_default();
    let place = match pool {
        None => whole,
        Some(_) => servers.first().and_then(|server| server.value.pool.as_ref()).map_or(whole, |pool| pool.place),
    };
    let weight = |server: &Server| server.weight.as_ref().map_or(default_weight, |weight| weight.value.0);
    if servers.iter().all(|server| weight(&server.value) == 0) {
        let message = format!("every real server{name} has weight 0: no new client is served");
        cx.report_key(Code::AllWeightsZero, place, message).help("give one a weight above 0");
    }
    if servers.iter().all(|server| server.value.backup.value.0) {
        cx.report_key(Code::OnlyBackups, place, format!("every real server{name} is a backup"))
            .help("remove `backup` from those that serve always");
    }
}

fn rules_name_pools(raw: &raw::Service, pools: &BTreeMap<Option<&str>, Vec<&At<Server>>>, cx: &mut Context<'_>) {
    let names: Vec<&str> = pools.keys().copied().flatten().collect();
    let rules = raw.rules.as_ref().map(|list| list.value.0.as_slice()).unwrap_or_default();
    let named: Vec<(&str, Place)> = rules
        .iter()
        .filter_map(|rule| rule.value.pool.as_ref().map(|pool| (pool.value.text.as_str(), pool.place)))
        .collect();
    for (name, place) in &named {
        if names.contains(name) || cx.problems.is_full() {
            continue;
        }
        let help = match closest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("write `pool: {name}` in the real servers that are meant"),
            None => format!("the pools are {}", names.join(", ")),
        };
        cx.report(Code::UnknownPool, *place, format!("no real server is in the pool {name}")).help(help);
    }
    // Of a rule with a mistake it is not known which pool it names.
    if rules.iter().any(|rule| rule.value.faulty) {
        return;
    }
    for (pool, servers) in pools {
        if let (Some(pool), [first, ..]) = (pool, &servers[..])
            && !named.iter().any(|(name, _)| name == pool)
        {
            let place = first.value.pool.as_ref().map_or(first.place, |pool| pool.place);
            cx.report_key(Code::UnusedPool, place, format!("no rule sends requests to the pool {pool}"))
                .label("its real servers get none")
                .help(format!("write `pool: {pool}` in a rule, or remove it here"));
        }
    }
    if !pools.is_empty() && !pools.contains_key(&None) && !rules.iter().any(|rule| takes_all(&rule.value)) {
        let place = raw.real_servers.as_ref().map_or(raw.place, |list| list.place);
        cx.report_key(Code::NoMainPool, place, "every real server is in a pool")
            .label("requests that no rule sends to one get the fallback, or status 503")
            .help("remove `pool` from those that get the others, or end the rules with one that has no condition");
    }
}
