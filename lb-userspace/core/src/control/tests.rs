//! Control in virtual time, as the daemon drives it: see [`site::Site`].

mod administration;
mod health;
mod hops;
mod leaving;
mod ports;
mod random;
mod reload;
mod restart;
mod sharing;
mod site;
mod slow_start;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use crate as lb;
use crate::tables::{ServerKey, TableOp, consistent, schedulable};
use lb_common::abi::{Server, ServerId, ServerState, Service};
use site::{Answer, DEVICE, Site, Way, ip, mac};

/// A TCP service and one on the same real servers over UDP, in turn.
const TWO: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
defaults: {health_check: {interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80]
    mode: l4-dr
    health_check: {type: connect}
    real_servers:
      - {name: a, address: 10.0.0.1}
      - {name: b, address: 10.0.0.2}
      - {name: c, address: 10.0.0.3}
  - name: syslog
    address: 10.0.0.101
    ports: [514, 6000-6010]
    protocol: udp
    mode: l4-dr
    scheduler: weighted-round-robin
    health_check: {type: connect, port: 22}
    real_servers:
      - {name: a, address: 10.0.0.1}
      - {name: d, address: 10.0.0.4, weight: 50}
";

/// The same, with removed servers cut and not drained.
fn cutting(yaml: &str) -> String {
    yaml.replace("defaults: {", "defaults: {on_removal: cut, ")
}

fn key(service: &str, server: &str) -> ServerKey {
    ServerKey { service: service.to_owned(), server: server.to_owned() }
}

impl Site {
    fn id(&self, service: &str, server: &str) -> ServerId {
        self.control.wanted().server_numbers[&key(service, server)]
    }

    fn entry(&self, service: &str, server: &str) -> Server {
        self.control.installed().servers[&self.id(service, server)]
    }

    fn service_entry(&self, service: &str) -> Service {
        self.control.installed().services[&self.control.wanted().service_numbers[service]]
    }

    fn is_up(&self, service: &str, server: &str) -> bool {
        schedulable(&self.entry(service, server))
    }

    /// Names that ring and turn list of a service hold; both hold the same.
    fn scheduled(&self, service: &str) -> Vec<String> {
        let entry = self.service_entry(service);
        let names = |base, size| {
            let places: BTreeSet<ServerId> = self.control.installed().places(base, size).collect();
            let numbers = &self.control.wanted().server_numbers;
            let named = numbers.iter().filter(|(_, id)| places.contains(id)).map(|(key, _)| key.server.clone());
            let named: Vec<String> = named.collect();
            assert_eq!(named.len(), places.len(), "only known servers are scheduled");
            named
        };
        let ring = names(entry.ring_base, entry.ring_size);
        assert_eq!(ring, names(entry.turns_base, entry.turns_size), "ring and turns differ");
        ring
    }
}

/// The servers that a plan writes.
fn servers_in(plan: &[TableOp]) -> Vec<ServerId> {
    let server = |op: &TableOp| match op {
        TableOp::SetServer { id, .. } => Some(*id),
        _ => None,
    };
    plan.iter().filter_map(server).collect()
}

fn state(entry: &Server) -> ServerState {
    ServerState::from_u8(entry.state)
}
