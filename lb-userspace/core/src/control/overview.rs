//! The overview of services and servers: configuration, states and measures in one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lb_common::abi::ServerId;

use super::Control;
use super::known::Known;
use crate::health::State;
use crate::tables::ServerKey;
use crate::view::{self, RealServer, ServerState, VirtualService, service_state};

/// What was counted for one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerMeasures {
    /// Frames sent to it.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Flows it was given.
    pub flows: u64,
    /// Flows it has now.
    pub connections: u64,
    /// Clients that would come back to it.
    pub persistent_clients: u64,
}

/// What was counted, by server.
pub type Measured = BTreeMap<ServerId, ServerMeasures>;

impl Control {
    /// Services and their servers, in the order of the configuration.
    #[must_use]
    pub fn status(&self, measured: &Measured, now: Instant) -> Vec<VirtualService> {
        self.config.virtual_services.iter().map(|service| self.service(service, measured, now)).collect()
    }

    fn service(
        &self,
        service: &crate::config::model::VirtualService,
        measured: &Measured,
        now: Instant,
    ) -> VirtualService {
        let mut view = VirtualService::described(service);
        for (real, server) in view.real_servers.iter_mut().zip(&service.real_servers) {
            let key = ServerKey { service: service.name.clone(), server: server.name.clone() };
            let measures = self.wanted.server_numbers.get(&key).and_then(|id| measured.get(id));
            count(real, &measures.copied().unwrap_or_default());
            if let Some(known) = self.servers.get(&key) {
                self.describe(real, &key, known, now);
            }
        }
        for real in &view.real_servers {
            view.connections += real.connections;
            view.packets += real.packets;
            view.bytes += real.bytes;
            view.flows += real.flows;
        }
        (view.state, view.reason) = service_state(&view.real_servers);
        view
    }

    /// State, and the reason in one sentence.
    fn describe(&self, real: &mut RealServer, key: &ServerKey, known: &Known, now: Instant) {
        let target = self.targets.iter().find(|(_, of)| *of == key).map(|(id, _)| *id);
        let health = target.and_then(|id| self.health.view(id, now));
        let adopted = known.health == State::Checking && known.adopted;
        real.state = match known.health {
            State::Up => ServerState::Up,
            State::Down => ServerState::Down,
            State::Checking if adopted => ServerState::Up,
            State::Checking => ServerState::Checking,
        };
        real.reason = match (&known.check, health) {
            (Some(_), Some(health)) if adopted => format!("in service since before lbd started; {}", health.reason),
            (Some(_), Some(health)) => health.reason,
            _ => "it is not checked".to_owned(),
        };
        real.since_seconds = seconds(now, known.since);
        if real.state == ServerState::Up
            && let Some(problem) = known.hop_problem()
        {
            real.state = ServerState::Down;
            real.since_seconds = seconds(now, known.hop_since);
            real.reason = format!("{} cannot be reached: {problem}", known.address);
        }
        if real.state == ServerState::Up && known.hop.is_none() {
            real.state = ServerState::Checking;
            real.reason = format!("the way to {} is being looked up", known.address);
        }
        if let Some(doubt) = &known.doubt {
            real.reason = format!("{}; {doubt}", real.reason);
        }
        real.next_hop = known.next_hop().map(|hop| view::NextHop {
            device: self.neighbours.links().get(&hop.ifindex).map_or_else(String::new, |link| link.device.clone()),
            mac: hop.destination_mac.map(|byte| format!("{byte:02x}")).join(":"),
            gateway: hop.gateway,
        });
    }
}

fn count(real: &mut RealServer, measures: &ServerMeasures) {
    real.connections = measures.connections;
    real.packets = measures.packets;
    real.bytes = measures.bytes;
    real.flows = measures.flows;
    real.persistent_clients = measures.persistent_clients;
}

fn seconds(now: Instant, since: Instant) -> u64 {
    now.checked_duration_since(since).unwrap_or(Duration::ZERO).as_secs()
}
