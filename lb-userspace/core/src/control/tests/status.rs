//! The overview.

use std::time::Duration;

use super::*;
use crate::control::{Measured, ServerMeasures};
use crate::view::{self, NextHop, ServiceState};

#[test]
fn a_service_with_everything_up_is_described_in_full() {
    let mut site = Site::new(TWO);
    site.run(Duration::from_secs(8));
    let measures = ServerMeasures {
        packets: 10,
        bytes: 1000,
        flows: 3,
        connections: 2,
        persistent_clients: 1,
        reply_packets: 9,
        reply_bytes: 900,
        source_ports: [5, 6],
    };
    let measured = Measured::from([(site.id("syslog", "a"), measures), (site.id("syslog", "d"), measures)]);

    let services = site.control.status(&measured, site.now);

    assert_eq!(services.iter().map(|s| &s.name[..]).collect::<Vec<_>>(), ["web", "syslog"]);
    let [web, syslog] = &services[..] else { panic!("{services:?}") };
    assert_eq!((web.state, &web.reason, web.packets), (ServiceState::Up, &None, 0));
    assert_eq!(syslog.ports, "514,6000-6010");
    assert_eq!((syslog.connections, syslog.packets, syslog.bytes, syslog.flows), (4, 20, 2000, 6));
    let d = &syslog.real_servers[1];
    assert_eq!((&d.name[..], d.address, d.port, d.weight), ("d", ip("10.0.0.4"), None, 50));
    assert_eq!((d.connections, d.packets, d.bytes, d.flows, d.persistent_clients), (2, 10, 1000, 3, 1));
    assert_eq!((d.reply_packets, d.reply_bytes), (9, 900));
    assert_eq!(d.source_ports, [], "l4-dr has none");
    assert_eq!((d.state, &d.reason[..]), (view::ServerState::Up, "10.0.0.4:22 answered in 1 ms"));
    assert!((9..=10).contains(&d.since_seconds), "{}", d.since_seconds);
    let hop = NextHop { device: "eth0".to_owned(), mac: "06:00:0a:00:00:04".to_owned(), gateway: None };
    assert_eq!(d.next_hop, Some(hop));
}

#[test]
fn a_server_that_is_down_says_why_and_since_when() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(Duration::from_secs(2));
    site.run(Duration::from_secs(60));
    let services = site.control.status(&Measured::new(), site.now);
    let web = &services[0];
    assert_eq!(web.state, ServiceState::Degraded);
    assert_eq!(web.reason.as_deref(), Some("1 of 3 real servers is down"));
    let b = &web.real_servers[1];
    assert_eq!(b.state, view::ServerState::Down);
    assert!(b.reason.starts_with("connection refused by 10.0.0.2:80"), "{}", b.reason);
    assert!((60..=62).contains(&b.since_seconds), "{}", b.since_seconds);
    assert_eq!(services[1].state, ServiceState::Up);
}

#[test]
fn nobody_left_is_said_at_the_service() {
    let mut site = Site::new(TWO);
    for server in 1..=3 {
        site.answer(&format!("10.0.0.{server}"), Answer::Refused);
    }
    site.run(Duration::from_secs(3));
    let web = &site.control.status(&Measured::new(), site.now)[0];
    assert_eq!(web.state, ServiceState::Down);
    assert_eq!(web.reason.as_deref(), Some("no real server takes new clients: 3 down"));
}

#[test]
fn before_the_first_check_a_server_is_being_checked() {
    let mut site = Site::before_start(TWO);
    site.answer("10.0.0.1", Answer::Silent);
    site.start();
    site.run(Duration::from_millis(100));
    let web = &site.control.status(&Measured::new(), site.now)[0];
    assert_eq!(web.real_servers[0].state, view::ServerState::Checking);
    assert_eq!(web.real_servers[0].reason, "the first check of 10.0.0.1:80 has not ended yet");
}

#[test]
fn a_server_that_is_not_checked_says_so() {
    let site = Site::new(&TWO.replace("type: connect, port: 22", "type: none").replace("type: connect", "type: none"));
    let web = &site.control.status(&Measured::new(), site.now)[0];
    assert_eq!(web.real_servers[0].state, view::ServerState::Up);
    assert_eq!(web.real_servers[0].reason, "it is not checked");
}
