//! The overview of services and servers: configuration, states and measures in one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lb_common::abi::ServerId;

use super::Control;
use super::known::Known;
use super::leaving::Leaving;
use super::proxied::Proxied;
use crate::config::model::Protocol;
use crate::doctor;
use crate::health::State;
use crate::tables::{Admin, ServerIdentity, ServerKey};
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
    /// Frames that came back from it.
    pub reply_packets: u64,
    /// Bytes of those frames.
    pub reply_bytes: u64,
    /// Source ports in use towards it, of TCP and of UDP.
    pub source_ports: [u64; 2],
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// In the kernel tables, by number.
    pub forwarded: BTreeMap<ServerId, ServerMeasures>,
    /// By the proxy.
    pub proxied: Proxied,
}

impl Measured {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: IntoIterator<Item = (ServerId, ServerMeasures)>> From<T> for Measured {
    fn from(forwarded: T) -> Self {
        Self { forwarded: forwarded.into_iter().collect(), proxied: Proxied::default() }
    }
}

impl Control {
    /// What an examination of the network begins with; which real servers clients hear is in the tables.
    #[must_use]
    pub fn for_examination(&self) -> doctor::Known {
        let addresses = self.servers.values().map(Known::address);
        let hops = addresses.filter_map(|address| Some((address, self.neighbours.status(address)?.clone())));
        let halted = self.servers.iter().filter(|(_, known)| known.admin() == Admin::Halted);
        doctor::Known {
            config: self.config.clone(),
            hops: hops.collect(),
            halted: halted.map(|(key, _)| key.clone()).collect(),
            heard: BTreeSet::new(),
        }
    }

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
            match service.mode.is_layer_4() {
                true => self.count(real, service.protocol, self.wanted.server_numbers.get(&key), measured),
                false => measured.proxied.count(real, service),
            }
            if let Some(known) = self.servers.get(&key) {
                self.describe(real, known, now);
            }
        }
        for real in &view.real_servers {
            view.connections += real.connections;
            view.packets += real.packets;
            view.bytes += real.bytes;
            view.flows += real.flows;
        }
        (view.state, view.reason) = service_state(&view.real_servers);
        view.real_servers.extend(self.leaving(service, measured, now));
        view.real_servers.extend(measured.proxied.leaving(service));
        view
    }

    /// Rows for those that the configuration names no longer.
    fn leaving(
        &self,
        service: &crate::config::model::VirtualService,
        measured: &Measured,
        now: Instant,
    ) -> Vec<RealServer> {
        let row = |(identity, leaving): (&ServerIdentity, &Leaving)| {
            let mut real = RealServer::leaving(&identity.server, identity.address, identity.port);
            self.count(&mut real, service.protocol, self.wanted.leaving.get(identity), measured);
            real.reason = match real.connections {
                1 => "removed from the configuration; it goes when its last connection has ended".to_owned(),
                more => format!("removed from the configuration; it goes when its {more} connections have ended"),
            };
            real.since_seconds = seconds(now, leaving.since);
            real.next_hop = self.next_hop(&leaving.known);
            real
        };
        self.leavers.iter().filter(|(identity, _)| identity.service == service.name).map(row).collect()
    }

    /// State, and the reason in one sentence.
    fn describe(&self, real: &mut RealServer, known: &Known, now: Instant) {
        let health = known.target.and_then(|id| self.health.view(id, now));
        real.weight = known.weight();
        real.administration.clone_from(&known.order);
        let adopted = known.health == State::Checking && known.adopted;
        real.state = match known.health {
            State::Up => ServerState::Up,
            State::Down => ServerState::Down,
            State::Checking if adopted => ServerState::Up,
            State::Checking => ServerState::Checking,
        };
        real.reason = match (&known.described.check, health) {
            (Some(_), Some(health)) if adopted => format!("in service since before lbd started; {}", health.reason),
            (Some(_), Some(health)) if health.state == State::Checking && known.health != State::Checking => {
                "its health check has changed, and the new one has not ended yet".to_owned()
            }
            (Some(_), Some(health)) => health.reason,
            _ => "it is not checked".to_owned(),
        };
        real.since_seconds = seconds(now, known.since);
        if real.state == ServerState::Up
            && let Some(problem) = known.hop_problem()
        {
            real.state = ServerState::Down;
            real.since_seconds = seconds(now, known.hop_since);
            real.reason = format!("{} cannot be reached: {problem}", known.address());
        }
        if real.state == ServerState::Up && known.hop.is_none() && known.is_forwarded() {
            real.state = ServerState::Checking;
            real.reason = format!("the way to {} is being looked up", known.address());
        }
        administration(real, known);
        if let Some(doubt) = &known.doubt {
            real.reason = format!("{}; {doubt}", real.reason);
        }
        real.next_hop = self.next_hop(known);
    }

    fn count(&self, real: &mut RealServer, protocol: Protocol, id: Option<&ServerId>, measured: &Measured) {
        let Some(id) = id else { return };
        let measures = measured.forwarded.get(id).copied().unwrap_or_default();
        real.connections = measures.connections;
        real.packets = measures.packets;
        real.bytes = measures.bytes;
        real.flows = measures.flows;
        real.persistent_clients = measures.persistent_clients;
        real.reply_packets = measures.reply_packets;
        real.reply_bytes = measures.reply_bytes;
        real.source_ports = self.source_ports(*id, protocol, measures.source_ports);
    }

    fn next_hop(&self, known: &Known) -> Option<view::NextHop> {
        known.next_hop().map(|hop| view::NextHop {
            device: self.neighbours.links().get(&hop.ifindex).map_or_else(String::new, |link| link.device.clone()),
            mac: hop.destination_mac.map(|byte| format!("{byte:02x}")).join(":"),
            gateway: hop.gateway,
        })
    }
}

/// What an administrator ordered goes before what the check says, unless the server is down anyway.
fn administration(real: &mut RealServer, known: &Known) {
    match known.admin() {
        Admin::Halted => {
            real.state = ServerState::Halted;
            real.reason = "halted".to_owned();
        }
        Admin::Drained if real.state == ServerState::Up => {
            real.state = ServerState::Draining;
            real.reason = format!("drained; {}", real.reason);
        }
        Admin::Drained | Admin::Online => {}
    }
    if let Some(percent) = known.slow_start.percent()
        && real.state == ServerState::Up
    {
        real.reason = format!("slow start, {percent} % of its weight of {}; {}", known.full_weight(), real.reason);
    }
}

fn seconds(now: Instant, since: Instant) -> u64 {
    now.checked_duration_since(since).unwrap_or(Duration::ZERO).as_secs()
}
