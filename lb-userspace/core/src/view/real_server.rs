//! A real server as the API shows it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::order::Administration;
use super::words::{ServerState, Transport};
use crate::config::model;

/// A real server of a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    /// Unique within its virtual service.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// Host order; `None`: the port the client used.
    pub port: Option<u16>,
    /// Share of new flows.
    pub weight: u16,
    /// Flows that are established now.
    pub connections: u64,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Flows it was ever given.
    pub flows: u64,
    /// Packets that came back from it; in `l4-dr` they do not pass here.
    pub reply_packets: u64,
    /// Bytes of those packets.
    pub reply_bytes: u64,
    /// Source ports towards it, by protocol; none but in `l4-snat`.
    pub source_ports: Vec<SourcePorts>,
    /// Whether it takes clients.
    pub state: ServerState,
    /// Why it is in that state, one sentence; may be empty.
    pub reason: String,
    /// How long it has been in that state.
    pub since_seconds: u64,
    /// Clients whose persistence record names it.
    pub persistent_clients: u64,
    /// What an administrator ordered; `None`: nothing.
    pub administration: Option<Administration>,
    /// Whether it is asked only when no other real server can.
    pub backup: bool,
    /// Whether the configuration names it no longer: it stays until its flows have ended.
    pub leaving: bool,
    /// Where its packets leave; `None`: not resolved, or proxied.
    pub next_hop: Option<NextHop>,
}

/// The source ports of one protocol towards a real server. Virtual services with the same real server, port
/// and source address share them, and each shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePorts {
    /// Which ports.
    pub protocol: Transport,
    /// In use, as the last sweep found them.
    pub in_use: u64,
    /// There are.
    pub size: u64,
}

/// The neighbour that packets to a real server are sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The interface they leave by.
    pub device: String,
    /// MAC address of the neighbour, `02:00:00:00:00:01`.
    pub mac: String,
    /// The router; `None`: the server is on an attached subnet.
    pub gateway: Option<IpAddr>,
}

impl RealServer {
    /// A real server as the configuration describes it: still checking, every count 0.
    #[must_use]
    pub fn described(server: &model::RealServer) -> Self {
        Self {
            name: server.name.clone(),
            address: server.address,
            port: server.port,
            weight: server.weight,
            connections: 0,
            packets: 0,
            bytes: 0,
            flows: 0,
            reply_packets: 0,
            reply_bytes: 0,
            source_ports: Vec::new(),
            state: ServerState::Checking,
            reason: String::new(),
            since_seconds: 0,
            persistent_clients: 0,
            administration: None,
            backup: server.backup,
            leaving: false,
            next_hop: None,
        }
    }

    /// One that the configuration names no longer: draining, every count 0.
    #[must_use]
    pub fn leaving(name: &str, address: IpAddr, port: Option<u16>) -> Self {
        Self {
            name: name.to_owned(),
            address,
            port,
            weight: 0,
            connections: 0,
            packets: 0,
            bytes: 0,
            flows: 0,
            reply_packets: 0,
            reply_bytes: 0,
            source_ports: Vec::new(),
            state: ServerState::Draining,
            reason: String::new(),
            since_seconds: 0,
            persistent_clients: 0,
            administration: None,
            backup: false,
            leaving: true,
            next_hop: None,
        }
    }
}
