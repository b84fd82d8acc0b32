//! What configuration checks learn of the machine, in a network namespace.

use lb_core::config::model::PortRange;
use lb_core::config::{HostAddress, Loaded, Source, check_against_host, load};
use lb_userspace::config_files::host_facts;
use lb_userspace::netlink::Host;

use super::ip;
use super::lab::Lab;

#[test]
fn configuration_checks_see_the_addresses_of_the_current_namespace() {
    let lab = Lab::new();
    lab.run(|| async {
        let addresses = Host::read().await.unwrap().own_addresses();
        for (device, address, prefix) in [("lb0", "192.0.2.1", 24), ("lb0", "2001:db8::1", 64), ("lo", "127.0.0.1", 8)]
        {
            let expected = HostAddress { device: device.into(), address: ip(address), prefix };
            assert!(addresses.contains(&expected), "{addresses:?}");
        }
        assert!(addresses.iter().all(|entry| ["lb0", "lo"].contains(&entry.device.as_str())), "{addresses:?}");
    });
}

#[test]
fn configuration_checks_see_the_local_ports_of_the_current_namespace() {
    let lab = Lab::new();
    lab.run(|| async {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 30000").unwrap();
        let facts = host_facts().unwrap();
        assert_eq!(facts.local_ports, PortRange { first: 20000, last: 30000 });
        let source = Source { path: "lb.yaml".into(), text: SNAT.into() };
        let Loaded { config, places, .. } = load(&[source], &|_| None).unwrap();
        let found = check_against_host(&config, &places, &facts);
        let found: Vec<_> = found.iter().map(|diagnostic| diagnostic.code.id()).collect();
        assert_eq!(found, ["E042"]);
    });
}

const SNAT: &str = "
version: 1
node: {interfaces: [{device: lb0}]}
virtual_services:
  - {name: web, address: 192.0.2.80, ports: [80], mode: l4-snat, real_servers: [{name: a, address: 192.0.2.2}]}
";
