//! What the sweep over flows and persistence records needs to know: who is in service.

use std::collections::BTreeMap;

use lb_common::abi::{
    Address, Flow, FlowKey, FlowState, Persistence, PersistenceKey, Reply, Server, ServerId, ServerState, Service,
    ServiceId, ServiceMode, Ticks,
};
use lb_common::datapath::replies;

use super::Control;
use crate::tables::expiry::{TickTimeouts, Verdict, elapsed, flow_verdict, persistence_verdict};

/// Who is in service, and how long idle records are kept: a copy, so that the sweep can run beside
/// the machine.
#[derive(Clone, Debug)]
pub struct Roster {
    servers: BTreeMap<ServerId, Server>,
    sources: BTreeMap<u32, Address>,
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
    /// Live flows whose client has sent one packet, by service.
    pub half_open: BTreeMap<ServiceId, u64>,
}

/// How long a flow may wait for its client's second packet while tables or ports run out: more than
/// any round trip takes.
const PRESSED_PENDING: Ticks = 2;

/// IANA protocol number.
const TCP: u8 = 6;

/// Whether this is the record of the replies to this flow, and not to one that came after it.
#[must_use]
pub fn answers(reply: &Reply, key: &FlowKey, flow: &Flow) -> bool {
    reply.client == key.client
        && reply.client_port == key.client_port
        && reply.vip == key.vip
        && reply.vip_port == key.vip_port
        && reply.server == flow.server
}

impl Control {
    /// Who is in service now.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let servers = self.installed.servers.iter();
        Roster {
            servers: servers.map(|(id, entry)| (*id, *entry)).collect(),
            sources: self.installed.sources.clone(),
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
        flow_verdict(key, flow, &|id| self.state_of(id), now, &self.timeouts)
    }

    /// The same when tables or ports run out: flows that may be spoofed go first.
    #[must_use]
    pub fn pressed(mut self) -> Self {
        self.timeouts.pending = self.timeouts.pending.min(PRESSED_PENDING);
        self
    }

    /// Whether the record of replies stays, as far as its server is concerned.
    #[must_use]
    pub fn reply(&self, reply: &Reply) -> bool {
        self.state_of(reply.server)
            .is_some_and(|(generation, state)| generation == reply.generation && state != ServerState::Down)
    }

    /// Whether nothing has come from the real server for so long that the record of replies stays only if
    /// its flow does.
    #[must_use]
    pub fn is_quiet(&self, reply: &Reply, now: Ticks) -> bool {
        elapsed(reply.last_seen, now) > self.timeouts.pending
    }

    /// Whether a flow whose client has been idle stays because the real server was not. Not one that is
    /// over, and not a TCP handshake that the client does not go on with: servers repeat their answer.
    #[must_use]
    pub fn is_answered(&self, key: &FlowKey, flow: &Flow, reply: &Reply, now: Ticks) -> bool {
        let lasting = match FlowState::from_u8(flow.state) {
            FlowState::Established | FlowState::HalfClosed => true,
            FlowState::Pending => key.protocol != TCP,
            FlowState::Closing => false,
        };
        lasting && answers(reply, key, flow) && elapsed(reply.last_seen, now) <= self.timeouts.of(key, flow)
    }

    /// Where the record of the replies to this flow is; `None`: it has none.
    #[must_use]
    pub fn replies_to(&self, key: &FlowKey, flow: &Flow) -> Option<FlowKey> {
        let server = self.servers.get(&flow.server)?;
        match ServiceMode::from_u8(server.mode) {
            ServiceMode::Nat => Some(replies(key, server, None)),
            ServiceMode::SourceNat => {
                Some(replies(key, server, Some((self.sources.get(&flow.source)?, flow.source_port))))
            }
            ServiceMode::DirectRouting | ServiceMode::None => None,
        }
    }

    /// Pools of source ports that servers use now.
    pub fn pools(&self) -> impl Iterator<Item = u32> + '_ {
        self.servers.values().filter(|server| server.pool != 0).flat_map(|server| [server.pool, server.pool + 1])
    }

    fn state_of(&self, id: ServerId) -> Option<(u32, ServerState)> {
        self.servers.get(&id).map(|server| (server.generation, ServerState::from_u8(server.state)))
    }

    /// Whether a persistence record stays.
    #[must_use]
    pub fn client(&self, key: &PersistenceKey, record: &Persistence, now: Ticks) -> Verdict {
        let on_duty = |id| if self.off_duty.contains(&id) { None } else { self.state_of(id) };
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
