//! Source ports of `l4-snat`: who shares which pool.

use super::*;
use crate::control::{Measured, ServerMeasures};
use crate::view::{SourcePorts, Transport};

/// Two services that share a real server's port and the source address, and one with a source of its own.
const SNAT: &str = "
version: 1
node: {interfaces: [{device: eth0}], source_ports: 2000-2999}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80]
    mode: l4-snat
    source_address: vip
    health_check: {type: none}
    real_servers:
      - {name: a, address: 10.0.0.1, port: 8080}
      - {name: b, address: 10.0.0.2, port: 8080}
  - name: gateway
    address: 10.0.0.100
    ports: [443]
    protocol: tcp+udp
    mode: l4-snat
    source_address: vip
    health_check: {type: none}
    real_servers:
      - {name: c, address: 10.0.0.1, port: 8080}
  - name: direct
    address: 10.0.0.101
    ports: [53]
    protocol: udp
    mode: l4-dr
    health_check: {type: none}
    real_servers:
      - {name: a, address: 10.0.0.1}
";

#[test]
fn services_with_the_same_source_and_real_server_share_one_pool_for_each_protocol() {
    let site = Site::new(SNAT);
    let pool = site.control.installed().servers[&site.id("gateway", "c")].pool;
    let pools = site.control.pools(&BTreeMap::from([(pool, 7), (pool + 1, 9)]));
    let of = |protocol| {
        let pools = pools.iter().filter(move |pool| pool.protocol == protocol);
        pools.map(|pool| (&*pool.service, &*pool.server, pool.shared_with.as_deref(), pool.in_use, pool.size))
    };
    let mut tcp: Vec<_> = of(Transport::Tcp).collect();
    tcp.sort_unstable();
    assert_eq!(tcp, [("gateway", "c", Some("web"), 7, 1_000), ("web", "b", None, 0, 1_000)]);
    assert_eq!(of(Transport::Udp).collect::<Vec<_>>(), [("gateway", "c", None, 9, 1_000)]);
    let numbers: BTreeSet<u32> = pools.iter().map(|pool| pool.number).collect();
    assert_eq!(numbers.len(), pools.len(), "a pool is there twice");
}

#[test]
fn a_row_shows_the_ports_of_the_protocols_of_its_service() {
    let site = Site::new(SNAT);
    let measures = ServerMeasures { source_ports: [7, 9], ..ServerMeasures::default() };
    let everybody = ["web/a", "web/b", "gateway/c", "direct/a"].map(|name| {
        let (service, server) = name.split_once('/').unwrap();
        (site.id(service, server), measures)
    });
    let services = site.control.status(&Measured::from(everybody), site.now);
    let ports = |service: usize, server: usize| &services[service].real_servers[server].source_ports[..];
    let tcp = SourcePorts { protocol: Transport::Tcp, in_use: 7, size: 1_000 };
    assert_eq!(ports(0, 0), [tcp]);
    assert_eq!(ports(1, 0), [tcp, SourcePorts { protocol: Transport::Udp, in_use: 9, size: 1_000 }]);
    assert_eq!(ports(2, 0), [], "l4-dr has none");
}
