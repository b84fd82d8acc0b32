//! The listing of flows, and the query that narrows it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::query::{self, DEFAULT_LIMIT, QueryError};
use super::words::{FlowState, Transport, words};

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The virtual service it reached.
    pub virtual_service: String,
    /// The real server that has it.
    pub real_server: String,
    /// Its transport.
    pub protocol: Transport,
    /// Where it came from.
    pub client: SocketAddr,
    /// The VIP and port it came to.
    pub vip: SocketAddr,
    /// How far it has come.
    pub state: FlowState,
    /// Since its first packet.
    pub age_seconds: u64,
    /// Since its last packet.
    pub idle_seconds: u64,
    /// Until it is forgotten, if it stays idle.
    pub expires_seconds: u64,
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
    /// How far the flow has come.
    pub state: Option<FlowState>,
    /// At most this many; 1 to [`super::MAX_LIMIT`].
    pub limit: u32,
    /// In this order.
    pub sort: ConnectionsSort,
}

impl Default for ConnectionsQuery {
    fn default() -> Self {
        Self {
            service: None,
            server: None,
            client: None,
            state: None,
            limit: DEFAULT_LIMIT,
            sort: ConnectionsSort::Idle,
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
                "client" => parsed.client = Some(query::client(&value)?),
                "state" => parsed.state = Some(state(value)?),
                "limit" => parsed.limit = query::limit(&value)?,
                "sort" => parsed.sort = sort(value)?,
                _ => return Err(QueryError::Unknown { name, known: "service, server, client, state, limit, sort" }),
            }
        }
        Ok(parsed)
    }

    /// The query string that [`Self::parse`] reads back.
    #[must_use]
    pub fn encode(&self) -> String {
        query::encode(&[
            ("service", self.service.clone()),
            ("server", self.server.clone()),
            ("client", self.client.map(|client| client.to_string())),
            ("state", self.state.map(|state| state.to_string())),
            ("limit", Some(self.limit.to_string())),
            ("sort", Some(self.sort.to_string())),
        ])
    }

    /// Whether the query means this flow.
    #[must_use]
    pub fn matches(&self, connection: &Connection) -> bool {
        self.service.as_ref().is_none_or(|service| *service == connection.virtual_service)
            && self.server.as_ref().is_none_or(|server| *server == connection.real_server)
            && self.client.is_none_or(|client| client.contains(connection.client.ip()))
            && self.state.is_none_or(|state| state == connection.state)
    }

    /// The answer: of all `flows` those that match, in order, no more than the limit. Keeps no more
    /// than the limit in memory.
    #[must_use]
    pub fn select(&self, flows: impl Iterator<Item = Connection>) -> Connections {
        let matching = flows.filter(|flow| self.matches(flow));
        let sort = self.sort;
        let (connections, total) = query::first(matching, self.limit, |flow| {
            let rank = match sort {
                ConnectionsSort::Idle => flow.idle_seconds,
                ConnectionsSort::Age => flow.age_seconds,
                ConnectionsSort::Client => 0,
            };
            // The rest of the key makes the order total, so that two answers compare.
            (rank, flow.client, flow.vip, flow.protocol.word())
        });
        Connections { shown: connections.len() as u64, connections, total }
    }
}

fn state(got: String) -> Result<FlowState, QueryError> {
    FlowState::from_word(&got).ok_or_else(|| QueryError::Word {
        name: "state",
        got,
        allowed: FlowState::ALL.iter().map(|state| state.word()).collect::<Vec<_>>().join(", "),
    })
}

fn sort(got: String) -> Result<ConnectionsSort, QueryError> {
    ConnectionsSort::from_word(&got).ok_or_else(|| QueryError::Word {
        name: "sort",
        got,
        allowed: ConnectionsSort::ALL.iter().map(|sort| sort.word()).collect::<Vec<_>>().join(", "),
    })
}
