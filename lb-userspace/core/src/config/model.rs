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

use crate::view::Network;

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

/// The proxy of this machine, for all layer 7 services together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyNode {
    /// Threads that carry connections; `None`: one for each CPU. Read when the daemon starts.
    pub threads: Option<u16>,
    /// Connections of clients at a time; beyond it new ones wait in the kernel.
    pub max_connections: u32,
    /// How long connections may go on when their service was removed (`on_removal: drain`), and in the daemon that
    /// an upgrade has replaced; then they are cut.
    pub drain_timeout: Duration,
}

impl Default for ProxyNode {
    fn default() -> Self {
        Self { threads: None, max_connections: 100_000, drain_timeout: Duration::from_secs(3600) }
    }
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

/// What a proxy does with connections, beside choosing a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Inactivity, by phase.
    pub timeouts: Timeouts,
    /// Clients, mostly other proxies, whose connections begin with a PROXY header (version 1 or 2): it must be there.
    /// Nobody else's is read.
    pub accept_proxy_protocol: Vec<Network>,
    /// Connections of clients at a time; 0: only the node's limit.
    pub max_connections: u32,
    /// Connections (`l7-http`: requests) that may wait while every real server is at its maximum; 0: none waits.
    pub queue: u32,
    /// When what clients meet tells that a real server is not well; `None`: only its health check does.
    pub passive_health: Option<PassiveHealth>,
    /// One line per connection (`l7-http`: per request); `None`: none.
    pub access_log: Option<AccessLog>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            accept_proxy_protocol: Vec::new(),
            max_connections: 0,
            queue: 1024,
            passive_health: Some(PassiveHealth::default()),
            access_log: None,
        }
    }
}

/// Timeouts of a proxied service, with the meaning that HAProxy gives to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// To open a connection to a real server.
    pub connect: Duration,
    /// Inactivity of the client while it is to send or to receive.
    pub client: Duration,
    /// Inactivity of the real server while it is to send or to receive.
    pub server: Duration,
    /// From the first byte of a request to the end of its header; also for a PROXY header, a TLS handshake, an RDP
    /// request.
    pub request: Duration,
    /// Between two requests of one connection (`l7-http`).
    pub keep_alive: Duration,
    /// How long a client waits for room when every real server is full.
    pub queue: Duration,
    /// Inactivity in both directions after an upgrade, for example to WebSocket (`l7-http`).
    pub tunnel: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(5),
            client: seconds(60),
            server: seconds(60),
            request: seconds(10),
            keep_alive: seconds(60),
            queue: seconds(5),
            tunnel: seconds(3600),
        }
    }
}

/// When a real server becomes suspect: it is then asked only where no other can, until it has rested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PassiveHealth {
    /// Connections in a row that could not be opened; 0: they do not count.
    pub connect_failures: u32,
    /// Answers with a status of 500 to 599 in a row (`l7-http`); 0: they do not count.
    pub server_errors: u32,
    /// How long a suspect rests; a health check that succeeds meanwhile does not end it.
    pub rest: Duration,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self { connect_failures: 3, server_errors: 0, rest: Duration::from_secs(10) }
    }
}

/// Where the lines about connections or requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    /// The file, which is opened again at each reload; `None`: the daemon's own log, which is journald under systemd.
    pub file: Option<PathBuf>,
    /// One of so many lines is written, and all that tell of an error; 1: all.
    pub sample: u32,
}

/// A header before the first byte of a connection that says who the client is
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// What is spoken to a real server of a HTTP service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: with `tls` by ALPN, without by prior knowledge.
    Http2,
    /// What the real server chooses in the TLS handshake; without `tls`, HTTP/1.1.
    Auto,
}

/// What is done with requests and answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Http {
    /// Whether clients may speak HTTP/2: by ALPN over TLS, by prior knowledge without.
    pub http2: bool,
    /// Bytes of a request's line and fields together.
    pub max_header_bytes: u32,
    /// How a real server learns who the client is.
    pub forwarded: Forwarded,
    /// Edits of every request, after the rules' own.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits of every answer, after the rules' own.
    pub response_headers: Vec<HeaderEdit>,
    /// In this order; see [`Rule`].
    pub rules: Vec<Rule>,
    /// How often a request that may be repeated is tried on another real server.
    pub retries: u8,
    /// Retries are at most so many percent of the requests of the last seconds, and ten a second.
    pub retry_budget: u8,
    /// Pages in place of the built-in ones, by status (those that the balancer answers with itself: 400, 403, 408,
    /// 413, 414, 429, 431, 500, 502, 503, 504).
    pub error_pages: BTreeMap<u16, PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            http2: true,
            max_header_bytes: 32 << 10,
            forwarded: Forwarded::default(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            rules: Vec::new(),
            retries: 1,
            retry_budget: 20,
            error_pages: BTreeMap::new(),
        }
    }
}

