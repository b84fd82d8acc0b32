//! What is known of one real server, from all the machines that look after it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::abi::{Address, Server};

use super::slow_start::SlowStart;
use crate::config::model::{HealthCheck, Mode};
use crate::health::{State, TargetId};
use crate::neighbour::{self, Problem};
use crate::tables::{Admin, Health, Installed, NextHop, ServerInput};
use crate::view::{Administration, AdministrativeState};

/// What the configuration says of a real server, as far as this machine goes by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub address: IpAddr,
    pub port: Option<u16>,
    pub weight: u16,
    pub slow_start: Duration,
    /// `None`: it is not checked.
    pub check: Option<HealthCheck>,
    /// The VIP, and the port that a check speaks for.
    pub vip: (IpAddr, u16),
    /// How its flows are delivered.
    pub mode: Mode,
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub described: Described,
    /// Who asks on its behalf; `None`: nobody.
    pub target: Option<TargetId>,
    pub health: State,
    pub since: Instant,
    /// Set by a restart: in service until the check has spoken.
    pub adopted: bool,
    pub hop: Option<Result<neighbour::NextHop, Problem>>,
    pub hop_since: Instant,
    /// The next hop is what the tables had, and nobody has confirmed it since.
    pub hop_adopted: bool,
    pub doubt: Option<Problem>,
    /// It has as many connections as it may have.
    pub full: bool,
    /// What an administrator ordered.
    pub order: Option<Administration>,
    /// Since when it is drained, halted or online; who was counted before has nothing to say of that.
    pub admin_since: Instant,
    /// Nobody is left of those that its drain spares.
    pub drained: bool,
    pub slow_start: SlowStart,
}

impl Known {
    pub(super) fn new(described: Described, now: Instant) -> Self {
        let health = if described.check.is_none() { State::Up } else { State::Checking };
        Self {
            described,
            target: None,
            health,
            since: now,
            adopted: false,
            hop: None,
            hop_since: now,
            hop_adopted: false,
            doubt: None,
            full: false,
            order: None,
            admin_since: now,
            drained: false,
            slow_start: SlowStart::default(),
        }
    }

    pub(super) fn address(&self) -> IpAddr {
        self.described.address
    }

    /// Whether the datapath sends packets to it; else the proxy connects to it.
    pub(super) fn is_forwarded(&self) -> bool {
        self.described.mode.is_layer_4()
    }

    /// The configuration says something else of it now.
    pub(super) fn describe(&mut self, described: Described, now: Instant) {
        if described.check.is_none() && self.health != State::Up {
            self.health = State::Up;
            self.since = now;
        }
        if described.slow_start.is_zero() {
            self.slow_start = SlowStart::default();
        }
        self.described = described;
    }

    /// Goes on as the tables say.
    pub(super) fn adopt(&mut self, hop: neighbour::NextHop) {
        self.adopted = true;
        self.hop = Some(Ok(hop));
        self.hop_adopted = true;
    }

    /// A server that comes back is spared for a while; one that comes for the first time comes with all
    /// the others.
    pub(super) fn health_changed(&mut self, health: State, now: Instant) {
        if self.health == State::Down && health == State::Up {
            self.slow_start.begin(self.described.slow_start, now);
        }
        self.health = health;
        self.since = now;
        self.adopted = false;
    }

    /// An administrator has spoken.
    pub(super) fn ordered(&mut self, order: Option<Administration>, now: Instant) {
        let was = self.admin();
        self.order = order;
        if was == self.admin() {
            return;
        }
        self.admin_since = now;
        self.drained = false;
        if self.admin() == Admin::Online {
            self.slow_start.begin(self.described.slow_start, now);
        }
    }

    pub(super) fn end_slow_start(&mut self) {
        self.slow_start = SlowStart::default();
    }

    pub(super) fn admin(&self) -> Admin {
        match self.order.as_ref().map(|order| order.state) {
            None | Some(AdministrativeState::Online) => Admin::Online,
            Some(AdministrativeState::Drained) => Admin::Drained,
            Some(AdministrativeState::Halted) => Admin::Halted,
        }
    }

    /// The weight once it has its full share.
    pub(super) fn full_weight(&self) -> u16 {
        self.order.as_ref().and_then(|order| order.weight).unwrap_or(self.described.weight)
    }

    /// Its share of new flows now.
    pub(super) fn weight(&self) -> u16 {
        self.slow_start.part_of(self.full_weight())
    }

    /// Silence alone does not take an adopted MAC address away, as it does not take away one that was learnt.
    pub(super) fn hop_changed(&mut self, hop: Result<neighbour::NextHop, Problem>, now: Instant) {
        match hop {
            Err(silence @ Problem::Unresolved { .. }) if self.hop_adopted => self.doubt = Some(silence),
            hop => {
                if self.hop_adopted {
                    self.doubt = None;
                }
                self.hop_adopted = false;
                self.hop = Some(hop);
                self.hop_since = now;
            }
        }
    }

    /// The next hop, if the mode can use it: direct routing needs the real server on the segment.
    pub(super) fn next_hop(&self) -> Option<&neighbour::NextHop> {
        match &self.hop {
            Some(Ok(hop)) if self.is_forwarded() && self.reaches(hop) => Some(hop),
            _ => None,
        }
    }

    fn reaches(&self, hop: &neighbour::NextHop) -> bool {
        hop.on_link || self.described.mode != Mode::L4Dr
    }

    /// Why no frame can be sent there, in a sentence; `None` also while nobody has said anything.
    pub(super) fn hop_problem(&self) -> Option<String> {
        if !self.is_forwarded() {
            return None;
        }
        match self.hop.as_ref()? {
            Ok(hop) if self.reaches(hop) => None,
            Ok(hop) => Some(format!(
                "the route to it leads by the gateway {}, and l4-dr needs the real server on a directly attached subnet",
                hop.gateway.map_or_else(String::new, |gateway| gateway.to_string())
            )),
            Err(problem) => Some(problem.to_string()),
        }
    }

    /// Full from the maximum on, until it has fallen below the low mark (or the maximum, if there is
    /// none). The datapath goes by the same rule between two counts.
    pub(super) fn count(&mut self, connections: u64, entry: &Server) -> bool {
        let was = self.full;
        let mark = if was && entry.min_connections != 0 { entry.min_connections } else { entry.max_connections };
        self.full = entry.max_connections != 0 && connections >= u64::from(mark);
        self.full != was
    }

    pub(super) fn input(&self) -> ServerInput {
        let health = match self.health {
            State::Up => Health::Up,
            State::Down => Health::Down,
            State::Checking if self.adopted => Health::Up,
            State::Checking => Health::Checking,
        };
        let next_hop = self.next_hop().map(|hop| NextHop {
            ifindex: hop.ifindex,
            source_mac: hop.source_mac,
            destination_mac: hop.destination_mac,
            outer_vlan: hop.outer_vlan,
            inner_vlan: hop.inner_vlan,
            source: hop.source.map(Address::from),
        });
        ServerInput { admin: self.admin(), health, next_hop, weight: Some(self.weight()), full: self.full }
    }
}

/// The next hop that a table entry carries.
pub(super) fn hop_of(entry: &Server, installed: &Installed) -> neighbour::NextHop {
    neighbour::NextHop {
        ifindex: entry.ifindex,
        source_mac: entry.source_mac,
        destination_mac: entry.destination_mac,
        outer_vlan: entry.outer_vlan,
        inner_vlan: entry.inner_vlan,
        gateway: None,
        on_link: true,
        source: installed.sources.get(&entry.source).map(|address| (*address).into()),
    }
}
