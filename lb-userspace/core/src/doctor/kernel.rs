//! Settings of this machine's kernel that are in the way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::{Device, Facts, Known, Machine};
use super::finding;
use super::remedy::{remedy, set};
use super::target::{Target, targets};
use crate::config::HostFacts;
use crate::config::model::{Mode, Node, PortRange, SourceAddress};
use crate::view::{Finding, FindingCode, Place};

const FORWARD_V4: &str = "ipv4/ip_forward";
const FORWARD_V6: &str = "ipv6/conf/all/forwarding";
/// Of both families.
const PORT_RANGE: &str = "ipv4/ip_local_port_range";

/// The settings that [`super::examine`] goes by, as paths below `/proc/sys/net`.
#[must_use]
pub fn settings(known: &Known, devices: &[Device]) -> Vec<String> {
    let mut paths: Vec<String> = [
        FORWARD_V4,
        FORWARD_V6,
        "ipv4/conf/all/rp_filter",
        "ipv4/conf/all/send_redirects",
        "ipv4/neigh/default/gc_thresh3",
        "ipv6/neigh/default/gc_thresh3",
        PORT_RANGE,
    ]
    .map(str::to_owned)
    .into();
    for device in examined(known, devices) {
        let name = device.link.device.as_str();
        paths.push(format!("ipv4/conf/{name}/rp_filter"));
        paths.push(format!("ipv4/conf/{name}/send_redirects"));
    }
    paths
}

/// The interfaces of the configuration, and the VLAN devices on them.
fn examined<'d>(known: &'d Known, devices: &'d [Device]) -> impl Iterator<Item = &'d Device> {
    let listed = |name: &str| known.config.node.interfaces.iter().any(|interface| interface.device == name);
    let parent = |device: &Device| {
        let parent = device.link.vlan?.parent?;
        devices.iter().find(|other| other.link.ifindex == parent)
    };
    devices.iter().filter(move |device| {
        listed(&device.link.device) || parent(device).is_some_and(|parent| listed(&parent.link.device))
    })
}

pub(super) fn examine(known: &Known, facts: &Facts, findings: &mut Vec<Finding>) {
    findings.extend(reverse_path(known, facts));
    findings.extend(forwarding(known, &facts.machine));
    findings.extend(redirects(known, &facts.machine));
    findings.extend(neighbour_table(known, &facts.machine));
    findings.extend(source_ports(known, &facts.machine));
}

/// Only what was dropped is told: a strict filter by itself hurts nobody whose routes are symmetric.
fn reverse_path(known: &Known, facts: &Facts) -> Option<Finding> {
    let machine = &facts.machine;
    let all = machine.settings.number("ipv4/conf/all/rp_filter").unwrap_or(0);
    // The kernel takes the larger of both; 1 is strict, 2 is loose (Documentation/networking/ip-sysctl.rst).
    let is_strict = |device: &&Device| {
        let own = machine.settings.number(&format!("ipv4/conf/{}/rp_filter", device.link.device)).unwrap_or(0);
        all.max(own) == 1
    };
    let strict: Vec<&str> =
        examined(known, &machine.devices).filter(is_strict).map(|device| device.link.device.as_str()).collect();
    let first = *strict.first()?;
    if facts.reverse_path_drops == 0 {
        return None;
    }
    let names = strict.join(", ");
    let mut settings = vec![("net.ipv4.conf.all.rp_filter".to_owned(), "2")];
    settings.extend(strict.iter().map(|name| (format!("net.ipv4.conf.{}.rp_filter", name.replace('.', "/")), "2")));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Some(finding(
        FindingCode::RpFilter,
        Place { interface: Some(first.to_owned()), ..Place::default() },
        format!(
            "the kernel drops packets to this machine, {} during this examination, because their source is routed by \
             another interface (strict rp_filter on {names})",
            facts.reverse_path_drops
        ),
        "Among them may be answers to health checks, and pings of VIPs. What XDP forwards is not touched.",
        vec![remedy("on this machine", set(&settings))],
    ))
}

fn through_us(known: &Known) -> impl Iterator<Item = Target<'_>> {
    targets(&known.config).filter(|target| target.service.mode == Mode::L4Nat)
}

fn forwarding(known: &Known, machine: &Machine) -> Vec<Finding> {
    let found = through_us(known).filter_map(|target| {
        let (path, setting, family) = match target.address {
            IpAddr::V4(_) => (FORWARD_V4, "net.ipv4.ip_forward", "IPv4"),
            IpAddr::V6(_) => (FORWARD_V6, "net.ipv6.conf.all.forwarding", "IPv6"),
        };
        (machine.settings.number(path)? == 0).then(|| {
            finding(
                FindingCode::IpForward,
                Place { services: vec![target.service.name.clone()], ..Place::default() },
                format!("this machine does not forward {family}, and is the gateway of real servers"),
                "Virtual services work. What the real servers ask for by themselves (names, time, updates) ends here.",
                vec![remedy("on this machine", set(&[(setting, "1")]))],
            )
        })
    });
    found.collect()
}

