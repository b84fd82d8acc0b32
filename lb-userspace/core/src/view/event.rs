//! Events: what happened, one sentence each; and the query that narrows them.

use serde::{Deserialize, Serialize};

use super::query::{self, QueryError};
use super::words::words;

words! {
    /// What an event is about.
    EventKind {
        /// A real server went up or down by its health check.
        Health = "health",
        /// The way to a real server changed.
        Network = "network",
        /// An administrator's order, or the end of a drain.
        Administration = "administration",
        /// A configuration was put in force, refused, confirmed or rolled back.
        Configuration = "configuration",
        /// A limit was reached, or is no longer.
        Capacity = "capacity",
        /// The daemon itself started, stopped or failed at something.
        Daemon = "daemon",
    }
}

words! {
    /// Whether an administrator should look.
    Severity {
        /// No.
        Info = "info",
        /// Yes.
        Warning = "warning",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by 1 over the life of this machine, restarts included.
    pub id: u64,
    /// When: milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// What it is about.
    pub kind: EventKind,
    /// Whether an administrator should look.
    pub severity: Severity,
    /// The virtual service, if it is about one.
    pub service: Option<String>,
    /// The real server, if it is about one.
    pub server: Option<String>,
    /// Who did it, if somebody did.
    pub by: Option<String>,
    /// What and why, one sentence without a full stop.
    pub sentence: String,
}

/// Events that a query asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The last `limit` of those that match, the oldest first.
    pub events: Vec<Event>,
    /// To be asked for as `after` next time.
    pub last: u64,
    /// The oldest event still kept; earlier ones have made room.
    pub oldest: u64,
}

/// Which events to list. A field that is `None` matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsQuery {
    /// Only later ones than this.
    pub after: Option<u64>,
    /// Only of this virtual service.
    pub service: Option<String>,
    /// Only of this real server.
    pub server: Option<String>,
    /// At most so many, the latest.
    pub limit: u32,
    /// While nothing matches, wait for up to this many seconds.
    pub wait_seconds: u32,
}

/// Events in a listing when the query names no limit.
const DEFAULT_EVENTS: u32 = 100;

/// The longest wait of a query.
pub const MAX_WAIT_SECONDS: u32 = 25;

impl Default for EventsQuery {
    fn default() -> Self {
        Self { after: None, service: None, server: None, limit: DEFAULT_EVENTS, wait_seconds: 0 }
    }
}

impl EventsQuery {
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
                "after" => parsed.after = Some(query::number("after", &value, 0..=u64::MAX)?),
                "limit" => parsed.limit = query::limit(&value)?,
                "wait" => {
                    let wait = query::number("wait", &value, 0..=u64::from(MAX_WAIT_SECONDS))?;
                    parsed.wait_seconds = u32::try_from(wait).unwrap_or(MAX_WAIT_SECONDS);
                }
                _ => return Err(QueryError::Unknown { name, known: "after, service, server, limit, wait" }),
            }
        }
        Ok(parsed)
    }

    /// The query string that [`Self::parse`] reads back.
    #[must_use]
    pub fn encode(&self) -> String {
        query::encode(&[
            ("after", self.after.map(|after| after.to_string())),
            ("service", self.service.clone()),
            ("server", self.server.clone()),
            ("limit", Some(self.limit.to_string())),
            ("wait", Some(self.wait_seconds.to_string())),
        ])
    }

    /// Whether the query means this event.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.after.is_none_or(|after| event.id > after)
            && self.service.as_ref().is_none_or(|service| event.service.as_ref() == Some(service))
            && self.server.as_ref().is_none_or(|server| event.server.as_ref() == Some(server))
    }
}
