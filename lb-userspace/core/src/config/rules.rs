//! Rules between services: what two of them cannot share.
//!
//! In: what was typed, so that a mistake elsewhere in a service hides nothing here. Out: mistakes.
//! Absent: rules within one service, which are `parse`'s.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::code::Code;
use super::decode::{At, Context, Word};
use super::model::{Mode, PortRange, Protocol};
use super::places::Place;
use super::raw::{Root, Service};

/// Virtual services of one configuration.
pub(crate) const MAX_SERVICES: usize = 1024;
/// Ranges that the datapath searches per (address, protocol); single ports are looked up.
pub(crate) const MAX_RANGES: usize = 16;

/// Checks everything that involves more than one service.
pub(crate) fn check(root: &Root, cx: &mut Context<'_>) {
    let services: &[At<Service>] = root.virtual_services.as_ref().map_or(&[], |list| &list.value.0);
    how_many(root, services, cx);
    // Past the limit the work would have none.
    let services = &services[..services.len().min(MAX_SERVICES)];
    unique_names(services, cx);
    let uses: Vec<PortUse<'_>> = services.iter().flat_map(|service| vip_ports(&service.value)).collect();
    services_clash(&uses, cx);
    too_many_ranges(&uses, cx);
    rewrites_clash(services, cx);
    vips_are_not_servers(services, cx);
    certificates_match(root, services, cx);
    interfaces_are_listed(root, services, cx);
}

fn how_many(root: &Root, services: &[At<Service>], cx: &mut Context<'_>) {
    let place = root.virtual_services.as_ref().map_or(root.place, |list| list.place);
    if services.is_empty() && !cx.problems.any_error() {
        cx.report_key(Code::NoServices, place, "there is no virtual service").help("add one under `virtual_services`");
    }
    if services.len() > MAX_SERVICES {
        let message = format!("{} virtual services; the limit is {MAX_SERVICES}", services.len());
        cx.report_key(Code::TooMany, place, message);
    }
}

fn unique_names(services: &[At<Service>], cx: &mut Context<'_>) {
    let mut known: HashMap<&str, Place> = HashMap::new();
    for service in services {
        let Some(name) = &service.value.name else { continue };
        if let Some(first) = known.get(name.value.text.as_str()) {
            let label = format!("the first is at {}", cx.places.reference(*first));
            cx.report(Code::DuplicateName, name.place, format!("two virtual services are named {}", name.value.text))
                .label(label)
                .help("give each virtual service its own name");
        } else {
            known.insert(&name.value.text, name.place);
        }
    }
}

/// One of TCP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn of(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Tcp => &[Self::Tcp],
            Protocol::Udp => &[Self::Udp],
            Protocol::TcpUdp => &[Self::Tcp, Self::Udp],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Ports of an address that a service takes.
#[derive(Clone, Copy)]
struct PortUse<'r> {
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

fn name(service: &Service) -> &str {
    service.name.as_ref().map_or("a service without a name", |name| &name.value.text)
}

/// What a service takes of its VIP, its TLS listener included.
fn vip_ports(service: &Service) -> Vec<PortUse<'_>> {
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

