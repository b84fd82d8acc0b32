//! Which address and port belongs to which service: `vip_filter`, `service_ports`, `port_ranges`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::abi::{
    Address, MAX_PORT_RANGES, MAX_SERVICE_PORTS, PortRange, PortRanges, PortRangesKey, ServiceId, ServicePortKey,
    filter_bit,
};

use super::compile::CompileError;
use crate::config::model::{Protocol, VirtualService};

/// The three tables.
#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) filter: BTreeMap<u32, u64>,
    pub(super) service_ports: BTreeMap<ServicePortKey, ServiceId>,
    pub(super) port_ranges: BTreeMap<PortRangesKey, PortRanges>,
}

/// Ports and ranges of all services. Ranges of several services on one VIP share an entry.
pub(super) fn ports(services: &[(ServiceId, &VirtualService)]) -> Result<Ports, CompileError> {
    let mut ports = Ports::default();
    let mut ranges: BTreeMap<PortRangesKey, Vec<PortRange>> = BTreeMap::new();
    for (id, service) in services {
        let vip = Address::from(service.address);
        let (word, bit) = filter_bit(&vip);
        *ports.filter.entry(word).or_default() |= bit;
        for &protocol in protocols(service.protocol) {
            for range in &service.ports {
                if range.first == range.last {
                    let key = ServicePortKey { vip, port: range.first, protocol, spare: 0 };
                    if ports.service_ports.insert(key, *id).is_some() {
                        return Err(taken(vip, range.first));
                    }
                } else {
                    let key = PortRangesKey { vip, protocol, spare8: 0, spare16: 0 };
                    let entry = PortRange { first: range.first, last: range.last, service: *id };
                    ranges.entry(key).or_default().push(entry);
                }
            }
        }
    }
    for (key, ranges) in ranges {
        let entry = merged(&key, ranges, &ports.service_ports)?;
        ports.port_ranges.insert(key, entry);
    }
    limited("single ports", ports.service_ports.len())?;
    limited("VIPs with port ranges", ports.port_ranges.len())?;
    Ok(ports)
}

fn merged(
    key: &PortRangesKey,
    mut ranges: Vec<PortRange>,
    single: &BTreeMap<ServicePortKey, ServiceId>,
) -> Result<PortRanges, CompileError> {
    if ranges.len() > MAX_PORT_RANGES {
        let (vip, protocol) = (IpAddr::from(key.vip), protocol_name(key.protocol));
        return Err(CompileError::TooManyRanges { vip, protocol, ranges: ranges.len() });
    }
    ranges.sort_by_key(|range| range.first);
    if let Some(pair) = ranges.windows(2).find(|pair| pair[1].first <= pair[0].last) {
        return Err(taken(key.vip, pair[1].first));
    }
    for range in &ranges {
        let at = |port| ServicePortKey { vip: key.vip, port, protocol: 0, spare: 0 };
        let inside = single.range(at(range.first)..).take_while(|(k, _)| k.vip == key.vip && k.port <= range.last);
        if let Some((k, _)) = inside.into_iter().find(|(k, _)| k.protocol == key.protocol) {
            return Err(taken(key.vip, k.port));
        }
    }
    let mut entry = PortRanges::default();
    for (slot, range) in entry.ranges.iter_mut().zip(ranges) {
        *slot = range;
        entry.count += 1;
    }
    Ok(entry)
}

fn taken(vip: Address, port: u16) -> CompileError {
    CompileError::PortTaken { vip: vip.into(), port }
}

fn limited(things: &'static str, count: usize) -> Result<(), CompileError> {
    if count > MAX_SERVICE_PORTS as usize {
        return Err(CompileError::TooManyPorts { things, count });
    }
    Ok(())
}

fn protocols(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => &[TCP],
        Protocol::Udp => &[UDP],
        Protocol::TcpUdp => &[TCP, UDP],
    }
}

fn protocol_name(protocol: u8) -> &'static str {
    if protocol == UDP { "UDP" } else { "TCP" }
}

/// IANA protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

#[cfg(test)]
mod tests;
