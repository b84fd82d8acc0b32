//! A machine on an ordinary day and on a bad one.

use lb_core::view::{
    Administration, AdministrativeState, Configuration, Counter, CounterAction, Interface, LinkState, Method, Mode,
    Protocol, RealServer, Scheduler, ServerState, Status, Table, VirtualService, XdpAttachment, service_state,
};

pub(in crate::cli) fn server(
    name: &str,
    address: &str,
    port: Option<u16>,
    state: ServerState,
    reason: &str,
) -> RealServer {
    RealServer {
        name: name.into(),
        address: address.parse().unwrap(),
        port,
        weight: 100,
        connections: if state == ServerState::Up { 1_204 } else { 0 },
        packets: 50_000,
        bytes: 5_000_000,
        flows: 4_000,
        reply_packets: 0,
        reply_bytes: 0,
        source_ports: vec![],
        state,
        reason: reason.into(),
        since_seconds: 192,
        persistent_clients: 0,
        administration: None,
        backup: false,
        leaving: false,
        next_hop: None,
    }
}

pub(in crate::cli) fn service(name: &str, address: &str, ports: &str, real_servers: Vec<RealServer>) -> VirtualService {
    let (state, reason) = service_state(&real_servers);
    VirtualService {
        name: name.into(),
        address: address.parse().unwrap(),
        ports: ports.into(),
        protocol: Protocol::Tcp,
        method: Method::Layer7,
        mode: Mode::Proxy,
        scheduler: Scheduler::WeightedLeastConnection,
        persistence_timeout_seconds: None,
        state,
        reason,
        connections: real_servers.iter().map(|server| server.connections).sum(),
        packets: 100_000,
        bytes: 10_000_000,
        flows: 8_000,
        half_open: 60,
        new_flows_beyond_limit: 0,
        proxied: None,
        real_servers,
    }
}

pub(in crate::cli) fn counter(reason: &str, action: CounterAction, packets: u64, help: &str) -> Counter {
    Counter { reason: reason.into(), action, packets, bytes: packets * 60, help: help.into() }
}

pub(in crate::cli) fn good_day() -> Status {
    let answered = "answered 200 OK in 3 ms";
    let mut traffic = service(
        "Harmonic_Traffic",
        "192.168.94.110",
        "554,1935,50000-65535",
        vec![
            server("HT1", "192.168.94.115", None, ServerState::Up, answered),
            server("HT2", "192.168.94.116", None, ServerState::Up, answered),
        ],
    );
    traffic.protocol = Protocol::TcpUdp;
    traffic.method = Method::Layer4;
    traffic.mode = Mode::Dr;
    traffic.persistence_timeout_seconds = Some(300);
    let hl7 = service(
        "HL7",
        "172.26.11.71",
        "2575",
        vec![server("IMS1", "172.26.11.101", Some(2575), ServerState::Up, "answers ping")],
    );
    Status {
        node: "lb1".into(),
        version: "0.1.0".into(),
        pid: 7,
        predecessor: None,
        uptime_seconds: 273_840,
        configuration: Configuration {
            path: "/etc/lb/lb.yaml".into(),
            loaded_seconds_ago: 723,
            services: 2,
            confirm_within_seconds: None,
        },
        interfaces: vec![
            Interface { device: "eth0".into(), ifindex: 2, xdp: XdpAttachment::Native, state: LinkState::Up },
            Interface { device: "eth1".into(), ifindex: 3, xdp: XdpAttachment::Generic, state: LinkState::Up },
        ],
        virtual_services: vec![traffic, hl7],
        counters: vec![
            counter("no-service", CounterAction::Pass, 9_000, "The packet is for no virtual service."),
            counter("no-real-server", CounterAction::Drop, 0, "No real server takes clients."),
        ],
        tables: vec![
            Table { name: "flows".into(), entries: 3_612, capacity: 1_048_576 },
            Table { name: "persistence".into(), entries: 80, capacity: 262_144 },
        ],
        new_flows_beyond_limit: 0,
        problems: vec![],
    }
}

pub(in crate::cli) fn bad_day() -> Status {
    let refused = "connection to 192.168.94.116:8443 refused; last good 2026-03-02 03:10:44 UTC";
    let mut status = good_day();
    let traffic = &mut status.virtual_services[0];
    traffic.real_servers = vec![
        server("HT1", "192.168.94.115", None, ServerState::Up, "answered 200 OK in 3 ms"),
        server("HT2", "192.168.94.116", None, ServerState::Down, refused),
        server("HT3", "192.168.94.117", None, ServerState::Draining, "drained; answered 200 OK in 3 ms"),
        server("HT4", "192.168.94.118", None, ServerState::Halted, "halted"),
        server("HT5", "192.168.94.119", None, ServerState::Checking, "1 of 2 checks passed"),
    ];
    order(&mut traffic.real_servers[2], AdministrativeState::Drained, None, 192);
    order(&mut traffic.real_servers[3], AdministrativeState::Halted, None, 90_000);
    (traffic.state, traffic.reason) = service_state(&traffic.real_servers);
    status.counters[1].packets = 1_234;
    status.counters.push(counter("truncated", CounterAction::Drop, 7, "The packet ends before its headers do."));
    status.tables[0].entries = 900_000;
    status
}

/// When the pages are looked at.
pub(in crate::cli) const NOW: u64 = 1_795_230_729;

fn order(server: &mut RealServer, state: AdministrativeState, weight: Option<u16>, seconds_ago: u64) {
    server.administration = Some(Administration { state, weight, by: "alice (uid 0)".into(), at: NOW - seconds_ago });
}

/// Every order there is, servers that leave and backups, and a configuration to be confirmed.
pub(super) fn administered() -> Status {
    let mut status = bad_day();
    status.configuration.confirm_within_seconds = Some(42);
    let answers = "answered 200 OK in 3 ms";
    let servers = &mut status.virtual_services[0].real_servers;
    (servers[0].weight, servers[1].weight) = (50, 0);
    order(&mut servers[0], AdministrativeState::Online, Some(50), 7);
    order(&mut servers[1], AdministrativeState::Online, None, 7);
    order(&mut servers[2], AdministrativeState::Drained, Some(10), 192);
    (servers[2].connections, servers[2].persistent_clients, servers[2].weight) = (14, 3, 10);
    servers[4].backup = true;
    let mut leaving = server("HT0", "192.168.94.114", None, ServerState::Draining, answers);
    (leaving.leaving, leaving.connections) = (true, 14);
    let mut left_alone = server("HT00", "192.168.94.113", None, ServerState::Up, "");
    (left_alone.leaving, left_alone.connections, left_alone.persistent_clients) = (true, 1, 1);
    servers.extend([leaving, left_alone]);
    status
}
