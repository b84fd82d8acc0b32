//! What a change of the configuration does to flows that are alive.
//!
//! In: two configurations. Out: each virtual service and real server whose flows or clients a reload
//! from one to the other would touch, and how. Absent: how many there are, which the running daemon
//! knows, and what the change is in detail, which is [`super::diff`]'s.
//!
//! A real server is the same one as long as its service, name, address and port are
//! (`tables::ids`). A flow is found before its service is (`datapath::flow`), so a port that is no
//! longer served refuses new flows, and those it has go on until they end. A proxied connection goes on under
//! the settings that it began with; its requests that are yet to come are treated by the new ones.

mod sentence;

use serde::Serialize;

use crate::config::model::{Config, Mode, OnRemoval, PortRange, Protocol, RealServer, VirtualService};
use crate::config::values::print_duration;
use crate::config::words::Word;

/// A virtual service or real server that a reload would touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// The virtual service.
    pub service: String,
    /// One of its real servers; `None`: all of them.
    pub server: Option<String>,
    /// What happens to it.
    #[serde(flatten)]
    pub touch: Touch,
    /// What that means for the flows it has.
    pub flows: Flows,
    /// What that means for the clients that would come back to a real server.
    pub clients: Clients,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "touch", rename_all = "kebab-case")]
pub enum Touch {
    /// The virtual service goes.
    ServiceRemoved {
        /// What the configuration in force says of its flows.
        on_removal: OnRemoval,
    },
    /// The real server goes.
    ServerRemoved {
        /// What the new configuration says of its flows.
        on_removal: OnRemoval,
    },
    /// The real server has another address or port, and so is another one.
    ServerMoved {
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
        /// What the new configuration says of its flows.
        on_removal: OnRemoval,
    },
    /// The virtual service has another address.
    AddressChanged {
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
    },
    /// Traffic gets to the real servers in another way.
    ModeChanged {
        /// As it was.
        from: String,
        /// As it is.
        to: String,
    },
    /// Ports are no longer served.
    PortsClosed {
        /// Which, sorted: `554,8000-8080`.
        ports: String,
    },
    /// A transport protocol is no longer served.
    ProtocolClosed {
        /// `tcp` or `udp`.
        protocol: String,
    },
    /// Clients are no longer kept on their real servers.
    PersistenceEnded,
    /// What identifies a client is another thing.
    PersistenceRegrouped,
    /// Clients are kept from now on, or for another time.
    PersistenceTime {
        /// How long.
        timeout: String,
    },
    /// New flows are placed by another rule.
    Scheduling,
    /// New flows come in another proportion, or within other limits.
    Share,
    /// New flows come to the real servers from another address (`l4-snat`, layer 7).
    SourceAddress {
        /// As it was typed.
        from: String,
        /// As it is.
        to: String,
    },
    /// The health check is another one.
    Check,
    /// New connections and requests are treated in another way (layer 7).
    Settings,
}

/// What becomes of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flows {
    /// Nothing.
    Stay,
    /// They go on until they end; no new one comes.
    Finish,
    /// They are cut.
    Cut,
}

/// What becomes of clients that would come back to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clients {
    /// Nothing.
    Stay,
    /// Their next flow is placed anew.
    Move,
    /// Nobody is left who would know them.
    Forgotten,
}

/// How many there are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Flows.
    pub connections: u64,
    /// Clients that would come back.
    pub persistent_clients: u64,
}

/// Everything that a reload from `old` to `new` would touch, in the order of `old`.
pub fn impact(old: &Config, new: &Config) -> Vec<Touched> {
    let mut touched = Vec::new();
    for service in &old.virtual_services {
        match new.virtual_services.iter().find(|other| other.name == service.name) {
            Some(next) => {
                let keeps_vip = new.virtual_services.iter().any(|other| other.address == service.address);
                service_changes(service, next, keeps_vip, &mut touched);
                server_changes(service, next, &mut touched);
            }
            None => touched.push(Touched {
                service: service.name.clone(),
                server: None,
                touch: Touch::ServiceRemoved { on_removal: service.on_removal },
                flows: removed(service.on_removal),
                clients: Clients::Forgotten,
            }),
        }
    }
    touched
}

