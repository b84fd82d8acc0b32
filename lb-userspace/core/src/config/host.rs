//! What a configuration asks of the machine it runs on.
//!
//! In: a configuration, its places, the addresses of the machine. Out: mistakes that only this
//! machine shows. Absent: asking the kernel, which is the shell's.

use std::collections::HashMap;
use std::net::IpAddr;

use super::code::Code;
use super::diagnostic::Diagnostic;
use super::model::{Config, Fallback, Mode, VirtualService};
use super::places::{Place, Places, Problems};

/// The addresses of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// In any order.
    pub addresses: Vec<HostAddress>,
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

/// Checks a configuration against the machine: M5, and that each VIP has an interface to go to.
///
/// `places` are those that were loaded with `config`. Addresses that `lbd` itself brought up may be
/// among `host`'s. Returns mistakes in the order of the sources.
pub fn check_against_host(config: &Config, places: &Places, host: &HostAddresses) -> Vec<Diagnostic> {
    let mut check = Check { places, by_path: places.by_path(), host, config, problems: Problems::new() };
    for (index, service) in config.virtual_services.iter().enumerate() {
        check.vip(index, service);
        check.servers(index, service);
    }
    check.problems.into_diagnostics(places)
}

struct Check<'a> {
    places: &'a Places,
    by_path: HashMap<String, Place>,
    host: &'a HostAddresses,
    config: &'a Config,
    problems: Problems,
}

impl Check<'_> {
    fn report(&mut self, code: Code, path: &str, message: String) -> &mut super::places::Problem {
        let place = self.by_path.get(path).copied().unwrap_or(Place::ROOT);
        self.problems.add(code, place, self.places.span(place), message)
    }

    fn is_attached(&self, address: IpAddr) -> bool {
        // A VIP brings the whole address only; it does not make a network reachable.
        let is_vip = |own: IpAddr| self.config.virtual_services.iter().any(|service| service.address == own);
        let networks = self.host.addresses.iter().filter(|own| !is_vip(own.address));
        networks.into_iter().any(|own| own.network_holds(address))
    }

    fn vip(&mut self, index: usize, service: &VirtualService) {
        let vip = service.address;
        let present = self.host.addresses.iter().any(|own| own.address == vip);
        if service.interface.is_none() && !present && !self.is_attached(vip) {
            let path = format!("virtual_services[{index}].address");
            self.report(Code::VipWithoutInterface, &path, format!("no interface has a subnet that holds {vip}"))
                .label("so it is not clear which interface gets it")
                .help("add `interface:` to this service");
        }
    }

    fn servers(&mut self, index: usize, service: &VirtualService) {
        let layer_4 = matches!(service.mode, Mode::L4Dr | Mode::L4Nat | Mode::L4Snat);
        let mut targets: Vec<(String, IpAddr, String)> = Vec::new();
        for (at, server) in service.real_servers.iter().enumerate() {
            let path = format!("virtual_services[{index}].real_servers[{at}].address");
            targets.push((path, server.address, format!("real server {}", server.name)));
        }
        if let Some(Fallback::Server { address, .. }) = &service.fallback {
            targets.push((format!("virtual_services[{index}].fallback.address"), *address, "the fallback".to_owned()));
        }
        for (path, address, what) in targets {
            if layer_4 && self.host.addresses.iter().any(|own| own.address == address) {
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
            }
        }
    }
}
