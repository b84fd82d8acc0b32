use lb_core::config::{self, Source};

use super::*;

const CONFIGURATION: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
virtual_services:
  - name: web
    address: 192.0.2.10
    ports: [80]
    mode: l4-dr
    health_check: {type: connect}
    real_servers:
      - {name: a, address: 192.0.2.11}
      - {name: b, address: 192.0.2.12}
  - name: mail
    address: 192.0.2.10
    ports: [25]
    mode: l4-dr
    health_check: {type: connect}
    real_servers:
      - {name: a, address: 192.0.2.11}
";

fn services(states: [ServerState; 3]) -> Vec<VirtualService> {
    let source = Source { path: "lb.yaml".into(), text: CONFIGURATION.into() };
    let config = config::load(&[source], &|_| None).unwrap().config;
    let mut services: Vec<_> = config.virtual_services.iter().map(VirtualService::described).collect();
    let servers = services.iter_mut().flat_map(|service| &mut service.real_servers);
    servers.zip(states).for_each(|(server, state)| server.state = state);
    services
}

#[test]
fn the_line_counts_services_and_servers_by_state() {
    use ServerState::{Checking, Down, Up};
    for (states, problems, line) in [
        ([Up, Up, Up], 0, "2 virtual services; real servers: 3 up"),
        ([Up, Down, Up], 0, "2 virtual services; real servers: 2 up, 1 down"),
        ([Checking, Checking, Checking], 0, "2 virtual services; real servers: 3 checking"),
        ([Up, Up, Up], 1, "2 virtual services; real servers: 3 up; 1 problem, see `lbctl status`"),
        ([Down, Up, Down], 2, "2 virtual services; real servers: 1 up, 2 down; 2 problems, see `lbctl status`"),
    ] {
        assert_eq!(status_line(&services(states), problems), line);
    }
    assert_eq!(status_line(&services([Up, Up, Up])[1..], 0), "1 virtual service; real servers: 1 up");
    assert_eq!(status_line(&[], 0), "0 virtual services");
}