/// Which headers tell a real server about the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forwarded {
    /// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Port and X-Forwarded-Host.
    pub x_forwarded: bool,
    /// Forwarded (RFC 7239).
    pub forwarded: bool,
    /// Clients, other proxies, whose own such headers are kept and added to; everybody else's are removed, because
    /// they may be lies.
    pub trusted: Vec<Network>,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self { x_forwarded: true, forwarded: false, trusted: Vec::new() }
    }
}

/// An edit of the fields of a request or an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderEdit {
    /// Adds a field, beside those of that name.
    Insert {
        /// Name of the field.
        name: String,
        /// Value; `{client}`, `{host}`, `{method}`, `{path}`, `{query}`, `{uri}`, `{scheme}`, `{server}` are replaced.
        value: String,
    },
    /// Puts this one in place of all of that name.
    Set {
        /// Name of the field.
        name: String,
        /// As with `Insert`.
        value: String,
    },
    /// Removes all fields of that name.
    Delete {
        /// Name of the field.
        name: String,
    },
    /// Replaces what matches in the values of that name.
    Replace {
        /// Name of the field.
        name: String,
        /// Regular expression.
        pattern: String,
        /// `$1` is the first group.
        with: String,
    },
}

/// Rules are taken in order. Where the conditions of one hold, its edits and its rewrite are applied to the
/// request; the first that has an action as well is the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// For messages and the access log; `None`: its number.
    pub name: Option<String>,
    /// All must hold; empty: it always does.
    pub when: Vec<Condition>,
    /// None may hold.
    pub unless: Vec<Condition>,
    /// Edits of the request.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits of its answer.
    pub response_headers: Vec<HeaderEdit>,
    /// Another path for the real server.
    pub rewrite: Option<Rewrite>,
    /// What becomes of the request; `None`: the next rule says.
    pub action: Option<RuleAction>,
}

/// Something about a request. It holds if one of its values fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The host, without port, in lower case: `www.example.org`; `*.example.org` is any name below it.
    Host(Vec<String>),
    /// The path is one of these, percent-encoding normalised, without the query.
    Path(Vec<String>),
    /// The path begins with one of these; a match ends at a `/` or the end: `/api` is not a prefix of `/apis`.
    PathPrefix(Vec<String>),
    /// The path matches one of these.
    PathRegex(Vec<String>),
    /// The method.
    Method(Vec<String>),
    /// A field of the request.
    Header {
        /// Its name.
        name: String,
        /// What one of its values must be.
        value: HeaderMatch,
    },
    /// The client is in one of these networks.
    Client(Vec<Network>),
}

/// What the value of a field must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderMatch {
    /// Anything, as long as the field is there.
    Exists,
    /// This, letter case counting.
    Equals(String),
    /// Contains this.
    Contains(String),
    /// Matches this.
    Regex(String),
}

/// Another path for the real server; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewrite {
    /// The beginning is replaced.
    Prefix {
        /// What the path begins with.
        prefix: String,
        /// What takes its place.
        with: String,
    },
    /// What matches is replaced.
    Regex {
        /// Regular expression over the path.
        pattern: String,
        /// `$1` is the first group.
        with: String,
    },
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    /// It goes to a real server of this pool.
    Pool(String),
    /// The client is sent elsewhere.
    Redirect {
        /// URL; `{host}`, `{path}`, `{query}`, `{uri}`, `{scheme}` are replaced.
        location: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is refused with this status and its page.
    Deny {
        /// 400 to 599.
        status: u16,
    },
    /// The balancer answers by itself.
    Respond {
        /// 200 to 599.
        status: u16,
        /// Content-Type.
        content_type: String,
        /// The body.
        body: String,
    },
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
    /// Whether requests on the plain ports are sent to the TLS port with status 308 (`l7-http`).
    pub redirect: bool,
    /// Whether clients show a certificate; `None`: they are not asked.
    pub client_certificate: Option<ClientCertificate>,
}

/// The certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientCertificate {
    /// PEM file of those who sign them.
    pub ca_file: PathBuf,
    /// Whether a client without one is refused.
    pub required: bool,
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
        /// OCSP answer to staple, in DER; read again when it changes.
        ocsp: Option<PathBuf>,
    },
    /// PKCS #12.
    Pfx {
        /// The archive.
        pfx: PathBuf,
        /// Its password.
        password: Option<Secret>,
        /// OCSP answer to staple, in DER; read again when it changes.
        ocsp: Option<PathBuf>,
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
