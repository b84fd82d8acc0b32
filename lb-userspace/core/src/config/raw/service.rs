//! A virtual service and its real servers, as they are typed.

use serde_json::{Value, json};

use super::{
    AccessLogForm, CheckSection, EditSection, HeaderVersion, HttpSection, PassiveForm, PersistencePeriod, RuleSection,
    ServerTlsSection, SlowStartPeriod, TimeoutsSection, TlsSection, Weight,
};
use crate::config::decode::{Context, Definitions, FromNode, List, Several, record};
use crate::config::model::{HttpVersion, Mode, OnRemoval, Protocol, Scheduler};
use crate::config::places::Place;
use crate::config::tree::{Kind, Node};
use crate::config::values::{
    Address, Clients, CookieName, Device, FilePath, Name, Number, Port, Ports, SourceChoice, Switch, Text, Url,
};
use crate::config::words::word_from_node;

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
        /// What real servers see as the client in l4-snat and layer 7: `auto` is the address of this machine that the
        /// kernel prefers towards the real server, `vip` the address of the service, `client` the client's own (layer 7;
        /// the real servers must send their replies back through this machine, for example as their default
        /// gateway); or an address of this machine.
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
        /// Clients, other proxies, that begin each connection with a PROXY header (version 1 or 2), which must be there;
        /// nobody else's is read (layer 7).
        accept_proxy_protocol: optional(Several<Clients>, "nobody"),
        /// PROXY header that tells real servers the client's address (layer 7); a real server can have its own.
        proxy_protocol: optional(HeaderVersion, "none"),
        /// Connections of clients at a time (layer 7); 0: only `node.proxy.max_connections`.
        max_connections: optional(Number<u32, 0, 4_294_967_295>, "0"),
        /// Connections (l7-http: requests) that may wait while every real server is at its maximum; 0: none waits
        /// (layer 7).
        queue: optional(Number<u32, 0, 1_000_000>, "1024"),
        /// When what clients meet tells that a real server is not well (layer 7); `none`: only its health check does.
        passive_health: optional(PassiveForm, "after 3 connections in a row that could not be opened, for 10s"),
        /// One line for each connection (l7-http: for each request): `journal`, `none`, or a file (layer 7).
        access_log: optional(AccessLogForm, "none"),
        /// Timeouts of a layer 7 service.
        timeouts: optional(TimeoutsSection, "those of `defaults`"),
        /// What is done with requests and answers (l7-http).
        http: optional(HttpSection),
        /// Edits of every request's headers, after those of the rules (l7-http).
        request_headers: optional(List<EditSection>),
        /// Edits of every answer's headers, after those of the rules (l7-http).
        response_headers: optional(List<EditSection>),
        /// Which requests are treated otherwise, and how; in this order (l7-http).
        rules: optional(List<RuleSection>),
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
        /// Used only when no other real server of its pool can.
        backup: default(Switch, Switch(false)),
        /// Gets only requests that a rule sends to the pool of this name (l7-http).
        pool: optional(Text<Name>, "the main pool, which gets what no rule sends elsewhere"),
        /// PROXY header that tells it the client's address (layer 7).
        proxy_protocol: optional(HeaderVersion, "the service's"),
        /// What is spoken to it (l7-http).
        http_version: optional(HttpVersion, "http1"),
        /// Encrypts towards this real server (layer 7).
        tls: optional(ServerTlsSection, "not encrypted"),
        /// URL that its clients are sent to instead (l7-http).
        redirect: optional(Text<Url>),
        /// What differs from the service's health check; with a `type`, only the timing is still the service's.
        health_check: optional(CheckSection, "the service's"),
    }
}
