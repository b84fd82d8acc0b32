//! The listing of flows and proxied connections, and the query that narrows it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::query::{self, DEFAULT_LIMIT, QueryError};
use super::words::{FlowState, Transport, words};

/// One flow, or one client's connection to the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The virtual service it reached.
    pub virtual_service: String,
    /// The real server that has it; `None`: the proxy has found none yet, or waits for the next request.
    pub real_server: Option<String>,
    /// Its transport.
    pub protocol: Transport,
    /// Where it came from.
    pub client: SocketAddr,
    /// The VIP and port it came to.
    pub vip: SocketAddr,
    /// Where the real server sees it come from; `None`: not translated, or not known any more.
    pub source: Option<SocketAddr>,
    /// The real server's address and port that it is sent to; `None`: the VIP, as in `l4-dr`.
    pub destination: Option<SocketAddr>,
    /// How far it has come. One of the proxy's is `established` while a real server serves it, else `pending`.
    pub state: FlowState,
    /// Since its first packet.
    pub age_seconds: u64,
    /// Since the client's last packet; since the proxy has carried bytes, either way.
    pub idle_seconds: u64,
    /// Until it is forgotten, or closed by the proxy, if it stays idle. A translated flow stays while its real server
    /// sends.
    pub expires_seconds: u64,
    /// Bytes from the client; `None`: not counted for each flow.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Bytes to the client; `None`: not counted for each flow.
    #[serde(default)]
    pub reply_bytes: Option<u64>,
}

/// Flows that a query asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// The first `shown` in the order of the query.
    pub connections: Vec<Connection>,
    /// Flows that the query matches.
    pub total: u64,
    /// Flows in this answer.
    pub shown: u64,
}

words! {
    /// The order of a listing of flows.
    ConnectionsSort {
        /// The flow that was active last comes first.
        Idle = "idle",
        /// The newest flow comes first.
        Age = "age",
        /// By the client's address and port.
        Client = "client",
        /// By the name of the virtual service.
        Service = "service",
        /// By the name of the real server.
        Server = "server",
        /// The flow that is forgotten next comes first.
        Expires = "expires",
    }
}

/// Which flows to list. A field that is `None` matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsQuery {
    /// Name of the virtual service.
    pub service: Option<String>,
    /// Name of the real server.
    pub server: Option<String>,
    /// The client's address, or a network it is in.
    pub client: Option<Network>,
    /// The VIP, or a network it is in.
    pub vip: Option<Network>,
    /// The port of the VIP that the client used.
    pub port: Option<u16>,
    /// The transport.
    pub protocol: Option<Transport>,
    /// How far the flow has come.
    pub state: Option<FlowState>,
    /// Whole seconds since its first packet.
    pub age: Span,
    /// Whole seconds since the client's last packet.
    pub idle: Span,
    /// At most this many; 1 to [`super::MAX_LIMIT`].
    pub limit: u32,
    /// In this order.
    pub sort: ConnectionsSort,
    /// In the opposite order.
    pub reverse: bool,
}

/// Seconds from `least` to `most`, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// `None`: from 0.
    pub least: Option<u64>,
    /// `None`: without an end.
    pub most: Option<u64>,
}

impl Span {
    /// Whether so many seconds are within it.
    #[must_use]
    pub fn contains(&self, seconds: u64) -> bool {
        self.least.is_none_or(|least| seconds >= least) && self.most.is_none_or(|most| seconds <= most)
    }

    fn checked(self, of: &'static str) -> Result<Self, QueryError> {
        match (self.least, self.most) {
            (Some(least), Some(most)) if least > most => Err(QueryError::Empty { of, least, most }),
            _ => Ok(self),
        }
    }
}

impl Default for ConnectionsQuery {
    fn default() -> Self {
        Self {
            service: None,
            server: None,
            client: None,
            vip: None,
            port: None,
            protocol: None,
            state: None,
            age: Span::default(),
            idle: Span::default(),
            limit: DEFAULT_LIMIT,
            sort: ConnectionsSort::Idle,
            reverse: false,
        }
    }
}

