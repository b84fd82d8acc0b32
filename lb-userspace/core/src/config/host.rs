//! What a configuration asks of the machine it runs on.
//!
//! In: a configuration, its places, the machine's addresses and port range. Out: mistakes that only this
//! machine shows. Absent: asking the kernel, which is the shell's.

use std::collections::HashMap;
use std::net::IpAddr;

use super::code::Code;
use super::diagnostic::Diagnostic;
use super::model::{Config, Fallback, Mode, Node, PortRange, SourceAddress, VirtualService};
use super::parse::MIN_SOURCE_PORTS;
use super::places::{Place, Places, Problems};

/// What this machine has that a configuration can clash with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Its addresses, in any order.
    pub addresses: Vec<HostAddress>,
    /// Ports that the kernel gives to connections of this machine: `net.ipv4.ip_local_port_range`, for IPv6 too.
    pub local_ports: PortRange,
}

impl HostFacts {
    /// The ports of a kernel that nobody has told otherwise.
    pub const LOCAL_PORTS: PortRange = PortRange { first: 32768, last: 60999 };
}

/// Reads `net.ipv4.ip_local_port_range` as the kernel prints it: two numbers.
///
/// ```
/// use lb_core::config::{model::PortRange, parse_local_ports};
///
/// assert_eq!(parse_local_ports("32768\t60999\n"), Some(PortRange { first: 32768, last: 60999 }));
/// ```
#[must_use]
pub fn parse_local_ports(text: &str) -> Option<PortRange> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let (Some(Ok(first)), Some(Ok(last)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return None;
    };
    (first <= last).then_some(PortRange { first, last })
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// Kernel name of the interface.
    pub device: String,
    /// The address.
    pub address: IpAddr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
}

impl HostAddress {
    /// An address of full length is in no network with others.
    fn is_in_a_network(&self) -> bool {
        self.prefix < if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn network_holds(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.prefix.min(32))).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - self.prefix.min(128))).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// Checks a configuration against the machine: M5, that each VIP has an interface to go to, that packets and
/// connections to real servers have addresses of the machine, and ports that nothing else here uses.
///
/// `places` are those that were loaded with `config`. Addresses that `lbd` itself brought up may be
/// among `host`'s. Returns mistakes in the order of the sources.
pub fn check_against_host(config: &Config, places: &Places, host: &HostFacts) -> Vec<Diagnostic> {
    let mut check = Check { places, by_path: places.by_path(), host, config, problems: Problems::new() };
    for (index, service) in config.virtual_services.iter().enumerate() {
        check.vip(index, service);
        check.servers(index, service);
        check.source_address(index, service);
    }
    check.source_ports();
    check.problems.into_diagnostics(places)
}

struct Check<'a> {
    places: &'a Places,
    by_path: HashMap<String, Place>,
    host: &'a HostFacts,
    config: &'a Config,
    problems: Problems,
}

