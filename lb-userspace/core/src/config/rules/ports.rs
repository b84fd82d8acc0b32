//! Which ports services take of their addresses.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::name;
use crate::config::code::Code;
use crate::config::decode::Context;
use crate::config::model::{PortRange, Protocol};
use crate::config::places::Place;
use crate::config::raw::Service;

/// Ranges that the datapath searches per (address, protocol); single ports are looked up.
const MAX_RANGES: usize = 16;

/// One of TCP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub(super) const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    fn of(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Tcp => &[Self::Tcp],
            Protocol::Udp => &[Self::Udp],
            Protocol::TcpUdp => &[Self::Tcp, Self::Udp],
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Ports of an address that a service takes.
#[derive(Clone, Copy)]
pub(super) struct PortUse<'r> {
    address: IpAddr,
    transport: Transport,
    range: PortRange,
    service: &'r Service,
    place: Place,
}

impl PortUse<'_> {
    fn key(&self) -> (IpAddr, Transport) {
        (self.address, self.transport)
    }
}

/// What a service takes of its VIP, its TLS listener included.
pub(super) fn vip_ports(service: &Service) -> Vec<PortUse<'_>> {
    let Some(address) = &service.address else { return Vec::new() };
    let address = address.value.0;
    let mut uses = Vec::new();
    let ranges = service.ports.as_ref().map_or(&[][..], |ports| &ports.value.0);
    for transport in Transport::of(service.protocol.value) {
        for range in ranges {
            let place = service.ports.as_ref().map_or(service.place, |ports| ports.place);
            uses.push(PortUse { address, transport: *transport, range: *range, service, place });
        }
    }
    if let Some(tls) = &service.tls {
        let port = tls.value.port.value.0;
        // On one of the service's own ports TLS takes the place of plain text.
        if !ranges.iter().any(|range| (range.first..=range.last).contains(&port)) {
            let range = PortRange { first: port, last: port };
            uses.push(PortUse { address, transport: Transport::Tcp, range, service, place: tls.value.port.place });
        }
    }
    uses
}

/// What this machine itself listens on over TCP; `None`: on all its addresses.
pub(super) struct Own {
    pub(super) what: &'static str,
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) place: Place,
}

/// Only the proxy listens; the datapath takes packets before any socket does.
pub(super) fn taken_by_this_machine(uses: &[PortUse<'_>], own: &[Own], cx: &mut Context<'_>) {
    let is_proxied = |this: &&PortUse<'_>| {
        this.transport == Transport::Tcp && this.service.mode.as_ref().is_some_and(|mode| !mode.value.is_layer_4())
    };
    for this in uses.iter().filter(is_proxied) {
        for own in own {
            let shares = own.address.is_none_or(|address| address == this.address);
            if !shares || !(this.range.first..=this.range.last).contains(&own.port) || cx.problems.is_full() {
                continue;
            }
            let label = format!("{} is at {}", own.what, cx.places.reference(own.place));
            let (service, port, address, what) = (name(this.service), own.port, this.address, own.what);
            let message = format!("{service} and {what} both take tcp port {port} of {address}");
            cx.report(Code::PortTaken, this.place, message)
                .label(label)
                .help("give one of the two another port, or an address of its own");
        }
    }
}

/// Ports that clients of a service use over one transport, its TLS listener included; sorted.
pub(super) fn ports_over(transport: Transport, service: &Service) -> Vec<PortRange> {
    let uses = vip_ports(service);
    let mut ranges: Vec<PortRange> = uses.iter().filter(|u| u.transport == transport).map(|u| u.range).collect();
    ranges.sort();
    ranges
}

/// V5: a VIP may be shared, a port of it not.
pub(super) fn services_clash(uses: &[PortUse<'_>], cx: &mut Context<'_>) {
    let mut reported = HashSet::new();
    for (first, second) in overlaps(uses) {
        if cx.problems.is_full() {
            return;
        }
        // The one that stands later in the files is the one to change.
        let (earlier, later) = in_order(first, second, cx);
        if !reported.insert((later.service.place, earlier.service.place)) {
            continue;
        }
        let shared = PortRange {
            first: first.range.first.max(second.range.first),
            last: first.range.last.min(second.range.last),
        };
        let place = earlier.service.name.as_ref().map_or(earlier.place, |name| name.place);
        let label = format!("{} is at {}", name(earlier.service), cx.places.reference(place));
        let message = format!(
            "{} and {} both take {} port {shared} of {}",
            name(earlier.service),
            name(later.service),
            later.transport.word(),
            later.address
        );
        cx.report(Code::ServiceClash, later.place, message)
            .label(label)
            .help("give one of them another port, protocol or address");
    }
}

/// Pairs of different services whose ranges overlap on one (address, transport): for each range, the
/// one before it that reaches furthest.
fn overlaps<'u, 'r>(uses: &'u [PortUse<'r>]) -> Vec<(&'u PortUse<'r>, &'u PortUse<'r>)> {
    let mut sorted: Vec<&PortUse<'_>> = uses.iter().collect();
    sorted.sort_by_key(|u| (u.key(), u.range));
    let mut pairs = Vec::new();
    let mut furthest: Option<&PortUse<'_>> = None;
    for this in sorted {
        if let Some(before) = furthest
            && before.key() == this.key()
            && this.range.first <= before.range.last
        {
            if !std::ptr::eq(before.service, this.service) {
                pairs.push((before, this));
            }
            if before.range.last >= this.range.last {
                continue;
            }
        }
        furthest = Some(this);
    }
    pairs
}

fn in_order<'u, 'r>(a: &'u PortUse<'r>, b: &'u PortUse<'r>, cx: &Context<'_>) -> (&'u PortUse<'r>, &'u PortUse<'r>) {
    if cx.places.span(a.service.place) <= cx.places.span(b.service.place) { (a, b) } else { (b, a) }
}

pub(super) fn too_many_ranges(uses: &[PortUse<'_>], cx: &mut Context<'_>) {
    let mut ranges: BTreeMap<(IpAddr, Transport), Vec<&PortUse<'_>>> = BTreeMap::new();
    for this in uses.iter().filter(|this| this.range.first < this.range.last) {
        ranges.entry(this.key()).or_default().push(this);
    }
    for ((address, transport), uses) in ranges {
        // The datapath's search is bounded, and a single port costs it nothing.
        if let Some(excess) = uses.get(MAX_RANGES) {
            let message =
                format!("{} {} port ranges on {address}; the limit is {MAX_RANGES}", uses.len(), transport.word());
            cx.report(Code::TooManyRanges, excess.place, message)
                .label("single ports are not counted")
                .help("write neighbouring ranges as one, or use a second address");
        }
    }
}
