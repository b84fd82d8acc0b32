//! The records of persistence, as they are listed and cleared beside the daemon's loop.
//!
//! In: a query. Out: the records it means, with names, or that they are forgotten. Absent: cookies: the clients have
//! them, and nothing is recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_core::config::model::PersistenceBy;
use lb_core::proxy::clients::{Clients, Key};
use lb_core::view::{PersistenceQuery, PersistenceRecord, PersistentClient};

use super::Proxy;

/// Who remembers clients, and the names of the real servers they keep.
pub struct Records {
    services: Vec<Remembering>,
    by_cookie: Vec<String>,
    servers: HashMap<u32, String>,
}

struct Remembering {
    service: Arc<str>,
    clients: Arc<Clients<u32>>,
    /// Bits by which clients are kept, IPv4 and IPv6.
    prefixes: (u8, u8),
}

impl Proxy {
    /// The records of all services, for somebody who looks at them beside this thread.
    #[must_use]
    pub fn records(&self) -> Records {
        let (mut services, mut by_cookie) = (Vec::new(), Vec::new());
        for service in self.services.values() {
            let running = service.glance();
            let Some(persistence) = &running.config.persistence else { continue };
            if let PersistenceBy::Cookie { .. } = persistence.by {
                by_cookie.push(service.name.to_string());
            }
            if let Some(clients) = &running.clients {
                let prefixes = (persistence.prefix_v4, persistence.prefix_v6);
                services.push(Remembering {
                    service: Arc::clone(&service.name),
                    clients: Arc::clone(clients),
                    prefixes,
                });
            }
        }
        let named = self.servers.iter().map(|(identity, server)| (server.number, identity.server.clone()));
        Records { services, by_cookie, servers: named.collect() }
    }
}

impl Records {
    /// All of the services that the query means.
    pub fn list(&self, query: &PersistenceQuery, now: Instant) -> Vec<PersistenceRecord> {
        let mut list = Vec::new();
        for of in self.services.iter().filter(|of| query.means_service(&of.service)) {
            let timeout = of.clients.timeout();
            let record = |(key, server, age, idle): (Key, u32, Duration, Duration)| PersistenceRecord {
                virtual_service: of.service.to_string(),
                client: PersistentClient::of(&key, of.prefixes),
                real_server: self.server(server),
                age_seconds: age.as_secs(),
                idle_seconds: idle.as_secs(),
                expires_seconds: timeout.saturating_sub(idle).as_secs(),
                confirmed: true,
            };
            list.extend(of.clients.list(now).into_iter().map(record));
        }
        list
    }

    /// Forgets the records that the query means, and says how many.
    pub fn forget(&self, query: &PersistenceQuery) -> u64 {
        let forget = |of: &Remembering| {
            let meant = |key: &Key, server: &u32| {
                query.means(&of.service, &self.server(*server), &PersistentClient::of(key, of.prefixes))
            };
            of.clients.forget_if(meant) as u64
        };
        self.services.iter().filter(|of| query.means_service(&of.service)).map(forget).sum()
    }

    /// Services that the query means and that have no records, because their clients have a cookie.
    pub fn by_cookie(&self, query: &PersistenceQuery) -> Vec<String> {
        self.by_cookie.iter().filter(|service| query.means_service(service)).cloned().collect()
    }

    fn server(&self, number: u32) -> String {
        self.servers.get(&number).cloned().unwrap_or_else(|| format!("(removed server {number})"))
    }
}
