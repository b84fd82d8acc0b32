//! The overview: this machine, its virtual services, what its datapath counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::proxied::Proxied;
use super::real_server::RealServer;
use super::words::{CounterAction, Method, Mode, Protocol, Scheduler, ServerState, ServiceState, words};
use crate::config::model;

/// Everything that `lbctl status` and the page show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of this machine.
    pub node: String,
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The daemon that this one took over from, as long as it has connections to finish.
    pub predecessor: Option<Predecessor>,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Where XDP is attached.
    pub interfaces: Vec<Interface>,
    /// In the order of the configuration.
    pub virtual_services: Vec<VirtualService>,
    /// One per reason of the datapath.
    pub counters: Vec<Counter>,
    /// How full the kernel tables are.
    pub tables: Vec<Table>,
    /// New flows beyond the limit of this machine, of all virtual services together.
    pub new_flows_beyond_limit: u64,
    /// What is wrong with this machine itself, one sentence each.
    pub problems: Vec<String>,
}

/// A daemon that was replaced and finishes its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its process.
    pub pid: u32,
    /// Connections that it has left.
    pub connections: u64,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The file it was read from.
    pub path: String,
    /// Since it was read and applied.
    pub loaded_seconds_ago: u64,
    /// How many virtual services it has.
    pub services: u64,
    /// It is rolled back unless it is confirmed within so many seconds; `None`: it stays.
    pub confirm_within_seconds: Option<u64>,
}

words! {
    /// Where on its way through the kernel a packet meets XDP.
    XdpAttachment {
        /// In the driver.
        Native = "native",
        /// In the network stack: works everywhere, slower.
        Generic = "generic",
    }
}

words! {
    /// Whether an interface has its link.
    LinkState {
        /// It has.
        Up = "up",
        /// It has not, or is shut down.
        Down = "down",
    }
}

/// An interface with the datapath on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Kernel name.
    pub device: String,
    /// Kernel index.
    pub ifindex: u32,
    /// How XDP is attached.
    pub xdp: XdpAttachment,
    /// Whether it has its link.
    pub state: LinkState,
}

/// Packets that the datapath treated for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The reason, in kebab case.
    pub reason: String,
    /// What became of the packets.
    pub action: CounterAction,
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the reason means, one sentence.
    pub help: String,
}

/// A kernel table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `flows`, `persistence`, ...
    pub name: String,
    /// Entries in it.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// A virtual service and its real servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualService {
    /// Unique among virtual services.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Sorted ports and ranges: `554,1935,50000-65535`.
    pub ports: String,
    /// Protocol column.
    pub protocol: Protocol,
    /// Method column.
    pub method: Method,
    /// Mode column.
    pub mode: Mode,
    /// Picks a real server for a new flow.
    pub scheduler: Scheduler,
    /// How long an idle client is remembered; `None`: no persistence.
    pub persistence_timeout_seconds: Option<u64>,
    /// Whether it answers.
    pub state: ServiceState,
    /// Why it is not up, one sentence.
    pub reason: Option<String>,
    /// Flows that are established now.
    pub connections: u64,
    /// Packets of its clients.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Flows it ever had.
    pub flows: u64,
    /// Flows whose client has sent one packet: their number is high in a flood of SYN.
    pub half_open: u64,
    /// New flows beyond its limit.
    pub new_flows_beyond_limit: u64,
    /// What the proxy has carried; `None` in layer 4.
    pub proxied: Option<Proxied>,
    /// In the order of the configuration.
    pub real_servers: Vec<RealServer>,
}

impl VirtualService {
    /// A virtual service as the configuration describes it: every count 0, its servers checking.
    #[must_use]
    pub fn described(service: &model::VirtualService) -> Self {
        let real_servers: Vec<_> = service.real_servers.iter().map(RealServer::described).collect();
        let (state, reason) = service_state(&real_servers);
        Self {
            name: service.name.clone(),
            address: service.address,
            ports: ports_text(service),
            protocol: Protocol::of(service),
            method: service.mode.into(),
            mode: service.mode.into(),
            scheduler: service.scheduler.into(),
            persistence_timeout_seconds: service.persistence.as_ref().map(|persistence| persistence.timeout.as_secs()),
            state,
            reason,
            connections: 0,
            packets: 0,
            bytes: 0,
            flows: 0,
            half_open: 0,
            new_flows_beyond_limit: 0,
            proxied: (!service.mode.is_layer_4()).then(Proxied::default),
            real_servers,
        }
    }
}

/// The ports of a service, TLS listener included, sorted.
fn ports_text(service: &model::VirtualService) -> String {
    let mut ranges = service.ports.clone();
    if let Some(tls) = &service.tls {
        ranges.push(model::PortRange { first: tls.port, last: tls.port });
    }
    ranges.sort_unstable();
    let texts: Vec<_> = ranges
        .iter()
        .map(|range| match range.first == range.last {
            true => range.first.to_string(),
            false => format!("{}-{}", range.first, range.last),
        })
        .collect();
    texts.join(",")
}

/// The state of a virtual service with these real servers, and why it is not up.
///
/// What the administrator asked for (drain, halt, weight 0) is not a fault, until nobody is left
/// to take a client.
#[must_use]
pub fn service_state(servers: &[RealServer]) -> (ServiceState, Option<String>) {
    let count = |state| servers.iter().filter(|server| server.state == state).count();
    let total = servers.len();
    let taking = servers.iter().filter(|server| server.state == ServerState::Up && server.weight > 0).count();
    if taking == 0 {
        return (ServiceState::Down, Some(nobody_takes_clients(servers)));
    }
    match count(ServerState::Down) {
        0 => (ServiceState::Up, None),
        1 => (ServiceState::Degraded, Some(format!("1 of {total} real servers is down"))),
        down => (ServiceState::Degraded, Some(format!("{down} of {total} real servers are down"))),
    }
}

fn nobody_takes_clients(servers: &[RealServer]) -> String {
    let mut parts = Vec::new();
    for state in ServerState::ALL {
        let count = servers.iter().filter(|server| server.state == *state && *state != ServerState::Up).count();
        if count > 0 {
            parts.push(format!("{count} {state}"));
        }
    }
    let idle = servers.iter().filter(|server| server.state == ServerState::Up && server.weight == 0).count();
    if idle > 0 {
        parts.push(format!("{idle} up with weight 0"));
    }
    match parts.is_empty() {
        true => "it has no real server".to_owned(),
        false => format!("no real server takes new clients: {}", parts.join(", ")),
    }
}
