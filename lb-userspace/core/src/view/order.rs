//! Orders about one real server: drain, halt, online, weight; and what they came to.

use serde::{Deserialize, Serialize};

use super::words::{ServerState, words};

/// The body of `POST /v1/order`: `{"service": "HL7", "server": "IMS1", "order": "drain"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// The virtual service.
    pub service: String,
    /// One of its real servers.
    pub server: String,
    /// What to do.
    #[serde(flatten)]
    pub order: Order,
    /// Who orders it, for the record: a login name. Absent: the user at the other end of the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What an administrator wants of a real server. It stays until another order says otherwise, over
/// reloads, restarts and reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "lowercase")]
pub enum Order {
    /// Takes no new clients; flows and persistent clients stay.
    Drain,
    /// Takes nobody; flows and persistence records are cut at once.
    Halt,
    /// Serves again.
    Online,
    /// Takes another share of new flows than configured.
    Weight {
        /// The share; `None`: the configured one again.
        weight: Option<u16>,
    },
}

/// What an order came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    /// The virtual service.
    pub service: String,
    /// The real server.
    pub server: String,
    /// Whether the order changed anything.
    pub changed: bool,
    /// The state it leads to.
    pub state: ServerState,
    /// Flows that the real server had when it was ordered.
    pub connections: u64,
    /// Clients that would have come back to it.
    pub persistent_clients: u64,
    /// What was done, one sentence.
    pub sentence: String,
    /// What the administrator should know, one sentence each: nobody is left to take new clients, ...
    pub warnings: Vec<String>,
}

/// What an administrator ordered for a real server, as long as it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administration {
    /// Drained, halted, or online (with another weight).
    pub state: AdministrativeState,
    /// Instead of the configured weight.
    pub weight: Option<u16>,
    /// Who ordered it last.
    pub by: String,
    /// When: seconds since 1970-01-01 UTC.
    pub at: u64,
}

words! {
    /// What an administrator ordered.
    AdministrativeState {
        /// Nothing.
        Online = "online",
        /// No new clients.
        Drained = "drained",
        /// Nobody.
        Halted = "halted",
    }
}
