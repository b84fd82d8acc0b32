//! The configuration as it is typed: every mapping of the file, defined once.
//!
//! In: a tree. Out: what was written, with its places; and from the same definitions the defaults,
//! the documentation and the JSON Schema. Absent: rules between values, which are `parse`'s.

use std::time::Duration;

use serde_json::{Value, json};

use super::code::Code;
use super::decode::{Context, Definitions, FromNode, Labelled, List, record};
use super::model::{self, FlowTimeouts, HaRole, Limits, Mode, OnRemoval, Protocol, Scheduler, TlsPolicy, XdpMode};
use super::places::Place;
use super::tree::{Kind, Node, clip};
use super::values::{
    AbsolutePath, Address, AeTitle, CookieName, Device, Expected, FilePath, Host, Name, Number, Pattern, Period, Port,
    Ports, SecretText, Socket, SourceChoice, SourcePorts, Switch, Text, Url,
};
use super::words::{word_from_node, words};

const DAY: u64 = 86_400_000;

/// A share of new flows.
pub(crate) type Weight = Number<u16, 0, 65535>;
/// How long a client is remembered.
pub(crate) type PersistencePeriod = Period<1000, { 30 * DAY }>;
/// Time between checks, and for a check.
pub(crate) type CheckPeriod = Period<10, 3_600_000>;
/// Results in a row.
pub(crate) type Count = Number<u8, 1, 255>;
/// Inactivity of a connection.
pub(crate) type IdlePeriod = Period<1, { 7 * DAY }>;
/// How long a real server that has come back is spared.
pub(crate) type SlowStartPeriod = Period<0, 3_600_000>;
/// Idle time of a flow.
pub(crate) type FlowPeriod = Period<1000, { 7 * DAY }>;

record! {
    /// Configuration of the load balancer `lb`.
    Root {
        /// Version of the file format.
        version: required(Version),
        /// This machine.
        node: required(NodeSection),
        /// Values for services and real servers that do not have their own.
        defaults: optional(Defaults),
        /// Certificates and their keys, by a label of your choice.
        certificates: optional(Labelled<CertificateSection>),
        /// The pair. Absent: a single unit.
        high_availability: optional(HighAvailabilitySection),
        /// What clients reach, and the real servers behind it.
        virtual_services: optional(List<Service>),
    }
}

/// The version of the file format that this program reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version;

const VERSION: &str = "1";

impl FromNode for Version {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "a version")?;
        if text == VERSION {
            return Some(Self);
        }
        let message = format!("version {} of the file format is not known", clip(&text));
        cx.report(Code::UnsupportedVersion, place, message).help(format!("write version: {VERSION}"));
        None
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"enum": [1, "1"]})
    }
}

record! {
    /// This machine.
    NodeSection {
        /// Name of this unit in messages and on the page.
        name: optional(Text<Name>, "the host name"),
        /// Interfaces that carry clients or real servers.
        interfaces: required(List<InterfaceSection>),
        /// Sizes of the kernel tables; they are allocated when the daemon first starts.
        limits: optional(LimitsSection),
        /// Ports that packets to real servers come from in l4-snat. They must be outside
        /// `net.ipv4.ip_local_port_range`, which the kernel gives to connections of this machine.
        source_ports: default(SourcePorts, SourcePorts(model::Node::SOURCE_PORTS)),
        /// Address and port that serve the Prometheus metrics, at `/metrics`, to who asks.
        metrics_address: optional(Socket, "none; they are always on the API's socket"),
    }
}

record! {
    /// A network interface that carries clients or real servers.
    InterfaceSection {
        /// Kernel name, for example eth0.
        device: required(Text<Device>),
        /// How XDP is attached.
        xdp: default(XdpMode, XdpMode::Auto),
    }
}

record! {
    /// Sizes of the kernel tables, in entries.
    LimitsSection {
        /// Established flows.
        flows: default(Number<u32, 1024, 67_108_864>, Number(Limits::default().flows)),
        /// Flows whose client has not answered yet.
        pending_flows: default(Number<u32, 1024, 67_108_864>, Number(Limits::default().pending_flows)),
        /// Flows of l4-nat and l4-snat: they are established flows, too, and each has an entry for its replies.
        translated_flows: default(Number<u32, 1024, 67_108_864>, Number(Limits::default().translated_flows)),
        /// Persistence records.
        persistence: default(Number<u32, 1024, 67_108_864>, Number(Limits::default().persistence)),
        /// New flows that one CPU records per second; beyond it l4-dr forwards them without a record, and l4-nat and
        /// l4-snat, which cannot, drop them.
        new_flows_per_second: default(Number<u32, 1, 100_000_000>, Number(Limits::default().new_flows_per_second)),
    }
}

