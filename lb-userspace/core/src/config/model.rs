//! The configuration once it has been understood: every field typed, every default filled in,
//! combinations that cannot run not representable or already refused.
//!
//! In: nothing; [`super::load`] builds these values. Out: what `compile`, health checks and the
//! proxy read. Absent: text, spans, `Option`s that only meant "not typed".

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

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
    /// What real servers see as the client (`l4-snat`; `Auto` in other modes).
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
    /// `l7-*` only.
    pub timeouts: Timeouts,
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

/// The source address of packets to real servers in `l4-snat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceAddress {
    /// The address of this machine that the kernel prefers towards the real server.
    #[default]
    Auto,
    /// The VIP.
    Vip,
    /// This one.
    Address(IpAddr),
}

impl std::fmt::Display for SourceAddress {
    /// `auto`, `vip`, `10.20.90.2`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Vip => f.write_str("vip"),
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
    /// Used only when no other server of the service can.
    pub backup: bool,
    /// Re-encryption (`l7-*`).
    pub tls: Option<ServerTls>,
    /// Where this server's clients are sent instead (`l7-http`).
    pub redirect: Option<String>,
    /// `None`: the service's check.
    pub health_check: Option<HealthCheck>,
}

/// How a real server is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Port of the real server; `None` for checks that use none.
    pub port: Option<u16>,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Successes in a row that bring a server up.
    pub rise: u8,
    /// Failures in a row that take it down.
    pub fall: u8,
    /// Whether each return soon after the last fall takes more successes.
    pub flap_damping: bool,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// A TCP connection can be opened.
    Connect,
    /// ICMP echo is answered.
    Ping,
    /// An HTTP request is answered as expected.
    Http(HttpProbe),
    /// The same over TLS.
    Https {
        /// The request.
        #[serde(flatten)]
        http: HttpProbe,
        /// Whether the server's certificate is verified.
        verify: bool,
        /// Name sent in SNI and verified; `None`: the host.
        server_name: Option<String>,
        /// Certificate authorities to trust beside the system's.
        ca_file: Option<PathBuf>,
    },
    /// DICOM C-ECHO succeeds.
    DicomEcho {
        /// Called application entity title.
        called_ae_title: String,
        /// Calling application entity title.
        calling_ae_title: String,
    },
    /// A program exits 0; called as `PROGRAM VIP VIP-PORT RIP RIP-PORT`.
    Script {
        /// The program.
        path: PathBuf,
    },
    /// Always up.
    None,
}

/// An HTTP request and what is expected of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpProbe {
    /// Request target.
    pub path: String,
    /// `Host` header; `None`: the server's address.
    pub host: Option<String>,
    /// Expected status.
    pub status: u16,
    /// Expected body.
    pub body: BodyExpectation,
}

/// What a body must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyExpectation {
    /// Anything.
    Any,
    /// Contains this text.
    Contains(String),
    /// Is this text, white space at both ends aside.
    Equals(String),
    /// Matches this regular expression.
    Regex(String),
}

/// Timeouts of a proxied service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// To open a connection to a real server.
    pub connect: Duration,
    /// Inactivity of the client.
    pub client: Duration,
    /// Inactivity of the real server.
    pub server: Duration,
}

/// A TLS listener of a proxied service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsListener {
    /// Port on the VIP.
    pub port: u16,
    /// Labels of certificates; the first is the default, the others are chosen by SNI.
    pub certificates: Vec<String>,
    /// Protocol versions and cipher suites.
    pub policy: TlsPolicy,
}

/// Protocol versions and cipher suites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// TLS 1.3, and 1.2 with ECDHE and AEAD only.
    #[default]
    HighSecurity,
    /// Everything rustls offers.
    Compatible,
}

/// TLS towards a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// Name sent in SNI and verified; `None`: its address.
    pub server_name: Option<String>,
    /// Certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
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

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    /// PEM files.
    Pem {
        /// Certificate chain.
        pem: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// PKCS #12.
    Pfx {
        /// The archive.
        pfx: PathBuf,
        /// Its password.
        password: Option<Secret>,
    },
}

/// A secret, or where it is; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As typed, `${ENV}` already replaced.
    Value(String),
    /// In a file, read when it is needed.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<in {}>", path.display()),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// The pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HighAvailability {
    /// Where the configuration is edited.
    pub role: HaRole,
    /// The other unit.
    pub peer: IpAddr,
    /// VRRP.
    pub vrrp: Vrrp,
    /// Mirroring of flows and states.
    pub sync: Sync,
}

/// Which of a pair this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HaRole {
    /// The configuration is edited here.
    Primary,
    /// The configuration follows the Primary's.
    Secondary,
}

/// VRRP (RFC 9568).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vrrp {
    /// Interface that advertisements use.
    pub interface: String,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// 1 to 254.
    pub priority: u8,
    /// Between advertisements; whole centiseconds.
    pub advertisement_interval: Duration,
    /// Whether a unit of higher priority takes over from a lower one.
    pub preempt: bool,
}

/// Mirroring of flows and states to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sync {
    /// Address and port to listen on; `None`: any address, port 7778.
    pub listen: Option<SocketAddr>,
    /// TCP port of the peer.
    pub port: u16,
    /// Key shared by the pair.
    pub key: Secret,
}
