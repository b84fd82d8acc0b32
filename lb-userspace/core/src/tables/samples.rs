//! Configurations for tests.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Admin, Health, NextHop, ServerInput, ServerKey};
use crate::config::model::{
    Config, HealthCheck, Interface, Limits, Mode, Node, PortRange, Probe, Protocol, RealServer, Scheduler,
    VirtualService, XdpMode,
};

pub(super) const TICK: Duration = Duration::from_secs(1);

pub(super) fn config(virtual_services: Vec<VirtualService>) -> Config {
    Config {
        node: Node {
            name: None,
            interfaces: vec![Interface { device: "eth0".to_owned(), xdp: XdpMode::Auto }],
            limits: Limits::default(),
            flow_timeouts: crate::config::model::FlowTimeouts::default(),
            source_ports: crate::config::model::Node::SOURCE_PORTS,
            metrics_address: None,
            proxy: crate::config::model::ProxyNode::default(),
        },
        certificates: BTreeMap::new(),
        high_availability: None,
        virtual_services,
    }
}

/// An `l4-dr` service on TCP; a port is a range from itself to itself.
pub(super) fn service(name: &str, vip: &str, ports: &[(u16, u16)], real_servers: Vec<RealServer>) -> VirtualService {
    VirtualService {
        name: name.to_owned(),
        address: address(vip),
        interface: None,
        ports: ports.iter().map(|(first, last)| PortRange { first: *first, last: *last }).collect(),
        first_port: ports.first().map_or(80, |(first, _)| *first),
        protocol: Protocol::Tcp,
        mode: Mode::L4Dr,
        source_address: crate::config::model::SourceAddress::Auto,
        new_flows_per_second: None,
        scheduler: Scheduler::WeightedLeastConnection,
        persistence: None,
        health_check: check(Probe::Connect),
        slow_start: Duration::ZERO,
        on_removal: crate::config::model::OnRemoval::Drain,
        proxy: crate::config::model::Proxy::default(),
        http: None,
        tls: None,
        fallback: None,
        real_servers,
    }
}

pub(super) fn real(name: &str, ip: &str) -> RealServer {
    RealServer {
        name: name.to_owned(),
        address: address(ip),
        port: None,
        weight: 100,
        min_connections: 0,
        max_connections: 0,
        backup: false,
        pool: None,
        proxy_protocol: None,
        http_version: crate::config::model::HttpVersion::Http1,
        tls: None,
        redirect: None,
        health_check: None,
    }
}

pub(super) fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        port: None,
        interval: 4 * TICK,
        timeout: 2 * TICK,
        rise: 2,
        fall: 2,
        flap_damping: true,
        proxy_protocol: None,
    }
}

pub(super) fn key(service: &str, server: &str) -> ServerKey {
    ServerKey { service: service.to_owned(), server: server.to_owned() }
}

pub(super) fn up() -> ServerInput {
    let next_hop = NextHop {
        ifindex: 7,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        outer_vlan: 0,
        inner_vlan: 0,
        source: Some(lb_common::abi::Address::v4([192, 0, 2, 2])),
    };
    ServerInput { admin: Admin::Online, health: Health::Up, next_hop: Some(next_hop), weight: None, full: false }
}

/// Every real server and every fallback server is up.
pub(super) fn all_up(config: &Config) -> BTreeMap<ServerKey, ServerInput> {
    let identities = config.virtual_services.iter().flat_map(super::roster::identities);
    identities.map(|identity| (key(&identity.service, &identity.server), up())).collect()
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}
