//! This machine as the kernel describes it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_core::config::model::Fallback;
use lb_core::doctor::{Device, Known, Machine, settings};

use super::ethtool::Ethtool;
use crate::netlink::{self, Surveyed};

/// Reads everything that an examination goes by.
pub(super) async fn read(known: &Known) -> Result<Machine, netlink::Error> {
    let Surveyed { devices, addresses, routes } = netlink::survey(destinations(known)).await?;
    let ethtool = Ethtool::open().ok();
    let devices: Vec<Device> = devices
        .into_iter()
        .map(|(link, mtu, xdp)| {
            // Of the others nothing is to be told, and there may be thousands.
            let is_listed = known.config.node.interfaces.iter().any(|interface| interface.device == link.device);
            let ethtool = ethtool.as_ref().filter(|_| is_listed);
            // Devices without features or driver (a tunnel) refuse to answer.
            let features = ethtool.and_then(|ethtool| ethtool.features(&link.device).ok());
            let driver = ethtool.and_then(|ethtool| ethtool.driver(&link.device).ok());
            Device { link, mtu, xdp, driver, features: features.unwrap_or_default() }
        })
        .collect();
    let settings = super::settings::read(&settings(known, &devices));
    Ok(Machine { devices, addresses, routes, settings })
}

/// Everybody that packets are sent to.
fn destinations(known: &Known) -> BTreeSet<IpAddr> {
    let services = &known.config.virtual_services;
    let real = services.iter().flat_map(|service| service.real_servers.iter().map(|real| real.address));
    let fallback = services.iter().filter_map(|service| match service.fallback {
        Some(Fallback::Server { address, .. }) => Some(address),
        _ => None,
    });
    real.chain(fallback).collect()
}