impl ConnectionsQuery {
    /// Reads a query string (percent-encoded, without the `?`).
    ///
    /// # Errors
    /// A parameter that is unknown, repeated, or has no valid value.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::default();
        for (name, value) in query::pairs(text)? {
            match name.as_str() {
                "service" => parsed.service = Some(value),
                "server" => parsed.server = Some(value),
                "client" => parsed.client = Some(query::network("client", &value)?),
                "vip" => parsed.vip = Some(query::network("vip", &value)?),
                "port" => parsed.port = Some(port(&value)?),
                "protocol" => parsed.protocol = Some(protocol(&value)?),
                "state" => parsed.state = Some(state(&value)?),
                "min_age" => parsed.age.least = Some(seconds("min_age", &value)?),
                "max_age" => parsed.age.most = Some(seconds("max_age", &value)?),
                "min_idle" => parsed.idle.least = Some(seconds("min_idle", &value)?),
                "max_idle" => parsed.idle.most = Some(seconds("max_idle", &value)?),
                "limit" => parsed.limit = query::limit(&value)?,
                "sort" => parsed.sort = sort(&value)?,
                "reverse" => parsed.reverse = reverse(&value)?,
                _ => return Err(QueryError::Unknown { name, known: PARAMETERS }),
            }
        }
        (parsed.age, parsed.idle) = (parsed.age.checked("age")?, parsed.idle.checked("idle")?);
        Ok(parsed)
    }

    /// The query string that [`Self::parse`] reads back.
    #[must_use]
    pub fn encode(&self) -> String {
        let seconds = |seconds: Option<u64>| seconds.map(|seconds| seconds.to_string());
        query::encode(&[
            ("service", self.service.clone()),
            ("server", self.server.clone()),
            ("client", self.client.map(|client| client.to_string())),
            ("vip", self.vip.map(|vip| vip.to_string())),
            ("port", self.port.map(|port| port.to_string())),
            ("protocol", self.protocol.map(|protocol| protocol.to_string())),
            ("state", self.state.map(|state| state.to_string())),
            ("min_age", seconds(self.age.least)),
            ("max_age", seconds(self.age.most)),
            ("min_idle", seconds(self.idle.least)),
            ("max_idle", seconds(self.idle.most)),
            ("limit", Some(self.limit.to_string())),
            ("sort", Some(self.sort.to_string())),
            ("reverse", self.reverse.then(|| "true".to_owned())),
        ])
    }
}

const PARAMETERS: &str = "service, server, client, vip, port, protocol, state, min_age, max_age, min_idle, max_idle, \
                          limit, sort, reverse";

fn port(text: &str) -> Result<u16, QueryError> {
    let number = query::number("port", text, 1..=u64::from(u16::MAX))?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

fn seconds(name: &'static str, text: &str) -> Result<u64, QueryError> {
    query::number(name, text, 0..=u64::from(u32::MAX))
}

/// Also as in the configuration, where it is spelled small.
fn protocol(text: &str) -> Result<Transport, QueryError> {
    let read = |text: &str| Transport::from_word(&text.to_ascii_uppercase());
    query::word("protocol", text, read, Transport::ALL.iter().map(|transport| transport.word()))
}

fn state(text: &str) -> Result<FlowState, QueryError> {
    query::word("state", text, FlowState::from_word, FlowState::ALL.iter().map(|state| state.word()))
}

fn sort(text: &str) -> Result<ConnectionsSort, QueryError> {
    query::word("sort", text, ConnectionsSort::from_word, ConnectionsSort::ALL.iter().map(|sort| sort.word()))
}

fn reverse(text: &str) -> Result<bool, QueryError> {
    query::word("reverse", text, |text| text.parse().ok(), ["true", "false"].into_iter())
}
