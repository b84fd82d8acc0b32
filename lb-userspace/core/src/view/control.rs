//! Answers to what changes the daemon: reload, stop, clearing persistence; and refusals.

use serde::{Deserialize, Serialize};

use super::words::words;

/// The body of every answer that is not a success, except a refused configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong and what to do, one sentence.
    pub error: String,
}

/// The body of `POST /v1/reload`; none means the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Go back to the configuration before, unless confirmed (`POST /v1/confirm`) within so many seconds.
    #[serde(default)]
    pub confirm_within_seconds: Option<u64>,
}

words! {
    /// What a reload came to.
    ReloadResult {
        /// The new configuration is in force.
        Applied = "applied",
        /// The file says what is in force already.
        Unchanged = "unchanged",
    }
}

/// A reload that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What it came to.
    pub result: ReloadResult,
    /// What changed, one sentence each.
    pub changes: Vec<String>,
    /// What the administrator should look at, one sentence each.
    pub warnings: Vec<String>,
    /// It is rolled back unless it is confirmed within so many seconds; `None`: it stays.
    pub confirm_within_seconds: Option<u64>,
}

/// The answer to `POST /v1/confirm` and `POST /v1/rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmReport {
    /// What was done, one sentence.
    pub sentence: String,
}

/// A configuration that cannot run; the one in force stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidConfiguration {
    /// Each mistake in its JSON form.
    pub diagnostics: Vec<serde_json::Value>,
    /// The same mistakes as text for a terminal, without colour.
    pub rendered: String,
}

/// How the daemon should stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Whether the datapath goes too: virtual services are then no longer answered. Otherwise the
    /// kernel goes on forwarding without the daemon.
    #[serde(default)]
    pub detach: bool,
}

/// The daemon is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReport {
    /// Whether the datapath goes too.
    pub detach: bool,
}

/// Persistence records were forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceCleared {
    /// How many.
    pub cleared: u64,
    /// Virtual services that were meant and that keep clients by a cookie, which the clients have still.
    #[serde(default)]
    pub by_cookie: Vec<String>,
}

/// A newer lbd was started and takes over; it has when the overview shows its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeReport {
    /// Its process.
    pub pid: u32,
}
