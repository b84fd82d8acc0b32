//! The configuration once it has been understood: every field typed, every default filled in,
//! combinations that cannot run not representable or already refused.
//!
//! In: nothing; [`super::load`] builds these values. Out: what `compile`, health checks and the
//! proxy read. Absent: text, spans, `Option`s that only meant "not typed".

mod check;
mod http;
mod pair;
mod proxy;
mod service;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

pub use check::{BodyExpectation, HealthCheck, HttpProbe, Probe};
pub use http::{Condition, Forwarded, HeaderEdit, HeaderMatch, Http, Rewrite, Rule, RuleAction};
pub use pair::{HaRole, HighAvailability, Sync, Vrrp};
pub use proxy::{AccessLog, HttpVersion, PassiveHealth, Proxy, ProxyNode, ProxyProtocol, Timeouts};
pub use service::{
    Fallback, Mode, OnRemoval, Persistence, PersistenceBy, PortRange, Protocol, RealServer, Scheduler, SourceAddress,
    VirtualService,
};
pub use tls::{Certificate, ClientCertificate, Secret, ServerTls, TlsListener, TlsPolicy};

/// A whole configuration, ready to be compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// This machine.
    pub node: Node,
    /// Certificates by label.
    pub certificates: BTreeMap<String, Certificate>,
    /// The pair; absent on a single unit.
    pub high_availability: Option<HighAvailability>,
    /// In the order of the file (and of `conf.d`); names are unique.
    pub virtual_services: Vec<VirtualService>,
}

/// This machine: its name, interfaces and table sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `None`: the host name.
    pub name: Option<String>,
    /// Where XDP is attached; never empty.
    pub interfaces: Vec<Interface>,
    /// Table sizes.
    pub limits: Limits,
    /// How long an idle flow is remembered.
    pub flow_timeouts: FlowTimeouts,
    /// Source ports of flows in `l4-snat`.
    pub source_ports: PortRange,
    /// Where metrics are served over TCP; `None`: only on the API's socket.
    pub metrics_address: Option<SocketAddr>,
    /// The proxy of all layer 7 services.
    pub proxy: ProxyNode,
}
impl Node {
    /// Source ports when none are typed: outside those that the kernel gives to its own connections.
    pub const SOURCE_PORTS: PortRange = PortRange { first: 1024, last: 32767 };
}

/// A network interface that carries clients or real servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Kernel name, at most 15 bytes.
    pub device: String,
    /// How XDP is attached.
    pub xdp: XdpMode,
}

/// How XDP is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack: works everywhere, slower.
    Generic,
    /// Native where the driver can, else generic, and said so.
    #[default]
    Auto,
}

/// Sizes of the kernel tables, in entries. They are allocated when the daemon first starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Established flows.
    pub flows: u32,
    /// Flows whose client has not answered yet.
    pub pending_flows: u32,
    /// Flows of `l4-nat` and `l4-snat`, which are among the established ones and have an entry for replies beside.
    pub translated_flows: u32,
    /// Persistence records.
    pub persistence: u32,
    /// New flows that one CPU records per second; beyond it they are forwarded without a record.
    pub new_flows_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            pending_flows: 1 << 17,
            translated_flows: 1 << 18,
            persistence: 1 << 18,
            new_flows_per_second: 100_000,
        }
    }
}

/// Idle times after which a flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowTimeouts {
    /// TCP, after the handshake.
    pub established: Duration,
    /// TCP, after FIN from the client alone, where the real server's packets are seen (`l4-nat`, `l4-snat`).
    pub half_closed: Duration,
    /// TCP, after FIN or RST.
    pub closing: Duration,
    /// TCP before the client's second packet, UDP before the client's second datagram.
    pub pending: Duration,
    /// UDP.
    pub udp: Duration,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            established: Duration::from_secs(2 * 3600),
            half_closed: Duration::from_secs(120),
            closing: Duration::from_secs(10),
            pending: Duration::from_secs(30),
            udp: Duration::from_secs(180),
        }
    }
}