/// V5: a VIP may be shared, a port of it not.
fn services_clash(uses: &[PortUse<'_>], cx: &mut Context<'_>) {
    let mut reported = HashSet::new();
    for (first, second) in overlaps(uses) {
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

fn too_many_ranges(uses: &[PortUse<'_>], cx: &mut Context<'_>) {
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

/// M21, C2: the proxy and `l4-snat` would both choose source ports towards one (TCP, server, port).
fn rewrites_clash(services: &[At<Service>], cx: &mut Context<'_>) {
    let ports: Vec<Vec<PortRange>> = services.iter().map(|service| tcp_ports(&service.value)).collect();
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
    for (snats, proxies) in by_address.values() {
        for (snat, proxy) in snats.iter().flat_map(|snat| proxies.iter().map(move |proxy| (snat, proxy))) {
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
        "tcp port {port} of real server {} is used by {} ({}) and by {} ({})",
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

/// A real server of a service.
struct ServerUse<'r> {
    address: IpAddr,
    /// `None`: the ports that clients use.
    port: Option<u16>,
    index: usize,
    service: &'r Service,
    place: Place,
}

fn server_uses(index: usize, service: &Service) -> Vec<ServerUse<'_>> {
    let servers = service.real_servers.as_ref().map_or(&[][..], |list| &list.value.0);
    let server = |server: &At<super::raw::Server>| {
        let address = server.value.address.as_ref()?;
        let port = server.value.port.as_ref();
        let place = port.map_or(address.place, |port| port.place);
        let port = port.map(|port| port.value.0);
        Some(ServerUse { address: address.value.0, port, index, service, place })
    };
    servers.iter().filter_map(server).collect()
}

/// TCP ports that clients of a service use, its TLS listener included; sorted.
fn tcp_ports(service: &Service) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> =
        vip_ports(service).iter().filter(|u| u.transport == Transport::Tcp).map(|u| u.range).collect();
    ranges.sort();
    ranges
}

/// Ports that two services have in common; each pair of services is compared once.
struct SharedPorts<'p> {
    ports: &'p [Vec<PortRange>],
    known: HashMap<(usize, usize), Option<u16>>,
}

impl SharedPorts<'_> {
    fn first(&mut self, a: &ServerUse<'_>, b: &ServerUse<'_>) -> Option<u16> {
        let carries_tcp = |u: &ServerUse<'_>| !self.ports[u.index].is_empty();
        match (a.port, b.port) {
            _ if !carries_tcp(a) || !carries_tcp(b) => None,
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

/// The first port that two sorted lists of ranges share.
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

fn vips_are_not_servers(services: &[At<Service>], cx: &mut Context<'_>) {
    let mut vips: HashMap<IpAddr, &At<super::values::Address>> = HashMap::new();
    for address in services.iter().filter_map(|service| service.value.address.as_ref()) {
        vips.entry(address.value.0).or_insert(address);
    }
    for service in services {
        for server in service.value.real_servers.iter().flat_map(|list| &list.value.0) {
            let Some(address) = &server.value.address else { continue };
            let Some(vip) = vips.get(&address.value.0) else { continue };
            let label = format!("the VIP is at {}", cx.places.reference(vip.place));
            let message = format!("{} is a VIP and the address of a real server", address.value.0);
            cx.report(Code::VipIsServer, address.place, message)
                .label(label)
                .help("write the real server's own address; each machine keeps one beside the VIP");
        }
    }
}

fn certificates_match(root: &Root, services: &[At<Service>], cx: &mut Context<'_>) {
    let defined: Vec<(&str, Place)> = root.certificates.as_ref().map_or_else(Vec::new, |section| {
        section.value.0.iter().map(|(label, at)| (label.as_str(), at.place)).collect()
    });
    let written = written_labels(root, cx);
    let mut used = HashSet::new();
    for tls in services.iter().filter_map(|service| service.value.tls.as_ref()) {
        let several = tls.value.certificates.iter().flat_map(|list| &list.value.0);
        for label in tls.value.certificate.iter().chain(several) {
            let text = label.value.text.as_str();
            used.insert(text);
            if written.contains(text) {
                continue;
            }
            let labels: Vec<&str> = defined.iter().map(|(label, _)| *label).collect();
            let help = match super::decode::closest(text, &labels) {
                Some(near) => format!("did you mean `{near}`?"),
                None if labels.is_empty() => format!("add `certificates:` with `{text}:` below it"),
                None => format!("the labels are {}", labels.join(", ")),
            };
            cx.report(Code::UnknownCertificate, label.place, format!("no certificate has the label {text}")).help(help);
        }
    }
    for (label, place) in defined {
        if !used.contains(label) {
            cx.report_key(Code::UnusedCertificate, place, format!("no service uses the certificate {label}"))
                .help("name it under `tls` of a service, or remove it");
        }
    }
}

/// Labels, those of certificates with mistakes included.
fn written_labels(root: &Root, cx: &Context<'_>) -> HashSet<String> {
    root.certificates.as_ref().map_or_else(HashSet::new, |section| cx.places.keys_of(section.place))
}

/// A VIP on an interface without XDP is not balanced in layer 4. VLAN interfaces are covered by the
/// interface that carries them.
fn interfaces_are_listed(root: &Root, services: &[At<Service>], cx: &mut Context<'_>) {
    let Some(list) = root.node.as_ref().and_then(|node| node.value.interfaces.as_ref()) else { return };
    let listed: Vec<&str> = list
        .value
        .0
        .iter()
        .filter_map(|at| at.value.device.as_ref())
        .map(|device| device.value.text.as_str())
        .collect();
    for service in services {
        let Some(interface) = &service.value.interface else { continue };
        let device = interface.value.text.as_str();
        let parent = device.split_once('.').map_or(device, |(parent, _)| parent);
        if !listed.contains(&device) && !listed.contains(&parent) {
            cx.report(Code::InterfaceWithoutXdp, interface.place, format!("{device} is not in node.interfaces"))
                .label("packets that arrive on it are not balanced in layer 4")
                .help(format!("the interfaces are {}", listed.join(", ")));
        }
    }
}