record! {
    /// Values for services and real servers that do not have their own.
    Defaults {
        /// Weight of a real server.
        weight: default(Weight, Number(100)),
        /// How long after its last flow a client is remembered.
        persistence_timeout: default(PersistencePeriod, Period::seconds(300)),
        /// When a real server is checked, and how many results count.
        health_check: optional(CheckTiming),
        /// Timeouts of layer 7 services.
        timeouts: optional(DefaultTimeouts),
        /// How long a real server that has come back takes to reach its full share of new flows.
        slow_start: default(SlowStartPeriod, Period::seconds(0)),
        /// What becomes of the flows of a real server, or a service, that a reload removes.
        on_removal: default(OnRemoval, OnRemoval::Drain),
        /// Idle times after which a layer 4 flow is forgotten.
        flow_timeouts: optional(FlowTimeoutsSection),
    }
}

record! {
    /// When a real server is checked, and how many results count.
    CheckTiming {
        /// From the start of one check to the start of the next.
        interval: default(CheckPeriod, Period::seconds(4)),
        /// A check that takes longer has failed.
        timeout: default(CheckPeriod, Period::seconds(2)),
        /// Successes in a row that bring a real server up.
        rise: default(Count, Number(2)),
        /// Failures in a row that take it down.
        fall: default(Count, Number(2)),
        /// Whether a real server that keeps going up and down needs more successes each time.
        flap_damping: default(Switch, Switch(true)),
    }
}

record! {
    /// Timeouts of layer 7 services.
    DefaultTimeouts {
        /// To open a connection to a real server.
        connect: default(IdlePeriod, Period::seconds(5)),
        /// Inactivity of the client.
        client: default(IdlePeriod, Period::seconds(60)),
        /// Inactivity of the real server.
        server: default(IdlePeriod, Period::seconds(60)),
    }
}

record! {
    /// Idle times after which a layer 4 flow is forgotten.
    FlowTimeoutsSection {
        /// TCP, after the handshake.
        established: default(FlowPeriod, Period(FlowTimeouts::default().established)),
        /// TCP, after FIN from the client alone; in l4-dr, where the real server's packets are not seen, `closing` goes.
        half_closed: default(FlowPeriod, Period(FlowTimeouts::default().half_closed)),
        /// TCP, after FIN from both sides, or RST.
        closing: default(FlowPeriod, Period(FlowTimeouts::default().closing)),
        /// TCP before the client's second packet, UDP before the client's second datagram.
        pending: default(FlowPeriod, Period(FlowTimeouts::default().pending)),
        /// UDP.
        udp: default(FlowPeriod, Period(FlowTimeouts::default().udp)),
    }
}

record! {
    /// A certificate: `pem` and `key`, or `pfx`. Relative files are taken from the directory of the main file.
    CertificateSection {
        /// PEM file with the certificate, then those that signed it.
        pem: optional(Text<FilePath>),
        /// PEM file with the private key.
        key: optional(Text<FilePath>),
        /// PKCS #12 archive with certificate and key.
        pfx: optional(Text<FilePath>),
        /// Password of the archive; better in a file, or as `${NAME}`.
        password: optional(Text<SecretText>),
        /// File that holds the password.
        password_file: optional(Text<FilePath>),
    }
}

record! {
    /// The pair.
    HighAvailabilitySection {
        /// Where the configuration is edited.
        role: required(HaRole),
        /// Address of the other unit.
        peer: required(Address),
        /// Who is Active (VRRP version 3, RFC 9568).
        vrrp: required(VrrpSection),
        /// Mirroring of flows and states.
        sync: required(SyncSection),
    }
}

