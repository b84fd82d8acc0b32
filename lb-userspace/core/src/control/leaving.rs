//! Servers that a reload removed, and whose flows finish first (`on_removal: drain`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::abi::{ServerId, ServerState};

use super::administration::{OrderError, Ordered};
use super::known::{Described, hop_of};
use super::{Action, Control, Counts, Known, Notice};
use crate::config::model::{Config, HealthCheck, OnRemoval};
use crate::tables::{Admin, Health, Leaver, ServerIdentity, ServerKey};
use crate::view::{EventKind, Order};

/// Everybody on the way out.
pub(super) type Leavers = BTreeMap<ServerIdentity, Leaving>;

/// A server on its way out.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub known: Known,
    /// When it was removed.
    pub since: Instant,
    /// When the kernel was seen to know of it, and no ring to name it; flows counted before say nothing.
    pub written: Option<Instant>,
}

impl Leaving {
    fn new(known: Known, now: Instant) -> Self {
        Self { known, since: now, written: None }
    }
}

/// The name, address and port that make a server the same one.
pub(super) fn identity(key: &ServerKey, described: &Described) -> ServerIdentity {
    ServerIdentity {
        service: key.service.clone(),
        server: key.server.clone(),
        address: described.address,
        port: described.port,
    }
}

impl Control {
    /// Who leaves when `config` comes, whose servers are `staying`: those who left before, and those that it
    /// removes while they may have flows.
    pub(super) fn leavers_after(&self, config: &Config, staying: &BTreeSet<ServerIdentity>, now: Instant) -> Leavers {
        let drains = |service: &str| {
            let policy = |config: &Config| {
                let service = config.virtual_services.iter().find(|known| known.name == service)?;
                Some((service.on_removal, service.mode.is_layer_4()))
            };
            // What the new file says counts; a service that goes as a whole has spoken in the old one.
            policy(config).or_else(|| policy(&self.config)) == Some((OnRemoval::Drain, true))
        };
        let mut leavers = self.leavers.clone();
        for (key, known) in &self.servers {
            let identity = identity(key, &known.described);
            let alive = self.number_of(&identity).is_some_and(|id| self.is_alive(id));
            // What the tables do not show yet counts too: a halt is not undone by a removal.
            let serves = known.admin() != Admin::Halted && known.input().health == Health::Up;
            if !staying.contains(&identity) && alive && serves && drains(&key.service) {
                leavers.insert(identity, Leaving::new(known.clone(), now));
            }
        }
        leavers.retain(|identity, _| !staying.contains(identity));
        leavers
    }

    /// Servers of services that stay, which an earlier daemon left in the tables and the configuration does not
    /// name: it changed while no daemon ran. Nobody knows how they were checked.
    pub(super) fn adopt_leavers(&mut self, config: &Config, staying: &BTreeSet<ServerIdentity>, now: Instant) {
        let mut left = Leavers::new();
        for (identity, id) in self.ids.servers() {
            let service = config.virtual_services.iter().find(|service| service.name == identity.service);
            let Some(service) = service.filter(|s| s.mode.is_layer_4() && s.on_removal == OnRemoval::Drain) else {
                continue;
            };
            let Some(entry) = self.installed.servers.get(&id).filter(|_| self.is_alive(id)) else { continue };
            if staying.contains(identity) {
                continue;
            }
            let described = Described {
                address: identity.address,
                port: identity.port,
                weight: 0,
                slow_start: std::time::Duration::ZERO,
                check: None::<HealthCheck>,
                vip: (service.address, service.first_port),
                mode: service.mode,
            };
            let mut known = Known::new(described, now);
            known.adopt(hop_of(entry, &self.installed));
            left.insert(identity.clone(), Leaving::new(known, now));
        }
        self.tell_leavers(left);
    }

    /// These are all that leave from now on; the new ones are told.
    pub(super) fn tell_leavers(&mut self, leavers: Leavers) {
        for identity in leavers.keys().filter(|identity| !self.leavers.contains_key(identity)) {
            let key = ServerKey { service: identity.service.clone(), server: identity.server.clone() };
            let sentence = format!("{} is removed from the configuration; its flows finish first", identity.address);
            self.actions.push_back(Action::Notice(Notice::new(&key, EventKind::Configuration, false, sentence)));
        }
        self.leavers = leavers;
    }

