//! The listing of persistence records, and the query that narrows it.

use serde::{Deserialize, Serialize};

use super::first::First;
use super::persistent_client::PersistentClient;
use super::query::{self, DEFAULT_LIMIT, QueryError};

/// One client (or network of clients) that keeps its real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceRecord {
    /// The virtual service that remembers it.
    pub virtual_service: String,
    /// The client.
    pub client: PersistentClient,
    /// The real server it keeps.
    pub real_server: String,
    /// Since the record was made.
    pub age_seconds: u64,
    /// Since it was used.
    pub idle_seconds: u64,
    /// Until it is forgotten, if it stays idle.
    pub expires_seconds: u64,
    /// Whether a flow of the client was established; one that was not is the first to go when the
    /// table is full.
    pub confirmed: bool,
}

/// Persistence records that a query asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceList {
    /// The first `shown`, by virtual service, then client.
    pub persistence: Vec<PersistenceRecord>,
    /// Records that the query matches.
    pub total: u64,
    /// Records in this answer.
    pub shown: u64,
    /// Virtual services that the query means and that keep clients by a cookie: the clients have it, and there are no
    /// records of them.
    #[serde(default)]
    pub by_cookie: Vec<String>,
}

/// Which persistence records to list, or to clear. A field that is `None` matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceQuery {
    /// Name of the virtual service.
    pub service: Option<String>,
    /// Name of the real server.
    pub server: Option<String>,
    /// The client's address, or a network, which matches each record that shares an address with it; or an RDP user.
    pub client: Option<PersistentClient>,
    /// List at most this many; clearing has no limit.
    pub limit: u32,
}

impl Default for PersistenceQuery {
    fn default() -> Self {
        Self { service: None, server: None, client: None, limit: DEFAULT_LIMIT }
    }
}

impl PersistenceQuery {
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
                "client" => parsed.client = Some(query::persistent_client("client", &value)?),
                "limit" => parsed.limit = query::limit(&value)?,
                _ => return Err(QueryError::Unknown { name, known: "service, server, client, limit" }),
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
            ("limit", Some(self.limit.to_string())),
        ])
    }

    /// Whether the query means this record.
    #[must_use]
    pub fn matches(&self, record: &PersistenceRecord) -> bool {
        self.means(&record.virtual_service, &record.real_server, &record.client)
    }

    /// Whether it means a record of these.
    #[must_use]
    pub fn means(&self, service: &str, server: &str, client: &PersistentClient) -> bool {
        self.means_service(service)
            && self.server.as_ref().is_none_or(|name| name == server)
            && self.client.is_none_or(|wanted| wanted.overlaps(client))
    }

    /// Whether it means records of this service.
    #[must_use]
    pub fn means_service(&self, service: &str) -> bool {
        self.service.as_ref().is_none_or(|name| name == service)
    }

    /// The answer: of all `records` those that match, in order, no more than the limit. Keeps no
    /// more than the limit in memory.
    #[must_use]
    pub fn select(&self, records: impl Iterator<Item = PersistenceRecord>) -> PersistenceList {
        let mut first = First::new(self.limit);
        for record in records.filter(|record| self.matches(record)) {
            first.offer((record.virtual_service.clone(), record.client), || record);
        }
        let (persistence, total) = first.finish();
        PersistenceList { shown: persistence.len() as u64, persistence, total, by_cookie: Vec::new() }
    }
}