record! {
    /// VRRP version 3 (RFC 9568).
    VrrpSection {
        /// Interface of the advertisements.
        interface: required(Text<Device>),
        /// The same on both units, and different from other pairs in the network.
        virtual_router_id: required(Number<u8, 1, 255>),
        /// The unit with the higher priority is Active.
        priority: optional(Number<u8, 1, 254>, "150 on the Primary, 100 on the Secondary"),
        /// Between advertisements; whole hundredths of a second, the same on both units.
        advertisement_interval: default(Period<10, 40_950>, Period(Duration::from_secs(1))),
        /// Whether a unit of higher priority takes over from a lower one that is Active.
        preempt: default(Switch, Switch(true)),
    }
}

record! {
    /// Mirroring of flows and states to the peer.
    SyncSection {
        /// Address and port to listen on.
        listen: optional(Socket, "any address, the port below"),
        /// TCP port of the peer.
        port: default(Port, Number(7778)),
        /// Key that both units share; better in a file, or as `${NAME}`.
        key: optional(Text<SecretText>),
        /// File that holds the key.
        key_file: optional(Text<FilePath>),
    }
}

record! {
    /// Address, ports and protocol that clients reach, and the real servers behind them.
    Service {
        /// Unique; shown everywhere.
        name: required(Text<Name>),
        /// The VIP, IPv4 or IPv6.
        address: required(Address),
        /// Interface that gets the VIP.
        interface: optional(Text<Device>, "the one whose subnet holds the address"),
        /// Ports and inclusive ranges.
        ports: required(Ports),
        /// Transport protocols.
        protocol: default(Protocol, Protocol::Tcp),
        /// How traffic gets to the real servers; docs/reference/modes.md says what each asks of the network.
        mode: required(Mode),
        /// What real servers see as the client in l4-snat: `auto` is the address of this machine that the kernel
        /// prefers towards the real server, `vip` the address of the service; or an address of this machine.
        source_address: optional(SourceChoice, "auto"),
        /// New flows that one CPU records per second for this service (layer 4).
        new_flows_per_second: optional(Number<u32, 1, 100_000_000>, "half of `node.limits.new_flows_per_second`"),
        /// Picks a real server for a new flow.
        scheduler: default(Scheduler, Scheduler::WeightedLeastConnection),
        /// Keeps a client on its real server beyond one flow.
        persistence: optional(PersistenceForm, "none"),
        /// How real servers are checked.
        health_check: optional(CheckSection, "connect; ping for udp"),
        /// How long a real server that has come back takes to reach its full share of new flows.
        slow_start: optional(SlowStartPeriod, "`defaults.slow_start`"),
        /// What becomes of the flows of a real server that a reload removes, or of all if it is the service.
        on_removal: optional(OnRemoval, "`defaults.on_removal`"),
        /// Timeouts of a layer 7 service.
        timeouts: optional(TimeoutsSection, "those of `defaults`"),
        /// A TLS listener of a layer 7 service, beside its ports; on one of them, instead.
        tls: optional(TlsSection),
        /// What answers when no real server can.
        fallback: optional(FallbackSection, "new clients are refused, and counted"),
        /// Machines that answer for the service.
        real_servers: required(List<Server>),
    }
}

/// `persistence: source-ip`, or the mapping.
#[derive(Clone, Debug)]
pub(crate) enum PersistenceForm {
    /// One word.
    Word(PersistenceWord),
    /// The mapping.
    Full(Box<PersistenceSection>),
}

impl FromNode for PersistenceForm {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        match node.kind {
            Kind::Scalar { .. } => word_from_node(node, place, cx).map(Self::Word),
            Kind::Sequence(_) | Kind::Mapping(_) => {
                PersistenceSection::from_node(node, place, cx).map(|section| Self::Full(Box::new(section)))
            }
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"anyOf": [PersistenceWord::schema(definitions), PersistenceSection::schema(definitions)]})
    }
}

/// What identifies a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PersistenceWord {
    None,
    SourceIp,
    Cookie,
    RdpCookie,
}

record! {
    /// Keeps a client on its real server beyond one flow.
    PersistenceSection {
        /// What identifies a client.
        by: required(PersistenceWord),
        /// How long after its last flow a client is remembered.
        timeout: optional(PersistencePeriod, "`defaults.persistence_timeout`"),
        /// Prefix length of the client's network, to keep whole networks together (`by: source-ip`).
        prefix: optional(Number<u8, 1, 128>, "each client by itself"),
        /// Name of the cookie (`by: cookie`).
        cookie: optional(Text<CookieName>, "lb-server"),
    }
}

