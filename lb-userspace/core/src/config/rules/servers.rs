//! Which ports services take of their real servers.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use super::name;
use super::ports::{Transport, ports_over};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{Mode, PortRange};
use crate::config::places::Place;
use crate::config::raw::Service;
use crate::config::values::{Address, Port};
use crate::config::words::Word;

/// M21, C2: the proxy and `l4-snat` would both choose source ports towards one (TCP, server, port).
pub(super) fn rewrites_clash(services: &[At<Service>], cx: &mut Context<'_>) {
    let ports = ports_of_all(Transport::Tcp, services);
    let mut by_address: BTreeMap<IpAddr, (Vec<ServerUse<'_>>, Vec<ServerUse<'_>>)> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        let snat = match service.value.mode.as_ref().map(|mode| mode.value) {
            Some(Mode::L4Snat) => true,
            Some(Mode::L7Tcp | Mode::L7Http) => false,
            Some(Mode::L4Dr | Mode::L4Nat) | None => continue,
        };
        for this in server_uses(index, &service.value) {
            let (snats, proxies) = by_address.entry(this.address).or_default();
            if snat { snats.push(this) } else { proxies.push(this) }
        }
    }
    let mut shared = SharedPorts { ports: &ports, known: HashMap::new() };
    let mut crowds = Crowds::default();
    for (snats, proxies) in by_address.values() {
        let (a, b) = (crowd(snats), crowd(proxies));
        if !crowds.clash((a, b), |(a, b)| common(&ranges(a, &ports), &ranges(b, &ports)).is_some()) {
            continue;
        }
        for (snat, proxy) in snats.iter().flat_map(|snat| proxies.iter().map(move |proxy| (snat, proxy))) {
            if cx.problems.is_full() {
                return;
            }
            if let Some(port) = shared.first(snat, proxy) {
                report_rewrites(snat, proxy, port, cx);
            }
        }
    }
}

fn report_rewrites(a: &ServerUse<'_>, b: &ServerUse<'_>, port: u16, cx: &mut Context<'_>) {
    // The one that stands later in the files is the one to change.
    let (earlier, later) = if cx.places.span(a.place) <= cx.places.span(b.place) { (a, b) } else { (b, a) };
    let mode = |service: &Service| service.mode.as_ref().map_or("", |mode| mode.value.word());
    let label = format!("the other is at {}", cx.places.reference(earlier.place));
    let message = format!(
        "tcp port {port} of {} {} is used by {} ({}) and by {} ({})",
        later.what,
        later.address,
        name(earlier.service),
        mode(earlier.service),
        name(later.service),
        mode(later.service)
    );
    cx.report(Code::RewriteClash, later.place, message)
        .label(label)
        .help("use one mode for both, or another port of the real server");
}

/// Replies in `l4-nat` carry the client's own port, which does not say which of two services it used.
pub(super) fn nat_shares_a_port(services: &[At<Service>], cx: &mut Context<'_>) {
    let mut by_address: BTreeMap<IpAddr, Vec<ServerUse<'_>>> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        if service.value.mode.as_ref().is_some_and(|mode| mode.value == Mode::L4Nat) {
            for this in server_uses(index, &service.value) {
                by_address.entry(this.address).or_default().push(this);
            }
        }
    }
    let mut reported = HashSet::new();
    for transport in Transport::ALL {
        let ports = ports_of_all(transport, services);
        let mut shared = SharedPorts { ports: &ports, known: HashMap::new() };
        let mut crowds = Crowds::default();
        for uses in by_address.values() {
            if !crowds.clash(crowd(uses), |crowd| overlap(&ranges(crowd, &ports))) {
                continue;
            }
            // One pair for each real server is enough to say what happens.
            let mut pairs = uses.iter().enumerate().flat_map(|(at, b)| uses[..at].iter().map(move |a| (a, b)));
            let first = pairs.find_map(|(a, b)| match a.index == b.index {
                true => None,
                false => shared.first(a, b).map(|port| (a, b, port)),
            });
            if let Some((a, b, port)) = first
                && !cx.problems.is_full()
                && reported.insert((a.index, b.index))
            {
                report_shared(a, b, transport, port, cx);
            }
        }
    }
}

fn report_shared(a: &ServerUse<'_>, b: &ServerUse<'_>, transport: Transport, port: u16, cx: &mut Context<'_>) {
    let (earlier, later) = if cx.places.span(a.place) <= cx.places.span(b.place) { (a, b) } else { (b, a) };
    let label = format!("the other is at {}", cx.places.reference(earlier.place));
    let message = format!(
        "{} port {port} of {} {} is used by {} and by {}, both l4-nat",
        transport.word(),
        later.what,
        later.address,
        name(earlier.service),
        name(later.service)
    );
    cx.report(Code::NatServerShared, later.place, message).label(label).help(
        "a client that uses one source port towards both is refused the second time, which is rare; l4-snat is without \
               this limit",
    );
}

