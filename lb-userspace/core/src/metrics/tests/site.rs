//! A small site in which every family has a sample.

use lb_common::datapath::{Kind, Reason};

use super::{
    Duration, EventCount, EventKind, Extra, HealthState, LinkState, Process, Reloads, ServerState, ServiceState,
    Severity,
};
use crate::view::{
    Check, Configuration, Counter, CounterAction, HealthList, Interface, Method, Mode, Protocol, Proxied, ProxyFailure,
    RealServer, Sample, Scheduler, SourcePorts, Status, Table, Transport, VirtualService, XdpAttachment,
};

/// What [`crate::metrics::render`] takes.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) status: Status,
    pub(super) health: HealthList,
    pub(super) extra: Extra,
}

pub(super) fn site() -> Site {
    let mut media = service("media", "192.168.94.110");
    let ht1 = RealServer {
        connections: 3,
        packets: u64::MAX,
        bytes: 30_000,
        flows: 30,
        persistent_clients: 5,
        reply_packets: 40,
        reply_bytes: 40_000,
        source_ports: vec![
            SourcePorts { protocol: Transport::Tcp, in_use: 12, size: 31_744 },
            SourcePorts { protocol: Transport::Udp, in_use: 31_744, size: 31_744 },
        ],
        ..server("HT1", "192.168.94.115", None)
    };
    let ht2 = RealServer { state: ServerState::Down, ..server("HT2", "192.168.94.116", None) };
    media.real_servers = vec![ht1, ht2];
    // Not of layer 4, as it is: it has a series of every family.
    media.proxied = Some(Proxied {
        clients: 3,
        accepted: 9,
        failures: vec![ProxyFailure { reason: "no-server".to_owned(), count: 2, help: String::new() }],
        ..Proxied::default()
    });
    (media.half_open, media.new_flows_beyond_limit) = (4, 90);
    (media.connections, media.packets, media.bytes, media.flows) = (7, 1_000, 64_000, 70);
    let failing = Check {
        state: HealthState::Down,
        last_good_seconds: None,
        failures: 4,
        ..check("media", "HT2", "192.168.94.116")
    };
    Site {
        status: Status {
            node: "lb1".to_owned(),
            version: "0.1.0".to_owned(),
            pid: 7,
            predecessor: None,
            uptime_seconds: 9_999,
            configuration: Configuration {
                path: "/etc/lb/lb.yaml".to_owned(),
                loaded_seconds_ago: 1_000,
                services: 1,
                confirm_within_seconds: Some(30),
            },
            interfaces: vec![Interface {
                device: "eth0".to_owned(),
                ifindex: 2,
                xdp: XdpAttachment::Generic,
                state: LinkState::Up,
            }],
            virtual_services: vec![media],
            counters: counters(),
            tables: vec![Table { name: "flows".to_owned(), entries: 7, capacity: 1_000_000 }],
            new_flows_beyond_limit: 33,
            problems: vec!["interface eth1 is gone".to_owned()],
        },
        health: HealthList {
            checks: vec![check("media", "HT1", "192.168.94.115"), failing],
            under_way: 2,
            latest_start_ms: 125,
        },
        extra: extra(),
    }
}

pub(super) fn extra() -> Extra {
    Extra {
        at: 1_700_000_000,
        reloads: Reloads { succeeded: 2, failed: 1, last_failed: true, last_success_at: 1_699_999_000 },
        last_sweep: Some(Duration::from_millis(250)),
        events: vec![
            EventCount { kind: EventKind::Health, severity: Severity::Warning, count: 4 },
            EventCount { kind: EventKind::Health, severity: Severity::Warning, count: 5 },
        ],
        process: Some(Process {
            started_at_ms: 1_699_990_000_500,
            cpu: Duration::from_millis(12_340),
            virtual_bytes: 1 << 30,
            resident_bytes: 1 << 24,
            open_files: 40,
            max_files: Some(1_024),
        }),
    }
}

/// A counter of every reason, each with another number.
fn counters() -> Vec<Counter> {
    let counter = |(at, reason): (u64, &Reason)| Counter {
        reason: reason.name().to_owned(),
        action: match reason.kind() {
            Kind::Pass => CounterAction::Pass,
            Kind::Forward => CounterAction::Forward,
            Kind::Drop => CounterAction::Drop,
        },
        packets: at,
        bytes: at * 100,
        help: reason.help().to_owned(),
    };
    (0..).zip(Reason::ALL).map(counter).collect()
}

/// A service without servers.
pub(super) fn service(name: &str, address: &str) -> VirtualService {
    VirtualService {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        ports: "554,50000-65535".to_owned(),
        protocol: Protocol::TcpUdp,
        method: Method::Layer4,
        mode: Mode::Dr,
        scheduler: Scheduler::WeightedRoundRobin,
        persistence_timeout_seconds: None,
        state: ServiceState::Degraded,
        reason: None,
        connections: 0,
        packets: 0,
        bytes: 0,
        flows: 0,
        half_open: 0,
        new_flows_beyond_limit: 0,
        proxied: None,
        real_servers: vec![],
    }
}

/// A server that is up.
pub(super) fn server(name: &str, address: &str, port: Option<u16>) -> RealServer {
    RealServer {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        port,
        weight: 100,
        connections: 0,
        packets: 0,
        bytes: 0,
        flows: 0,
        reply_packets: 0,
        reply_bytes: 0,
        source_ports: vec![],
        state: ServerState::Up,
        reason: String::new(),
        since_seconds: 0,
        persistent_clients: 0,
        administration: None,
        backup: false,
        leaving: false,
        next_hop: None,
    }
}

/// A check that is good.
pub(super) fn check(service: &str, server: &str, address: &str) -> Check {
    Check {
        service: service.to_owned(),
        server: server.to_owned(),
        address: address.parse().unwrap(),
        port: Some(554),
        check: "connect".to_owned(),
        interval_ms: 4_000,
        timeout_ms: 2_000,
        state: HealthState::Up,
        since_seconds: 60,
        reason: "it answers".to_owned(),
        last_good_seconds: Some(3),
        successes: 15,
        failures: 0,
        rise: 2,
        fall: 2,
        history: vec![
            Sample { ago_ms: 3_000, good: true, took_ms: 1.5 },
            Sample { ago_ms: 7_000, good: true, took_ms: 900.0 },
        ],
        shared_with: vec![],
    }
}