/// What a health check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckType {
    Connect,
    Ping,
    Http,
    Https,
    DicomEcho,
    Script,
    None,
}

record! {
    /// How real servers are checked.
    CheckSection {
        /// What is asked.
        r#type: optional(CheckType, "connect; ping for udp"),
        /// Port of the real server.
        port: optional(Port, "the real server's port, else the first port of the service"),
        /// `http`, `https`: path and query of the request, default `/`. `script`: the program, from the root.
        path: optional(Text<AbsolutePath>),
        /// `http`, `https`: the `Host` header.
        host: optional(Text<Host>, "the real server's address"),
        /// `http`, `https`: what the answer must be.
        expect: optional(ExpectSection, "status 200"),
        /// `https`: whether the certificate is verified.
        verify: optional(Verify, "none"),
        /// `https`: name sent in SNI and verified.
        server_name: optional(Text<Host>, "`host`"),
        /// `https`: PEM file of certificate authorities to trust beside the system's.
        ca_file: optional(Text<FilePath>),
        /// `dicom-echo`: AE title of the real server.
        called_ae_title: optional(Text<AeTitle>, "ANY-SCP"),
        /// `dicom-echo`: AE title of the balancer.
        calling_ae_title: optional(Text<AeTitle>, "LB"),
        /// From the start of one check to the start of the next.
        interval: optional(CheckPeriod, "`defaults.health_check.interval`"),
        /// A check that takes longer has failed.
        timeout: optional(CheckPeriod, "`defaults.health_check.timeout`"),
        /// Successes in a row that bring a real server up.
        rise: optional(Count, "`defaults.health_check.rise`"),
        /// Failures in a row that take it down.
        fall: optional(Count, "`defaults.health_check.fall`"),
        /// Whether a real server that keeps going up and down needs more successes each time.
        flap_damping: optional(Switch, "`defaults.health_check.flap_damping`"),
    }
}

record! {
    /// What the answer of an HTTP check must be; at most one of contains, equals and regex.
    ExpectSection {
        /// Status code.
        status: default(Number<u16, 100, 599>, Number(200)),
        /// The body contains this text.
        contains: optional(Text<Expected>),
        /// The body is this text, white space at both ends aside.
        equals: optional(Text<Expected>),
        /// The body matches this regular expression.
        regex: optional(Text<Pattern>),
    }
}

/// Whether a certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    None,
    Full,
}

record! {
    /// Timeouts of a layer 7 service.
    TimeoutsSection {
        /// To open a connection to a real server.
        connect: optional(IdlePeriod, "`defaults.timeouts.connect`"),
        /// Inactivity of the client.
        client: optional(IdlePeriod, "`defaults.timeouts.client`"),
        /// Inactivity of the real server.
        server: optional(IdlePeriod, "`defaults.timeouts.server`"),
    }
}

record! {
    /// A TLS listener of a layer 7 service.
    TlsSection {
        /// Port on the VIP.
        port: default(Port, Number(443)),
        /// Label of the certificate.
        certificate: optional(Text<Name>),
        /// Labels of several certificates, chosen by the name that the client asks for; the first is the default.
        certificates: optional(List<Text<Name>>),
        /// Protocol versions and cipher suites.
        policy: default(TlsPolicy, TlsPolicy::HighSecurity),
    }
}

record! {
    /// What answers when no real server can: another server, a page or a redirect.
    FallbackSection {
        /// Address of another server.
        address: optional(Address),
        /// Its port, not in l4-dr.
        port: optional(Port, "the port that the client used"),
        /// HTML file (l7-http).
        page: optional(Text<FilePath>),
        /// URL (l7-http).
        redirect: optional(Text<Url>),
    }
}

record! {
    /// A machine that answers for a virtual service.
    Server {
        /// Unique within its service.
        name: required(Text<Name>),
        /// Its own address.
        address: required(Address),
        /// Its port, not in l4-dr.
        port: optional(Port, "the port that the client used"),
        /// Share of new flows; 0: none but persistent clients.
        weight: optional(Weight, "`defaults.weight`"),
        /// Once full, it takes new flows again when it has fewer than this; 0: as soon as below the maximum.
        min_connections: default(Number<u32, 0, 4_294_967_295>, Number(0)),
        /// Takes no new flow at this many connections; 0: no limit.
        max_connections: default(Number<u32, 0, 4_294_967_295>, Number(0)),
        /// Used only when no other real server of the service can.
        backup: default(Switch, Switch(false)),
        /// Encrypts towards this real server (layer 7).
        tls: optional(ServerTlsSection, "not encrypted"),
        /// URL that its clients are sent to instead (l7-http).
        redirect: optional(Text<Url>),
        /// What differs from the service's health check; with a `type`, only the timing is still the service's.
        health_check: optional(CheckSection, "the service's"),
    }
}

