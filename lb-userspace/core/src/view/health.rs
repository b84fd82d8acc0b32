//! The listing of health checks, for `lbctl health`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::words::words;

/// Every health check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthList {
    /// In the order of the configuration.
    pub checks: Vec<Check>,
    /// Probes that are under way now.
    pub under_way: u64,
    /// The latest that a probe has started after its time since the daemon started, in milliseconds.
    pub latest_start_ms: u64,
}

words! {
    /// What a health check says of its real server.
    HealthState {
        /// It has not ended yet.
        Checking = "checking",
        /// It succeeds.
        Up = "up",
        /// It fails.
        Down = "down",
        /// Nothing is checked.
        Unchecked = "unchecked",
    }
}

/// The health check of one real server of one virtual service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The virtual service.
    pub service: String,
    /// The real server.
    pub server: String,
    /// The real server's own address.
    pub address: IpAddr,
    /// The port that is asked; `None`: the check uses none.
    pub port: Option<u16>,
    /// What is asked: `https /admin/status`.
    pub check: String,
    /// From the start of one probe to the start of the next.
    pub interval_ms: u64,
    /// A probe that takes longer has failed.
    pub timeout_ms: u64,
    /// What the check says.
    pub state: HealthState,
    /// How long it has said so.
    pub since_seconds: u64,
    /// What the last probe found, one sentence.
    pub reason: String,
    /// Age of the last good probe; `None`: there was none.
    pub last_good_seconds: Option<u64>,
    /// Good probes in a row.
    pub successes: u32,
    /// Failed probes in a row.
    pub failures: u32,
    /// Good probes in a row that bring the real server up now: more than `rise` while it is damped.
    pub rise: u32,
    /// Failed probes in a row that take it down.
    pub fall: u32,
    /// The last probes, the latest first; see [`Sample`].
    pub history: Vec<Sample>,
    /// Other services whose real servers this same probe answers for, as `SERVICE/SERVER`.
    pub shared_with: Vec<String>,
}

/// One probe that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How long ago it ended.
    pub ago_ms: u64,
    /// Whether it was as expected.
    pub good: bool,
    /// From its start to its end.
    pub took_ms: f64,
}