/// A real server of a service.
struct ServerUse<'r> {
    /// `real server`, `the fallback`.
    what: &'static str,
    address: IpAddr,
    /// `None`: the ports that clients use.
    port: Option<u16>,
    index: usize,
    service: &'r Service,
    place: Place,
}

/// The real servers and the fallback.
fn server_uses(index: usize, service: &Service) -> Vec<ServerUse<'_>> {
    let this = |what, address: Option<&At<Address>>, port: Option<&At<Port>>| {
        let address = address?;
        let place = port.map_or(address.place, |port| port.place);
        let port = port.map(|port| port.value.0);
        Some(ServerUse { what, address: address.value.0, port, index, service, place })
    };
    let servers = service.real_servers.iter().flat_map(|list| &list.value.0).map(|at| &at.value);
    let servers = servers.filter_map(|server| this("real server", server.address.as_ref(), server.port.as_ref()));
    let fallback = service.fallback.as_ref().map(|at| &at.value);
    let fallback = fallback.and_then(|server| this("the fallback", server.address.as_ref(), server.port.as_ref()));
    servers.chain(fallback).collect()
}

fn ports_of_all(transport: Transport, services: &[At<Service>]) -> Vec<Vec<PortRange>> {
    services.iter().map(|service| ports_over(transport, &service.value)).collect()
}

/// Who uses one real server: services by their index, and the port there.
type Crowd = Vec<(usize, Option<u16>)>;

fn crowd(uses: &[ServerUse<'_>]) -> Crowd {
    uses.iter().map(|u| (u.index, u.port)).collect()
}

/// Whether any two of a crowd clash. Most real servers of a configuration are used by the same services, and
/// hundreds of services make more pairs than anybody waits for: each crowd is looked at once, and as a whole.
struct Crowds<C> {
    known: HashMap<C, bool>,
}

impl<C> Default for Crowds<C> {
    fn default() -> Self {
        Self { known: HashMap::new() }
    }
}

impl<C: Hash + Eq> Crowds<C> {
    fn clash(&mut self, crowd: C, look: impl FnOnce(&C) -> bool) -> bool {
        match self.known.entry(crowd) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let clash = look(new.key());
                *new.insert(clash)
            }
        }
    }
}

/// All ports that a crowd uses, sorted; those of a service once, though it uses them twice.
fn ranges(crowd: &[(usize, Option<u16>)], ports: &[Vec<PortRange>]) -> Vec<PortRange> {
    let distinct: BTreeSet<&(usize, Option<u16>)> = crowd.iter().collect();
    let mut ranges = Vec::new();
    for (index, port) in distinct {
        match port {
            // What the service does not carry over this transport it does not send there either.
            _ if ports[*index].is_empty() => {}
            Some(port) => ranges.push(PortRange { first: *port, last: *port }),
            None => ranges.extend_from_slice(&ports[*index]),
        }
    }
    ranges.sort();
    ranges
}

/// Whether any two of some sorted ranges share a port.
fn overlap(ranges: &[PortRange]) -> bool {
    let mut end = None;
    ranges.iter().any(|range| {
        let shares = end.is_some_and(|end| range.first <= end);
        end = end.max(Some(range.last));
        shares
    })
}

/// Ports that two services have in common; each pair of services is compared once.
struct SharedPorts<'p> {
    ports: &'p [Vec<PortRange>],
    known: HashMap<(usize, usize), Option<u16>>,
}

impl SharedPorts<'_> {
    fn first(&mut self, a: &ServerUse<'_>, b: &ServerUse<'_>) -> Option<u16> {
        let is_carried = |u: &ServerUse<'_>| !self.ports[u.index].is_empty();
        match (a.port, b.port) {
            _ if !is_carried(a) || !is_carried(b) => None,
            (Some(a), Some(b)) => (a == b).then_some(a),
            (Some(port), None) => holds(&self.ports[b.index], port).then_some(port),
            (None, Some(port)) => holds(&self.ports[a.index], port).then_some(port),
            (None, None) => {
                let ports = self.ports;
                *self.known.entry((a.index, b.index)).or_insert_with(|| common(&ports[a.index], &ports[b.index]))
            }
        }
    }
}

/// Whether sorted, disjoint ranges hold a port.
fn holds(ranges: &[PortRange], port: u16) -> bool {
    let after = ranges.partition_point(|range| range.first <= port);
    after > 0 && ranges[after - 1].last >= port
}

/// The first port that two sorted lists of ranges share; ranges of one list may overlap.
fn common(a: &[PortRange], b: &[PortRange]) -> Option<u16> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let first = x.first.max(y.first);
        if first <= x.last.min(y.last) {
            return Some(first);
        }
        if x.last < y.last {
            a.next()
        } else {
            b.next()
        };
    }
    None
}

#[cfg(test)]
mod tests;