record! {
    /// TLS towards a real server.
    ServerTlsSection {
        /// Whether its certificate is verified.
        verify: default(Verify, Verify::Full),
        /// Name sent in SNI and verified.
        server_name: optional(Text<Host>, "its address"),
        /// PEM file of certificate authorities to trust beside the system's.
        ca_file: optional(Text<FilePath>),
    }
}

words! { XdpMode, "a way to attach XDP":
    "auto" => XdpMode::Auto, "Native where the driver can, else generic, and said so.";
    "native" => XdpMode::Native, "In the driver.";
    "generic" => XdpMode::Generic, "In the network stack: works everywhere, slower.";
}
words! { HaRole, "a role in the pair":
    "primary" => HaRole::Primary, "The configuration is edited here.";
    "secondary" => HaRole::Secondary, "The configuration follows the Primary's.";
}
words! { Protocol, "a protocol":
    "tcp" => Protocol::Tcp, "TCP only.";
    "udp" => Protocol::Udp, "UDP only.";
    "tcp+udp" => Protocol::TcpUdp, "Both as one service: a client keeps one real server over both.";
}
words! { Mode, "a mode":
    "l4-dr" => Mode::L4Dr, "Direct routing: only the MAC addresses are rewritten; replies go straight to the client; real servers hold the VIP.";
    "l4-nat" => Mode::L4Nat, "The destination is rewritten; the balancer is the gateway of the real servers, and replies pass it.";
    "l4-snat" => Mode::L4Snat, "Source and destination are rewritten; real servers are anywhere, unchanged, and do not see the client's address.";
    "l7-tcp" => Mode::L7Tcp, "TCP proxy.";
    "l7-http" => Mode::L7Http, "HTTP proxy.";
}
words! { Scheduler, "a scheduler":
    "weighted-least-connection" => Scheduler::WeightedLeastConnection, "The real server with the fewest connections for its weight.";
    "weighted-round-robin" => Scheduler::WeightedRoundRobin, "In turn, by weight.";
    "source-hash" => Scheduler::SourceHash, "By the client's address.";
    "maglev" => Scheduler::Maglev, "By the whole flow, consistently.";
}
words! { OnRemoval, "what becomes of flows":
    "drain" => OnRemoval::Drain, "They stay until they end; no new one comes.";
    "cut" => OnRemoval::Cut, "They are cut at once.";
}
words! { TlsPolicy, "a TLS policy":
    "high-security" => TlsPolicy::HighSecurity, "TLS 1.3, and 1.2 with ECDHE and AEAD only.";
    "compatible" => TlsPolicy::Compatible, "Everything that the TLS library offers.";
}
words! { PersistenceWord, "a kind of persistence":
    "none" => PersistenceWord::None, "Each flow is scheduled by itself.";
    "source-ip" => PersistenceWord::SourceIp, "The client's address.";
    "cookie" => PersistenceWord::Cookie, "A cookie that the balancer inserts (l7-http).";
    "rdp-cookie" => PersistenceWord::RdpCookie, "The RDP cookie (l7-tcp).";
}
words! { CheckType, "a type of health check":
    "connect" => CheckType::Connect, "A TCP connection can be opened.";
    "ping" => CheckType::Ping, "ICMP echo is answered.";
    "http" => CheckType::Http, "An HTTP request is answered as expected.";
    "https" => CheckType::Https, "The same over TLS.";
    "dicom-echo" => CheckType::DicomEcho, "DICOM C-ECHO succeeds.";
    "script" => CheckType::Script, "A program exits 0; called as PROGRAM VIP VIP-PORT RIP RIP-PORT.";
    "none" => CheckType::None, "Always up.";
}
words! { Verify, "a way to verify certificates":
    "none" => Verify::None, "Any certificate is accepted.";
    "full" => Verify::Full, "Name, dates and authority are verified.";
}