impl Check<'_> {
    fn report(&mut self, code: Code, path: &str, message: String) -> &mut super::places::Problem {
        let place = self.by_path.get(path).copied().unwrap_or(Place::ROOT);
        self.problems.add(code, place, self.places.span(place), message)
    }

    fn is_attached(&self, address: IpAddr) -> bool {
        self.host.addresses.iter().any(|own| own.network_holds(address))
    }

    fn vip(&mut self, index: usize, service: &VirtualService) {
        let vip = service.address;
        let path = format!("virtual_services[{index}].address");
        if service.interface.is_some() {
            return;
        }
        if !self.is_attached(vip) {
            self.report(Code::VipWithoutInterface, &path, format!("no interface has a subnet that holds {vip}"))
                .label("so it is not clear which interface gets it")
                .help("add `interface:` to this service");
            return;
        }
        if let Some(device) = self.only_unlisted(vip)
            && service.mode.is_layer_4()
        {
            let message = format!("{vip} is in the subnet of {device}, which is not in node.interfaces");
            self.report(Code::InterfaceWithoutXdp, &path, message)
                .label("packets that arrive there are not balanced in layer 4")
                .help(format!("add {{device: {device}}} to node.interfaces"));
        }
    }

    /// An interface in the subnet of an address when none there is listed.
    fn only_unlisted(&self, address: IpAddr) -> Option<String> {
        let networks = self.host.addresses.iter().filter(|own| own.is_in_a_network() && own.network_holds(address));
        let devices: Vec<&str> = networks.map(|own| own.device.as_str()).collect();
        let device = devices.first()?;
        (!devices.iter().any(|device| self.is_listed(device))).then(|| (*device).to_owned())
    }

    /// VLAN interfaces are covered by the interface that carries them.
    fn is_listed(&self, device: &str) -> bool {
        let parent = device.split_once('.').map_or(device, |(parent, _)| parent);
        self.config.node.interfaces.iter().any(|listed| listed.device == device || listed.device == parent)
    }

    fn servers(&mut self, index: usize, service: &VirtualService) {
        let mut targets: Vec<(String, IpAddr, String)> = Vec::new();
        for (at, server) in service.real_servers.iter().enumerate() {
            let path = format!("virtual_services[{index}].real_servers[{at}].address");
            targets.push((path, server.address, format!("real server {}", server.name)));
        }
        if let Some(Fallback::Server { address, .. }) = &service.fallback {
            targets.push((format!("virtual_services[{index}].fallback.address"), *address, "the fallback".to_owned()));
        }
        for (path, address, what) in targets {
            if service.mode.is_layer_4() && self.host.addresses.iter().any(|own| own.address == address) {
                self.report(Code::ServerIsBalancer, &path, format!("{what} has the address {address} of this machine"))
                    .help("write the address of another machine, or use a layer 7 mode");
            } else if service.mode == Mode::L4Dr && !self.is_attached(address) {
                self.report(
                    Code::ServerNotAttached,
                    &path,
                    format!("{what} ({address}) is on no subnet of this machine"),
                )
                .label("l4-dr reaches real servers by MAC address, without a router")
                .help("give an interface an address in its subnet, or use mode: l4-snat");
            } else if matches!(service.mode, Mode::L4Nat | Mode::L4Snat) {
                self.replies(service.mode, &path, address, &what);
            } else if service.source_address == SourceAddress::Client && !self.is_attached(address) {
                let message =
                    format!("{what} ({address}) is on no subnet of this machine, and sees clients' addresses");
                self.report(Code::ClientSourceRouted, &path, message)
                    .label("its replies must come back through the balancer")
                    .help("see that the routers on the way send them here, or remove `source_address: client`");
            }
        }
    }

    /// What `l4-nat` and `l4-snat` ask beyond a way to the real server: one back through the datapath.
    fn replies(&mut self, mode: Mode, path: &str, address: IpAddr, what: &str) {
        if mode == Mode::L4Nat && !self.is_attached(address) {
            let message = format!("{what} ({address}) is on no subnet of this machine");
            self.report(Code::NatServerNotAttached, path, message)
                .label("its replies must come back through the balancer")
                .help("see that the routers on the way send them here, or use mode: l4-snat");
        } else if let Some(device) = self.only_unlisted(address) {
            let message = format!("{what} ({address}) is in the subnet of {device}, which is not in node.interfaces");
            self.report(Code::InterfaceWithoutXdp, path, message)
                .label("its replies arrive there and are not brought back to clients")
                .help(format!("add {{device: {device}}} to node.interfaces"));
        }
    }

    fn source_address(&mut self, index: usize, service: &VirtualService) {
        let SourceAddress::Address(source) = service.source_address else { return };
        let is_own = self.host.addresses.iter().any(|own| own.address == source);
        let is_vip = self.config.virtual_services.iter().any(|other| other.address == source);
        if is_own || is_vip {
            return;
        }
        let network = self.host.addresses.iter().find(|own| own.is_in_a_network() && own.network_holds(source));
        let listed = self.config.node.interfaces.first().map(|interface| interface.device.as_str());
        let device = network.map(|own| own.device.as_str()).or(listed).unwrap_or("DEVICE");
        let length = if source.is_ipv4() { 32 } else { 128 };
        let help = format!(
            "add it with `ip address add {source}/{length} dev {device}` and to the system's network configuration, or \
             write source_address: auto"
        );
        let path = format!("virtual_services[{index}].source_address");
        self.report(Code::ForeignSourceAddress, &path, format!("this machine does not have the address {source}"))
            .label("replies of real servers would not come here")
            .help(help);
    }

    fn source_ports(&mut self) {
        let (ours, kernel) = (self.config.node.source_ports, self.host.local_ports);
        let is_snat = |service: &VirtualService| service.mode == Mode::L4Snat;
        if !overlap(ours, kernel) || !self.config.virtual_services.iter().any(is_snat) {
            return;
        }
        let path = if self.by_path.contains_key("node.source_ports") { "node.source_ports" } else { "node" };
        let message = format!("source ports {ours} overlap {kernel}, which the kernel gives to its own connections");
        self.report(Code::SourcePortsTaken, path, message)
            .label("l4-snat needs ports that nothing else on this machine takes")
            .help(apart(ours, kernel));
    }
}

fn overlap(a: PortRange, b: PortRange) -> bool {
    a.first <= b.last && b.first <= a.last
}

/// How to get the two ranges apart.
fn apart(ours: PortRange, kernel: PortRange) -> String {
    const USUAL: PortRange = HostFacts::LOCAL_PORTS;
    let below = Node::SOURCE_PORTS.first..=kernel.first.saturating_sub(1);
    let above = kernel.last.saturating_add(1)..=u16::MAX;
    let wider = if below.len() >= above.len() { below } else { above };
    let free = PortRange { first: *wider.start(), last: *wider.end() };
    let ways: Vec<String> = [
        (!overlap(ours, USUAL)).then(|| {
            let both = format!("net.ipv4.ip_local_port_range=\"{} {}\"", USUAL.first, USUAL.last);
            format!("give the kernel its usual range with `sysctl -w {both}`, and in /etc/sysctl.d")
        }),
        (wider.len() >= MIN_SOURCE_PORTS).then(|| format!("write `source_ports: {free}` below `node`")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if ways.is_empty() {
        return "give the kernel fewer ports: `net.ipv4.ip_local_port_range` in /etc/sysctl.d".to_owned();
    }
    ways.join("; or ")
}
