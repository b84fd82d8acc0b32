//! What is known of one real server, from all the machines that look after it.

use std::net::IpAddr;
use std::time::Instant;

use lb_common::abi::Server;

use crate::config::model::HealthCheck;
use crate::health::State;
use crate::neighbour::{self, Problem};
use crate::tables::{Admin, Health, NextHop, ServerInput};

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub address: IpAddr,
    /// `None`: it is not checked.
    pub check: Option<HealthCheck>,
    pub health: State,
    pub since: Instant,
    /// Set by a restart: in service until the check has spoken.
    pub adopted: bool,
    pub hop: Option<Result<neighbour::NextHop, Problem>>,
    pub hop_since: Instant,
    pub doubt: Option<Problem>,
    /// It has as many connections as it may have.
    pub full: bool,
}

impl Known {
    pub(super) fn new(address: IpAddr, unchecked: bool, now: Instant) -> Self {
        let health = if unchecked { State::Up } else { State::Checking };
        Self {
            address,
            check: None,
            health,
            since: now,
            adopted: false,
            hop: None,
            hop_since: now,
            doubt: None,
            full: false,
        }
    }

    /// Goes on as the tables say.
    pub(super) fn adopt(&mut self, hop: neighbour::NextHop) {
        self.adopted = true;
        self.hop = Some(Ok(hop));
    }

    pub(super) fn health_changed(&mut self, health: State, now: Instant) {
        self.health = health;
        self.since = now;
        self.adopted = false;
    }

    pub(super) fn hop_changed(&mut self, hop: Result<neighbour::NextHop, Problem>, now: Instant) {
        self.hop = Some(hop);
        self.hop_since = now;
    }

    /// The next hop, if `l4-dr` can use it: direct routing needs the real server on the segment.
    pub(super) fn next_hop(&self) -> Option<&neighbour::NextHop> {
        match &self.hop {
            Some(Ok(hop)) if hop.on_link => Some(hop),
            _ => None,
        }
    }

    /// Why no frame can be sent there, in a sentence; `None` also while nobody has said anything.
    pub(super) fn hop_problem(&self) -> Option<String> {
        match self.hop.as_ref()? {
            Ok(hop) if hop.on_link => None,
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
        });
        ServerInput { admin: Admin::Online, health, next_hop, weight: None, full: self.full }
    }
}

/// The next hop that a table entry carries.
pub(super) fn hop_of(entry: &Server) -> neighbour::NextHop {
    neighbour::NextHop {
        ifindex: entry.ifindex,
        source_mac: entry.source_mac,
        destination_mac: entry.destination_mac,
        outer_vlan: entry.outer_vlan,
        inner_vlan: entry.inner_vlan,
        gateway: None,
        on_link: true,
    }
}
