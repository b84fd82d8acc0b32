//! Real servers of the layer 7 services: what the proxy is told of them, and what it has counted.
//!
//! In: states of real servers; counts of the proxy. Out: states for its balancers, ends of drains, figures for the
//! overview. Absent: connections.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Control, ServerMeasures};
use crate::config::model::VirtualService;
use crate::tables::{ServerIdentity, ServerInput, ServerKey};
use crate::view::RealServer;

/// What the proxy has counted, by real server. It knows those that a reload has removed, too, until their
/// connections have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied(pub BTreeMap<ServerIdentity, ServerMeasures>);

impl Control {
    /// The states of everybody that the proxy may connect to.
    #[must_use]
    pub fn proxied(&self) -> BTreeMap<ServerKey, ServerInput> {
        let proxied = self.servers.iter().filter(|(_, known)| !known.is_forwarded());
        proxied.map(|(key, known)| (key.clone(), known.input())).collect()
    }

    /// The proxy has counted connections and remembered clients, from `counted_from` on.
    pub fn counted_proxied(&mut self, proxied: &Proxied, counted_from: Instant, now: Instant) {
        let ordered = self.servers.iter().filter(|(_, known)| !known.is_forwarded() && known.order.is_some());
        let left = ordered.map(|(key, known)| {
            let identity = ServerIdentity {
                service: key.service.clone(),
                server: key.server.clone(),
                address: known.address(),
                port: known.described.port,
            };
            let measures = proxied.0.get(&identity).copied().unwrap_or_default();
            (key.clone(), measures.connections + measures.persistent_clients)
        });
        for (key, left) in left.collect::<Vec<_>>() {
            self.look_after_drain(&key, left, counted_from);
        }
        self.pump(now);
    }
}

impl Proxied {
    pub(super) fn count(&self, real: &mut RealServer, service: &VirtualService) {
        let identity = ServerIdentity {
            service: service.name.clone(),
            server: real.name.clone(),
            address: real.address,
            port: real.port,
        };
        fill(real, self.0.get(&identity).copied().unwrap_or_default());
    }

    /// Rows for those that the configuration names no longer.
    pub(super) fn leaving(&self, service: &VirtualService) -> Vec<RealServer> {
        let named = |identity: &ServerIdentity| {
            service.real_servers.iter().any(|real| {
                (real.name.as_str(), real.address, real.port)
                    == (identity.server.as_str(), identity.address, identity.port)
            })
        };
        let of_it = self.0.iter().filter(|(identity, _)| identity.service == service.name);
        let gone = of_it.filter(|(identity, measures)| {
            measures.connections > 0 && !named(identity) && identity.server != crate::tables::FALLBACK
        });
        let row = |(identity, measures): (&ServerIdentity, &ServerMeasures)| {
            let mut real = RealServer::leaving(&identity.server, identity.address, identity.port);
            fill(&mut real, *measures);
            real.reason = match measures.connections {
                1 => "removed from the configuration; it goes when its last connection has ended".to_owned(),
                more => format!("removed from the configuration; it goes when its {more} connections have ended"),
            };
            real
        };
        gone.map(row).collect()
    }
}

fn fill(real: &mut RealServer, measures: ServerMeasures) {
    real.connections = measures.connections;
    real.bytes = measures.bytes;
    real.flows = measures.flows;
    real.reply_bytes = measures.reply_bytes;
    real.persistent_clients = measures.persistent_clients;
}
