//! What the proxy has carried for a virtual service of layer 7.

use serde::{Deserialize, Serialize};

/// What the proxy has carried for a virtual service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxied {
    /// Connections of clients now.
    pub clients: u64,
    /// Connections of clients that were accepted.
    pub accepted: u64,
    /// Connections (`l7-http`: requests) that wait for room at a real server now.
    pub waiting: u64,
    /// Requests (`l7-http`).
    pub requests: u64,
    /// Answers by the first digit of their status, 1 to 5 (`l7-http`).
    pub answers: [u64; 5],
    /// Attempts on another real server.
    pub retries: u64,
    /// Connections and requests that ended badly; reasons that have not happened are left out.
    pub failures: Vec<ProxyFailure>,
}

/// A reason for which connections and requests ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyFailure {
    /// In kebab case.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// What it means, one sentence.
    pub help: String,
}