fn service_changes(old: &VirtualService, new: &VirtualService, keeps_vip: bool, touched: &mut Vec<Touched>) {
    let mut push = |touch, flows, clients| {
        touched.push(Touched { service: old.name.clone(), server: None, touch, flows, clients });
    };
    let are_proxied = !old.mode.is_layer_4() && !new.mode.is_layer_4();
    if old.mode != new.mode {
        let (from, to) = (old.mode.word().to_owned(), new.mode.word().to_owned());
        // From one proxy to the other, what is there goes on as it began.
        let flows = if are_proxied { Flows::Finish } else { Flows::Cut };
        push(Touch::ModeChanged { from, to }, flows, Clients::Move);
    }
    if old.address != new.address {
        let (from, to) = (old.address.to_string(), new.address.to_string());
        let flows = if keeps_vip { Flows::Finish } else { Flows::Cut };
        push(Touch::AddressChanged { from, to }, flows, Clients::Stay);
    }
    let closed = without(&listeners(old), &listeners(new));
    if !closed.is_empty() {
        push(Touch::PortsClosed { ports: list(&closed) }, Flows::Finish, Clients::Stay);
    }
    for (protocol, carries) in [("tcp", carries_tcp as fn(Protocol) -> bool), ("udp", carries_udp)] {
        if carries(old.protocol) && !carries(new.protocol) {
            push(Touch::ProtocolClosed { protocol: protocol.to_owned() }, Flows::Finish, Clients::Stay);
        }
    }
    match (&old.persistence, &new.persistence) {
        (Some(_), None) => push(Touch::PersistenceEnded, Flows::Stay, Clients::Move),
        (Some(was), Some(is)) if (&was.by, was.prefix_v4, was.prefix_v6) != (&is.by, is.prefix_v4, is.prefix_v6) => {
            push(Touch::PersistenceRegrouped, Flows::Stay, Clients::Move);
        }
        (was, Some(is)) if was.as_ref().map(|was| was.timeout) != Some(is.timeout) => {
            push(Touch::PersistenceTime { timeout: print_duration(is.timeout) }, Flows::Stay, Clients::Stay);
        }
        (None | Some(_), None | Some(_)) => {}
    }
    if (old.scheduler, old.slow_start) != (new.scheduler, new.slow_start) {
        push(Touch::Scheduling, Flows::Stay, Clients::Stay);
    }
    // Each flow carries its own source address, and keeps it.
    let both_choose = are_proxied || (old.mode, new.mode) == (Mode::L4Snat, Mode::L4Snat);
    if both_choose && old.source_address != new.source_address {
        let (from, to) = (old.source_address.to_string(), new.source_address.to_string());
        push(Touch::SourceAddress { from, to }, Flows::Stay, Clients::Stay);
    }
    if old.new_flows_per_second != new.new_flows_per_second {
        push(Touch::Share, Flows::Stay, Clients::Stay);
    }
    if old.health_check != new.health_check {
        push(Touch::Check, Flows::Stay, Clients::Stay);
    }
    if are_proxied && (&old.proxy, &old.http, &old.tls) != (&new.proxy, &new.http, &new.tls) {
        push(Touch::Settings, Flows::Stay, Clients::Stay);
    }
}

fn server_changes(old: &VirtualService, new: &VirtualService, touched: &mut Vec<Touched>) {
    let on_removal = new.on_removal;
    for server in &old.real_servers {
        let mut push = |touch, flows, clients| {
            let (service, server) = (old.name.clone(), Some(server.name.clone()));
            touched.push(Touched { service, server, touch, flows, clients });
        };
        let Some(next) = new.real_servers.iter().find(|other| other.name == server.name) else {
            push(Touch::ServerRemoved { on_removal }, removed(on_removal), Clients::Move);
            continue;
        };
        if (server.address, server.port) != (next.address, next.port) {
            let touch = Touch::ServerMoved { from: place(server), to: place(next), on_removal };
            push(touch, removed(on_removal), Clients::Move);
        }
        let share = |of: &RealServer| (of.weight, of.min_connections, of.max_connections, of.backup);
        if share(server) != share(next) {
            push(Touch::Share, Flows::Stay, Clients::Stay);
        }
        if server.health_check != next.health_check {
            push(Touch::Check, Flows::Stay, Clients::Stay);
        }
        if towards(server) != towards(next) {
            push(Touch::Settings, Flows::Stay, Clients::Stay);
        }
    }
}

/// How a proxy comes to a real server, and with which requests.
fn towards(server: &RealServer) -> impl PartialEq + '_ {
    (&server.pool, &server.proxy_protocol, server.http_version, &server.tls, &server.redirect)
}

const fn removed(on_removal: OnRemoval) -> Flows {
    match on_removal {
        OnRemoval::Drain => Flows::Finish,
        OnRemoval::Cut => Flows::Cut,
    }
}

fn carries_tcp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tcp | Protocol::TcpUdp)
}

fn carries_udp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Udp | Protocol::TcpUdp)
}

fn place(server: &RealServer) -> String {
    match (server.address.is_ipv6(), server.port) {
        (_, None) => server.address.to_string(),
        (false, Some(port)) => format!("{}:{port}", server.address),
        (true, Some(port)) => format!("[{}]:{port}", server.address),
    }
}

/// Every port that clients reach, the TLS listener's too.
fn listeners(service: &VirtualService) -> Vec<PortRange> {
    let tls = service.tls.iter().map(|tls| PortRange { first: tls.port, last: tls.port });
    service.ports.iter().copied().chain(tls).collect()
}

/// What of `ranges` is in none of `others`, sorted.
fn without(ranges: &[PortRange], others: &[PortRange]) -> Vec<PortRange> {
    let mut left = ranges.to_vec();
    for other in others {
        left = left.into_iter().flat_map(|range| around(range, *other)).flatten().collect();
    }
    left.sort_unstable();
    left.dedup();
    left
}

/// What of `range` lies before `hole` and behind it.
fn around(range: PortRange, hole: PortRange) -> [Option<PortRange>; 2] {
    if hole.last < range.first || range.last < hole.first {
        return [Some(range), None];
    }
    let before = (range.first < hole.first).then(|| PortRange { first: range.first, last: hole.first - 1 });
    let behind = (hole.last < range.last).then(|| PortRange { first: hole.last + 1, last: range.last });
    [before, behind]
}

fn list(ranges: &[PortRange]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Touched {
    /// Whether a flow that is alive, or a client that would come back, notices anything.
    #[must_use]
    pub const fn is_noticed(&self) -> bool {
        !matches!((self.flows, self.clients), (Flows::Stay, Clients::Stay))
    }

    /// `HL7/IMS1`, or `HL7`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.server {
            Some(server) => format!("{}/{server}", self.service),
            None => self.service.clone(),
        }
    }
}
