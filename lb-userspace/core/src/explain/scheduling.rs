//! Whom the scheduler compared, whose turn it is, and who was not even looked at.

use lb_common::abi::{Considered, Explanation, Role, ServerState};
use lb_common::datapath::Reason;

use super::account::Account;
use super::phrase::{connections, list, state};
use super::steps::MOST_NAMES;
use crate::config::model::Scheduler;
use crate::view::{self, RealServer};

impl Account<'_> {
    pub(super) fn scheduler_steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if self.found.has(Explanation::PLACED) && self.reason == Some(Reason::Untracked) {
            let limit = self.control.config().node.limits.new_flows_per_second;
            steps.push(format!(
                "more connections are opened at this moment than the {limit} a second that each CPU records \
                 (`node.limits.new_flows_per_second`): this one goes by the ring, and is not remembered"
            ));
        }
        let candidates = self.looked_at(Role::Candidate);
        let (Some(service), Some(last)) = (self.configured, candidates.last()) else { return steps };
        let next = self.named(last.server).name;
        let passed = || {
            let passed: Vec<String> = candidates.iter().filter(|of| !usable(of)).map(|of| self.compared(of)).collect();
            if passed.is_empty() { String::new() } else { format!("; passed over: {}", list(&passed)) }
        };
        let by_ring = !self.found.has(Explanation::TURN);
        steps.push(match service.scheduler {
            Scheduler::WeightedLeastConnection if !by_ring => self.least_connection(&candidates),
            _ if !usable(last) => format!("nobody can take it{}", passed()),
            Scheduler::WeightedRoundRobin if !by_ring => {
                format!("weighted round robin: it is the turn of {next}{}", passed())
            }
            Scheduler::Maglev if self.persistence_timeout() == 0 => {
                format!("maglev: the ring leads this client's port {} to {next}{}", self.asked.port, passed())
            }
            Scheduler::SourceHash => format!("source hash: the ring leads {} to {next}{}", self.hashed(), passed()),
            Scheduler::Maglev => format!("maglev: the ring leads {} to {next}{}", self.hashed(), passed()),
            Scheduler::WeightedLeastConnection | Scheduler::WeightedRoundRobin => {
                format!("the ring leads it to {next}{}", passed())
            }
        });
        steps
    }

    /// What the ring is asked with.
    fn hashed(&self) -> String {
        if self.persistence_timeout() == 0 { self.query.client.address.to_string() } else { self.network().to_string() }
    }

    fn least_connection(&self, candidates: &[Considered]) -> String {
        let all: Vec<String> = candidates.iter().map(|of| self.compared(of)).collect();
        let able = candidates.iter().filter(|of| usable(of)).count();
        match (&all[..], able) {
            ([only], 1) => format!("weighted least connection: {only} is the only one that can be asked"),
            (_, 0) => format!("weighted least connection: nobody can take it: {}", list(&all)),
            _ => {
                let server = self.receiver().map_or_else(String::new, |server| server.name);
                format!("weighted least connection compares {}: {server} has the fewest for its weight", list(&all))
            }
        }
    }

    /// A server as the scheduler saw it.
    fn compared(&self, of: &Considered) -> String {
        let name = self.named(of.server).name;
        match ServerState::from_u8(of.state) {
            ServerState::Down => format!("{name} (down)"),
            ServerState::Draining => format!("{name} (drained: takes no new clients)"),
            ServerState::Active if of.ifindex == 0 => format!("{name} (the way there is not known)"),
            ServerState::Active if of.full != 0 => {
                format!("{name} (full: {} of {})", of.connections, connections(of.max_connections.into()))
            }
            ServerState::Active => format!("{name} ({}, weight {})", connections(of.connections), of.weight),
        }
    }

    /// Why the rest was not even looked at.
    pub(super) fn others(&self) -> Vec<String> {
        let asked = !self.looked_at(Role::Candidate).is_empty() || self.receiver().is_none();
        if !self.found.has(Explanation::PLACED) || !asked {
            return Vec::new();
        }
        let (considered, on_duty) = (self.looked_at(Role::Candidate), self.on_duty());
        let mut sentences = Vec::new();
        let mut waiting = 0;
        for row in &self.rows {
            let id = self.number_of(row).filter(|_| !row.leaving);
            if considered.iter().any(|of| Some(of.server) == id) {
                continue;
            }
            match id {
                Some(id) if on_duty.contains(&id) => waiting += 1,
                _ => sentences.push(format!("{} is not asked: {}", row.name, self.why_not(row))),
            }
        }
        if sentences.len() > MOST_NAMES {
            let more = sentences.len() - MOST_NAMES;
            sentences.truncate(MOST_NAMES);
            sentences.push(format!("{more} more are not asked either; `lbctl status` says why"));
        }
        let compares = self.configured.is_some_and(|service| service.scheduler == Scheduler::WeightedLeastConnection);
        if compares && waiting > 0 && self.found.has(Explanation::TURN) {
            sentences.push(match waiting {
                1 => "1 more was not among those compared this time".to_owned(),
                more => format!("{more} more were not among those compared this time"),
            });
        }
        sentences
    }

    /// Whether it is not asked because somebody before it can be had.
    fn is_off_duty(&self, row: &RealServer) -> bool {
        self.number_of(row).is_some_and(|id| self.control.wanted().off_duty.contains(&id))
    }

    fn why_not(&self, row: &RealServer) -> String {
        let limit = self.configured.and_then(|service| {
            let real = service.real_servers.iter().find(|real| real.name == row.name)?;
            (real.max_connections > 0).then_some(real.max_connections)
        });
        match (row.state, limit) {
            (view::ServerState::Up, _) if row.weight == 0 => "its weight is 0".to_owned(),
            (view::ServerState::Up, _) if row.backup && self.is_off_duty(row) => {
                "it is a backup, for when no other can be had".to_owned()
            }
            (view::ServerState::Up, Some(limit)) => format!("it has as many connections as it may, {limit}"),
            _ => format!("it is {}", state(row)),
        }
    }
}

/// As the datapath judges candidates.
fn usable(of: &Considered) -> bool {
    ServerState::from_u8(of.state) == ServerState::Active && of.ifindex != 0 && of.full == 0
}