/// Only IPv4: IPv6 has no setting for it.
fn redirects(known: &Known, machine: &Machine) -> Vec<Finding> {
    let is_on = |path: &str| machine.settings.number(path).is_some_and(|value| value != 0);
    let found = through_us(known).filter(|target| target.address.is_ipv4()).filter_map(|target| {
        let clients = machine.holder(target.service.address)?;
        let route = machine.routes.get(&target.address)?;
        let name = clients.link.device.as_str();
        // The kernel takes the one or the other.
        let sends = is_on("ipv4/conf/all/send_redirects") || is_on(&format!("ipv4/conf/{name}/send_redirects"));
        let one_arm = route.ifindex == clients.link.ifindex && route.gateway.is_none();
        (one_arm && sends && is_on(FORWARD_V4)).then(|| {
            let own = format!("net.ipv4.conf.{}.send_redirects", name.replace('.', "/"));
            finding(
                FindingCode::IcmpRedirects,
                Place { services: vec![target.service.name.clone()], server: None, interface: Some(name.to_owned()) },
                format!("this machine sends ICMP redirects on {name}, where clients and real servers both are"),
                "They tell a real server to send to a client directly, or by another router; its answers then miss the \
                 balancer, and the client drops them.",
                vec![remedy("on this machine", set(&[("net.ipv4.conf.all.send_redirects", "0"), (&own, "0")]))],
            )
        })
    });
    found.collect()
}

fn neighbour_table(known: &Known, machine: &Machine) -> Vec<Finding> {
    let mut found = Vec::new();
    for (family, is_v4) in [("ipv4", true), ("ipv6", false)] {
        let Some(limit) = machine.settings.number(&format!("{family}/neigh/default/gc_thresh3")) else { continue };
        let attached: BTreeSet<IpAddr> = targets(&known.config)
            .map(|target| target.address)
            .filter(|address| address.is_ipv4() == is_v4)
            .filter(|address| machine.routes.get(address).is_some_and(|route| route.gateway.is_none()))
            .collect();
        let count = i64::try_from(attached.len()).unwrap_or(i64::MAX);
        if count < limit {
            continue;
        }
        let name = if is_v4 { "IPv4" } else { "IPv6" };
        let enough = count.saturating_mul(4).max(4096);
        let settings = [
            (format!("net.{family}.neigh.default.gc_thresh3"), enough.to_string()),
            (format!("net.{family}.neigh.default.gc_thresh2"), (enough / 2).to_string()),
            (format!("net.{family}.neigh.default.gc_thresh1"), (enough / 4).to_string()),
        ];
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        found.push(finding(
            FindingCode::NeighbourTable,
            Place::default(),
            format!("the kernel remembers at most {limit} {name} neighbours, and {count} real servers are attached"),
            "Real servers that find no room in the table cannot be reached, now these, now those.",
            vec![remedy("on this machine", set(&settings))],
        ));
    }
    found
}

/// A VIP is never the source of the kernel's own connections: it is brought up so that none prefers it.
fn source_ports(known: &Known, machine: &Machine) -> Option<Finding> {
    let shares = |target: &Target<'_>| {
        target.service.mode == Mode::L4Snat && target.service.source_address != SourceAddress::Vip
    };
    let services: BTreeSet<&str> =
        targets(&known.config).filter(shares).map(|target| target.service.name.as_str()).collect();
    let (ours, kernel) = (known.config.node.source_ports, machine.settings.range(PORT_RANGE)?);
    if services.is_empty() || !overlap(ours, kernel) {
        return None;
    }
    let usual = HostFacts::LOCAL_PORTS;
    let mut fix = Vec::new();
    if !overlap(ours, usual) {
        let range = format!("\"{} {}\"", usual.first, usual.last);
        fix.push(remedy("on this machine", set(&[("net.ipv4.ip_local_port_range", &range)])));
    }
    if let Some(free) = beside(kernel) {
        let or = if fix.is_empty() { "" } else { "or " };
        fix.push(remedy(format!("{or}in the configuration, below `node`"), [format!("source_ports: {free}")]));
    }
    Some(finding(
        FindingCode::SourcePortsOverlap,
        Place { services: services.into_iter().map(str::to_owned).collect(), ..Place::default() },
        format!("node.source_ports ({ours}) and the kernel's own range of ports ({kernel}) overlap"),
        "A health check or another connection of this machine to a real server may get a port that a client's flow \
         already has; the answers to the one are then taken for those to the other.",
        fix,
    ))
}

fn overlap(a: PortRange, b: PortRange) -> bool {
    a.first <= b.last && b.first <= a.last
}

/// The larger of the two ranges that the kernel leaves, if it is worth something.
fn beside(kernel: PortRange) -> Option<PortRange> {
    let below = Node::SOURCE_PORTS.first..=kernel.first.saturating_sub(1);
    let above = kernel.last.saturating_add(1)..=u16::MAX;
    let wider = if below.len() >= above.len() { below } else { above };
    (wider.len() >= SOURCE_PORTS).then(|| PortRange { first: *wider.start(), last: *wider.end() })
}

/// Fewer ports than this run out at once.
const SOURCE_PORTS: usize = 1_024;