    /// What the compiler is told of them.
    pub(super) fn leaver_inputs(leavers: &Leavers) -> Vec<Leaver> {
        let leaver = |(identity, leaving): (&ServerIdentity, &Leaving)| Leaver {
            identity: identity.clone(),
            vip: leaving.known.described.vip.0,
            mode: leaving.known.described.mode,
            input: leaving.known.input(),
        };
        leavers.iter().map(leaver).collect()
    }

    /// VIPs that are still needed for flows of services that the configuration names no longer.
    pub fn leaving_vips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.leavers.values().map(|leaving| leaving.known.described.vip.0)
    }

    /// Notes who is out of the schedules since the last plan was written.
    pub(super) fn note_written(&mut self, now: Instant) {
        for (identity, leaving) in self.leavers.iter_mut().filter(|(_, leaving)| leaving.written.is_none()) {
            let entry = self.wanted.leaving.get(identity).and_then(|id| self.installed.servers.get(id));
            // A plan takes it out of every ring before it writes this.
            leaving.written = entry.filter(|of| ServerState::from_u8(of.state) != ServerState::Active).map(|_| now);
        }
    }

    /// Those whose flows have all ended are gone.
    pub(super) fn look_after_leavers(&mut self, counts: &Counts, counted_from: Instant) {
        let has_flows = |id: &ServerId| {
            [&counts.connections, &counts.closing].into_iter().any(|of| of.get(id).is_some_and(|flows| *flows > 0))
        };
        let over = |identity: &ServerIdentity, leaving: &Leaving| {
            let id = self.wanted.leaving.get(identity);
            leaving.written.is_some_and(|then| then < counted_from) && !id.is_some_and(has_flows)
        };
        let done: Vec<ServerIdentity> = self
            .leavers
            .iter()
            .filter(|(identity, of)| over(identity, of))
            .map(|(identity, _)| identity.clone())
            .collect();
        for identity in done {
            self.dismiss(&identity, false, None, "is gone: its last flow has ended");
        }
    }

    pub(super) fn leaver_failed(&mut self, identity: &ServerIdentity, reason: &str) {
        self.dismiss(identity, true, None, &format!("is gone, its flows are cut: {reason}"));
    }

    /// An order about a name that is not configured, and so about all who leave by it; `None`: there is no
    /// such server.
    pub(super) fn order_leaver(
        &mut self,
        key: &ServerKey,
        order: Order,
        by: &str,
    ) -> Option<Result<Ordered, OrderError>> {
        let is = |identity: &&ServerIdentity| identity.service == key.service && identity.server == key.server;
        let identities: Vec<ServerIdentity> = self.leavers.keys().filter(is).cloned().collect();
        if identities.is_empty() {
            return None;
        }
        if order != Order::Halt {
            return Some(Err(OrderError::Leaving { service: key.service.clone(), server: key.server.clone() }));
        }
        let sentence = format!("is gone, its flows are cut by order of {by}");
        for identity in identities {
            self.dismiss(&identity, true, Some(by), &sentence);
        }
        Some(Ok(Ordered { changed: true, sentence }))
    }

    fn dismiss(&mut self, identity: &ServerIdentity, worse: bool, by: Option<&str>, what: &str) {
        self.leavers.remove(identity);
        self.dirty = true;
        self.unwatched = true;
        let key = ServerKey { service: identity.service.clone(), server: identity.server.clone() };
        let sentence = format!("{}, which was removed from the configuration, {what}", identity.address);
        let notice = Notice::new(&key, EventKind::Administration, worse, sentence);
        self.notice(Notice { by: by.map(str::to_owned), ..notice });
    }

    fn number_of(&self, identity: &ServerIdentity) -> Option<ServerId> {
        self.ids.servers().find(|(known, _)| *known == identity).map(|(_, id)| id)
    }

    fn is_alive(&self, id: ServerId) -> bool {
        let entry = self.installed.servers.get(&id);
        entry.is_some_and(|entry| ServerState::from_u8(entry.state) != ServerState::Down && entry.ifindex != 0)
    }
}
