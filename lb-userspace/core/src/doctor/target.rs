//! Who packets are sent to: real servers and fallback servers of the configuration.

use std::net::IpAddr;

use super::facts::Known;
use crate::config::model::{Config, Fallback, Mode, VirtualService};
use crate::tables::{FALLBACK, ServerKey};

/// A server of a virtual service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'c> {
    pub(super) service: &'c VirtualService,
    pub(super) name: &'c str,
    pub(super) address: IpAddr,
    /// `None`: the port the client used.
    pub(super) port: Option<u16>,
}

/// The servers of which something is expected.
pub(super) fn on_duty(known: &Known) -> impl Iterator<Item = Target<'_>> {
    targets(&known.config).filter(|target| !known.halted.contains(&target.key()))
}

/// The servers of the layer 4 services, in the order of the configuration.
pub(super) fn targets(config: &Config) -> impl Iterator<Item = Target<'_>> {
    let services = config.virtual_services.iter().filter(|service| is_layer_4(service.mode));
    services.flat_map(|service| {
        let real = service.real_servers.iter();
        let real = real.map(move |real| Target { service, name: &real.name, address: real.address, port: real.port });
        let fallback = match &service.fallback {
            Some(Fallback::Server { address, port }) => {
                Some(Target { service, name: FALLBACK, address: *address, port: *port })
            }
            Some(Fallback::Page(_) | Fallback::Redirect(_)) | None => None,
        };
        real.chain(fallback)
    })
}

pub(super) fn is_layer_4(mode: Mode) -> bool {
    matches!(mode, Mode::L4Dr | Mode::L4Nat | Mode::L4Snat)
}

impl Target<'_> {
    pub(super) fn key(&self) -> ServerKey {
        ServerKey { service: self.service.name.clone(), server: self.name.to_owned() }
    }

    /// The port that its health check asks, where clients use it too; else the first of the service.
    pub(super) fn asked_port(&self) -> u16 {
        let real = self.service.real_servers.iter().find(|real| real.name == self.name);
        let checked = real.and_then(|real| self.service.check_port(real));
        let is_served = |port: &u16| self.service.ports.iter().any(|range| (range.first..=range.last).contains(port));
        checked.filter(is_served).unwrap_or(self.service.first_port)
    }
}
