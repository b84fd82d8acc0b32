//! A virtual service and its real servers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{HealthCheck, Http, HttpVersion, Limits, Proxy, ProxyProtocol, ServerTls, TlsListener};

/// Address, ports and protocol that clients reach, and the real servers behind them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualService {
    /// Unique among virtual services; shown everywhere.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Interface that gets the VIP; `None`: the one whose subnet holds it.
    pub interface: Option<String>,
    /// Sorted, disjoint, never empty.
    pub ports: Vec<PortRange>,
    /// The port a check uses when none is named: the first one as typed.
    pub first_port: u16,
    /// Transport protocols.
    pub protocol: Protocol,
    /// How traffic gets to the real servers.
    pub mode: Mode,
    /// What real servers see as the client (`l4-snat`, `l7-*`; `Auto` in other modes).
    pub source_address: SourceAddress,
    /// New flows that one CPU records per second for this service (layer 4); `None`: half of the node's.
    pub new_flows_per_second: Option<u32>,
    /// Picks a real server for a new flow.
    pub scheduler: Scheduler,
    /// `None`: each flow is scheduled by itself.
    pub persistence: Option<Persistence>,
    /// The check of each real server that has none of its own.
    pub health_check: HealthCheck,
    /// From the return of a real server to its full share of new flows; zero: at once.
    pub slow_start: Duration,
    /// What becomes of flows when a reload removes their real server, or the service.
    pub on_removal: OnRemoval,
    /// What a proxy does beside choosing a real server (`l7-*`; the defaults in other modes).
    pub proxy: Proxy,
    /// `l7-http` only: what is done with requests and answers.
    pub http: Option<Http>,
    /// `l7-http` and `l7-tcp` only: a TLS listener beside or instead of the plain ports.
    pub tls: Option<TlsListener>,
    /// What answers when no real server can.
    pub fallback: Option<Fallback>,
    /// Never empty; names are unique within the service.
    pub real_servers: Vec<RealServer>,
}

/// An inclusive range of ports, in host order; `first <= last`, `first >= 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port, included.
    pub last: u16,
}

impl VirtualService {
    /// New flows that one CPU records per second for it; without a limit of its own half of what the machine
    /// takes: a flood at one service leaves the others their share.
    #[must_use]
    pub fn new_flow_limit(&self, limits: &Limits) -> u32 {
        self.new_flows_per_second.unwrap_or(limits.new_flows_per_second / 2)
    }
}

impl std::fmt::Display for PortRange {
    /// `80`, `50000-65535`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Transport protocols of a virtual service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// TCP only.
    #[default]
    #[serde(rename = "tcp")]
    Tcp,
    /// UDP only.
    #[serde(rename = "udp")]
    Udp,
    /// Both, one service: one client keeps one real server over both.
    #[serde(rename = "tcp+udp")]
    TcpUdp,
}

/// How traffic gets to the real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// Direct routing: only the MAC addresses are rewritten.
    #[serde(rename = "l4-dr")]
    L4Dr,
    /// The destination is rewritten, replies pass the balancer.
    #[serde(rename = "l4-nat")]
    L4Nat,
    /// Source and destination are rewritten.
    #[serde(rename = "l4-snat")]
    L4Snat,
    /// TCP proxy.
    #[serde(rename = "l7-tcp")]
    L7Tcp,
    /// HTTP proxy.
    #[serde(rename = "l7-http")]
    L7Http,
}

impl Mode {
    /// Whether the datapath forwards packets; else a proxy serves connections.
    #[must_use]
    pub const fn is_layer_4(self) -> bool {
        matches!(self, Self::L4Dr | Self::L4Nat | Self::L4Snat)
    }
}

/// The source address of packets to real servers in `l4-snat`, and of connections to them in `l7-*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceAddress {
    /// The address of this machine that the kernel prefers towards the real server.
    #[default]
    Auto,
    /// The VIP.
    Vip,
    /// The client's own address (`l7-*`): replies must come back through this machine.
    Client,
    /// This one.
    Address(IpAddr),
}

impl std::fmt::Display for SourceAddress {
    /// `auto`, `vip`, `10.20.90.2`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Vip => f.write_str("vip"),
            Self::Client => f.write_str("client"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Picks a real server for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// The server with the fewest connections for its weight.
    #[default]
    WeightedLeastConnection,
    /// In turn, by weight.
    WeightedRoundRobin,
    /// By the client's address.
    SourceHash,
    /// By the whole flow, consistently.
    Maglev,
}

/// What becomes of the flows of a real server that a reload removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRemoval {
    /// They stay until they end; no new one comes.
    #[default]
    Drain,
    /// They are cut at once.
    Cut,
}

/// Keeps a client on its real server beyond one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// What identifies a client.
    pub by: PersistenceBy,
    /// How long after its last flow a client is remembered.
    pub timeout: Duration,
    /// Clients of one IPv4 network of this prefix length count as one; 32: each its own.
    pub prefix_v4: u8,
    /// The same for IPv6; 128: each its own.
    pub prefix_v6: u8,
}

/// What identifies a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersistenceBy {
    /// Its address.
    SourceIp,
    /// An HTTP cookie that the balancer inserts (`l7-http`).
    Cookie {
        /// Cookie name.
        name: String,
    },
    /// The RDP cookie (`l7-tcp`).
    RdpCookie,
}

/// A machine that answers for a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RealServer {
    /// Unique within its service.
    pub name: String,
    /// Its own address; same family as the VIP in layer 4 modes.
    pub address: IpAddr,
    /// `None`: the port the client used.
    pub port: Option<u16>,
    /// Share of new flows; 0: none but persistent clients.
    pub weight: u16,
    /// Once full, it takes new flows again when it has fewer than this; 0: as soon as below the maximum.
    pub min_connections: u32,
    /// Takes no new flow at this many connections; 0: no limit.
    pub max_connections: u32,
    /// Used only when no other server of its pool can.
    pub backup: bool,
    /// The pool it belongs to (`l7-http`); `None`: the service's main one, which is asked where no rule says otherwise.
    pub pool: Option<String>,
    /// Header that tells it the client's address (`l7-*`).
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What is spoken to it (`l7-http`).
    pub http_version: HttpVersion,
    /// Re-encryption (`l7-*`).
    pub tls: Option<ServerTls>,
    /// Where this server's clients are sent instead (`l7-http`).
    pub redirect: Option<String>,
    /// `None`: the service's check.
    pub health_check: Option<HealthCheck>,
}

/// What answers when no real server can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Another server.
    Server {
        /// Its address.
        address: IpAddr,
        /// `None`: the port the client used.
        port: Option<u16>,
    },
    /// A page from a file (`l7-http`).
    Page(PathBuf),
    /// A redirect (`l7-http`).
    Redirect(String),
}
