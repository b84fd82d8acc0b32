//! What the sweep over flows and persistence records needs to know: who is in service.

use std::collections::BTreeMap;

use lb_common::abi::{
    Flow, FlowKey, Persistence, PersistenceKey, ServerId, ServerState, Service, ServiceId, ServiceMode, Ticks,
};

use super::Control;
use crate::tables::expiry::{TickTimeouts, Verdict, flow_verdict, persistence_verdict};

/// Who is in service, and how long idle records are kept: a copy, so that the sweep can run beside
/// the machine.
#[derive(Clone, Debug)]
pub struct Roster {
    servers: BTreeMap<ServerId, (u32, ServerState)>,
    /// Those whose persistence records must go.
    off_duty: std::collections::BTreeSet<ServerId>,
    services: BTreeMap<ServiceId, Service>,
    timeouts: TickTimeouts,
}

/// What a sweep counted, by server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live flows: those whose client has not said good-bye.
    pub connections: BTreeMap<ServerId, u64>,
    /// Flows whose client has, and may still be answered (RFC 9293 section 3.6).
    pub closing: BTreeMap<ServerId, u64>,
    /// Persistence records.
    pub clients: BTreeMap<ServerId, u64>,
}

impl Control {
    /// Who is in service now.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let servers = self.installed.servers.iter();
        Roster {
            servers: servers.map(|(id, entry)| (*id, (entry.generation, ServerState::from_u8(entry.state)))).collect(),
            off_duty: self.wanted.off_duty.clone(),
            services: self.installed.services.clone(),
            timeouts: TickTimeouts::from(&self.config.node.flow_timeouts, self.tick),
        }
    }
}

impl Roster {
    /// Server numbers that have an entry.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.servers.keys().copied()
    }

    /// Whether a flow stays. Flows of a service that is gone are over.
    #[must_use]
    pub fn flow(&self, key: &FlowKey, flow: &Flow, now: Ticks) -> Verdict {
        flow_verdict(key, flow, &|id| self.servers.get(&id).copied(), now, &self.timeouts)
    }

    /// Whether a persistence record stays.
    #[must_use]
    pub fn client(&self, key: &PersistenceKey, record: &Persistence, now: Ticks) -> Verdict {
        let on_duty = |id| if self.off_duty.contains(&id) { None } else { self.servers.get(&id).copied() };
        persistence_verdict(key, record, &on_duty, now, &|service| self.persistence_timeout(service))
    }

    /// Idle time after which a client of this service is forgotten; 0: none is remembered.
    #[must_use]
    pub fn persistence_timeout(&self, service: ServiceId) -> Ticks {
        let service = self.services.get(&service).filter(|s| ServiceMode::from_u8(s.mode) != ServiceMode::None);
        service.map_or(0, |service| service.persistence_timeout)
    }

    /// Idle time after which this flow is forgotten.
    #[must_use]
    pub fn flow_timeout(&self, key: &FlowKey, flow: &Flow) -> Ticks {
        self.timeouts.of(key, flow)
    }
}
