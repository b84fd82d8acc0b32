use std::collections::BTreeMap;

use lb_common::abi::{Address, PortRange, PortRangesKey, ServicePortKey, filter_bit};

use super::super::samples::{address, service};
use super::{CompileError, Ports, ports};
use crate::config::model::{Protocol, VirtualService};

const VIP: &str = "192.0.2.10";

/// With numbers from 1 on.
fn of(services: &[VirtualService]) -> Result<Ports, CompileError> {
    ports(&(1..).zip(services).collect::<Vec<_>>())
}

fn found(services: &[VirtualService]) -> Ports {
    of(services).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn single_ports_are_keys_and_ranges_of_all_services_of_a_vip_share_an_entry() {
    let mut media = service("media", VIP, &[(554, 554), (50_000, 65_535)], vec![]);
    media.protocol = Protocol::TcpUdp;
    let other = service("other", VIP, &[(8000, 8009)], vec![]);

    let wanted = found(&[media, other]);

    let vip = Address::from(address(VIP));
    let port = |protocol| ServicePortKey { vip, port: 554, protocol, spare: 0 };
    assert_eq!(wanted.service_ports, BTreeMap::from([(port(6), 1), (port(17), 1)]));
    let ranges = |protocol| {
        let entry = &wanted.port_ranges[&PortRangesKey { vip, protocol, spare8: 0, spare16: 0 }];
        entry.ranges[..entry.count as usize].to_vec()
    };
    let (low, high) =
        (PortRange { first: 8000, last: 8009, service: 2 }, PortRange { first: 50_000, last: 65_535, service: 1 });
    assert_eq!(ranges(6), [low, high]);
    assert_eq!(ranges(17), [high]);
    let (word, bit) = filter_bit(&vip);
    assert_eq!(wanted.filter, BTreeMap::from([(word, bit)]));
}

#[test]
fn udp_and_tcp_of_one_port_are_two_services() {
    let mut dns = service("udp", VIP, &[(50, 90)], vec![]);
    dns.protocol = Protocol::Udp;
    let web = service("web", VIP, &[(80, 80)], vec![]);

    let wanted = found(&[web, dns]);

    assert_eq!((wanted.service_ports.len(), wanted.port_ranges.len()), (1, 1));
}

#[test]
fn a_port_belongs_to_one_service_of_a_vip() {
    let cases = [
        ((80, 80), (80, 80), 80),
        ((80, 80), (70, 90), 80),
        ((80, 80), (80, 81), 80),
        ((80, 80), (79, 80), 80),
        ((60, 75), (70, 90), 70),
        ((60, 75), (75, 90), 75),
        ((60, 65_535), (70, 90), 70),
    ];
    for (one, other, taken) in cases {
        let services = [service("one", VIP, &[one], vec![]), service("other", VIP, &[other], vec![])];
        let error = of(&services).map(|_| ());
        assert_eq!(error, Err(CompileError::PortTaken { vip: address(VIP), port: taken }), "{one:?} {other:?}");

        let elsewhere = [service("one", VIP, &[one], vec![]), service("other", "192.0.2.11", &[other], vec![])];
        assert!(of(&elsewhere).is_ok());
    }
    let neighbours = [service("one", VIP, &[(1, 79), (81, 90)], vec![]), service("other", VIP, &[(80, 80)], vec![])];
    assert!(of(&neighbours).is_ok());
}
