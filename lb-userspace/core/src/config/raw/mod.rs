//! The configuration as it is typed: every mapping of the file, defined once.
//!
//! In: a tree. Out: what was written, with its places; and from the same definitions the defaults,
//! the documentation and the JSON Schema. Absent: rules between values, which are `parse`'s.

mod check;
mod http;
mod pair;
mod proxy;
mod rule;
mod service;
mod tls;
mod words;

use serde_json::{Value, json};

pub(crate) use check::{CheckSection, CheckType, ExpectSection, Verify};
pub(crate) use http::{EditSection, ForwardedSection, HttpSection};
pub(crate) use pair::{HighAvailabilitySection, SyncSection, VrrpSection};
pub(crate) use proxy::{AccessLogForm, AccessLogWord, HeaderVersion, PassiveForm, TimeoutsSection};
pub(crate) use rule::{ConditionsSection, HeaderSection, RedirectForm, RewriteSection, RuleSection};
pub(crate) use service::{FallbackSection, PersistenceForm, PersistenceWord, Server, Service};
pub(crate) use tls::{CertificateSection, ServerTlsSection, TlsSection};

use super::code::Code;
use super::decode::{Context, Definitions, FromNode, Labelled, List, record};
use super::model::{self, FlowTimeouts, Limits, OnRemoval, ProxyNode, Timeouts, XdpMode};
use super::places::Place;
use super::tree::{Node, clip};
use super::values::{Device, Name, Number, Period, Socket, SourcePorts, Switch, Text};

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
/// Until what is left of a service is cut.
pub(crate) type DrainPeriod = Period<0, { 30 * DAY }>;
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
        /// The proxy of all layer 7 services together.
        proxy: optional(ProxyNodeSection),
    }
}

record! {
    /// The proxy of all layer 7 services together.
    ProxyNodeSection {
        /// Threads that carry connections. It is read when the daemon starts.
        threads: optional(Number<u16, 1, 1024>, "one for each CPU"),
        /// Connections of clients at a time; beyond it new ones wait in the kernel.
        max_connections: default(Number<u32, 1, 10_000_000>, Number(ProxyNode::default().max_connections)),
        /// How long connections may go on when their service was removed (`on_removal: drain`), and in a daemon that
        /// an upgrade has replaced; then they are cut.
        drain_timeout: default(DrainPeriod, Period(ProxyNode::default().drain_timeout)),
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
        connect: default(IdlePeriod, Period(Timeouts::default().connect)),
        /// Inactivity of the client while it is to send or to receive.
        client: default(IdlePeriod, Period(Timeouts::default().client)),
        /// Inactivity of the real server while it is to send or to receive.
        server: default(IdlePeriod, Period(Timeouts::default().server)),
        /// From the first byte of a request to the end of its header; also for a PROXY header, a TLS handshake and an
        /// RDP request.
        request: default(IdlePeriod, Period(Timeouts::default().request)),
        /// Between two requests of one connection (l7-http).
        keep_alive: default(IdlePeriod, Period(Timeouts::default().keep_alive)),
        /// How long a client waits for room when every real server is full.
        queue: default(IdlePeriod, Period(Timeouts::default().queue)),
        /// Inactivity in both directions after an upgrade, for example to WebSocket (l7-http).
        tunnel: default(IdlePeriod, Period(Timeouts::default().tunnel)),
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
