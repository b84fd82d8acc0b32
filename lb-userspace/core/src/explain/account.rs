//! What was found, put beside what is known of those whom it names.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use lb_common::abi::{Considered, Explanation, NO_SERVER, Role, ServerId, ServiceId, Ticks};
use lb_common::datapath::Reason;

use super::Asked;
use crate::config::model::VirtualService;
use crate::control::{Control, Measured};
use crate::tables::FALLBACK;
use crate::view::{ExplainQuery, RealServer};

/// All that the sentences are made of.
pub(super) struct Account<'a> {
    pub(super) control: &'a Control,
    pub(super) query: &'a ExplainQuery,
    pub(super) asked: &'a Asked,
    /// Of the first packet.
    pub(super) found: &'a Explanation,
    /// `None`: one of another version.
    pub(super) reason: Option<Reason>,
    /// Name of the service, if there is one for this packet.
    pub(super) service: Option<String>,
    pub(super) configured: Option<&'a VirtualService>,
    /// Everybody who answers for it, as the overview shows them.
    pub(super) rows: Vec<RealServer>,
    id: Option<ServiceId>,
}

/// A real server that the datapath names.
#[derive(Clone, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    /// `None`: the overview has none of the fallback server, of a removed service, and of one that is gone.
    pub(super) row: Option<&'a RealServer>,
    pub(super) is_fallback: bool,
    pub(super) is_leaving: bool,
}

impl<'a> Account<'a> {
    pub(super) fn new(control: &'a Control, query: &'a ExplainQuery, asked: &'a Asked, now: Instant) -> Self {
        let found = &asked.first;
        let reason = Reason::ALL.iter().copied().find(|reason| u32::from(*reason as u8) == found.reason);
        let id = service_of(found, reason);
        let service = id.map(|id| service_name(control, id));
        let configured = control.config().virtual_services.iter().find(|known| Some(&known.name) == service.as_ref());
        let views = control.status(&Measured::new(), now);
        let view = views.into_iter().find(|view| Some(&view.name) == service.as_ref());
        let rows = view.map(|view| view.real_servers).unwrap_or_default();
        Self { control, query, asked, found, reason, service, configured, rows, id }
    }

    /// Who gets the packet.
    pub(super) fn receiver(&self) -> Option<Named<'_>> {
        self.found.has(Explanation::DELIVERED).then(|| self.named(self.found.server))
    }

    pub(super) fn named(&self, id: ServerId) -> Named<'_> {
        let wanted = self.control.wanted();
        let address = wanted.servers.get(&id).map(|entry| IpAddr::from(entry.address));
        if let Some((key, _)) = wanted.server_numbers.iter().find(|(_, known)| **known == id) {
            let is_fallback = key.server == FALLBACK && !self.rows.iter().any(|row| row.name == FALLBACK);
            let name = if is_fallback { "the fallback server".to_owned() } else { key.server.clone() };
            let row = self.rows.iter().find(|row| row.name == key.server && !row.leaving);
            return Named { name, address, row, is_fallback, is_leaving: false };
        }
        if let Some((identity, _)) = wanted.leaving.iter().find(|(_, known)| **known == id) {
            let row = self.rows.iter().find(|row| row.leaving && row.name == identity.server);
            let (name, address) = (identity.server.clone(), Some(identity.address));
            return Named { name, address, row, is_fallback: false, is_leaving: true };
        }
        let name = format!("a server that is gone (number {id})");
        Named { name, address: None, row: None, is_fallback: false, is_leaving: false }
    }

    /// Servers that were looked at as this, each once.
    pub(super) fn looked_at(&self, role: Role) -> Vec<Considered> {
        let mut seen = BTreeSet::new();
        let of_role = self.found.servers().iter().filter(|of| Role::from_u8(of.role) == role);
        of_role.filter(|of| of.server != NO_SERVER && of.server != 0 && seen.insert(of.server)).copied().collect()
    }

    /// The servers that the schedules of the service name.
    pub(super) fn on_duty(&self) -> BTreeSet<ServerId> {
        let schedule = self.id.and_then(|id| self.control.wanted().schedules.get(&id));
        schedule.map(|schedule| schedule.ring.iter().copied().collect()).unwrap_or_default()
    }

    /// The number of a row's server.
    pub(super) fn number_of(&self, row: &RealServer) -> Option<ServerId> {
        let wanted = self.control.wanted();
        let service = self.service.as_ref()?;
        let mut configured = wanted.server_numbers.iter();
        configured.find(|(key, _)| key.service == *service && key.server == row.name).map(|(_, id)| *id)
    }

    /// How long ago this was.
    pub(super) fn ago(&self, then: Ticks) -> u64 {
        self.seconds(crate::tables::expiry::elapsed(then, self.found.now))
    }

    pub(super) fn seconds(&self, ticks: Ticks) -> u64 {
        (self.control.tick() * ticks).as_secs()
    }

    /// Idle time of a persistence record; 0: there are none.
    pub(super) fn persistence_timeout(&self) -> Ticks {
        let service = self.id.and_then(|id| self.control.installed().services.get(&id));
        service.map_or(0, |service| service.persistence_timeout)
    }
}

/// The service of the flow, else the one that was looked up.
fn service_of(found: &Explanation, reason: Option<Reason>) -> Option<ServiceId> {
    if found.has(Explanation::FLOW | Explanation::PENDING_FLOW) && !found.has(Explanation::PLACED) {
        return Some(found.flow.service);
    }
    (found.has(Explanation::SERVICE) && reason != Some(Reason::NoService)).then_some(found.service)
}

fn service_name(control: &Control, id: ServiceId) -> String {
    let wanted = control.wanted();
    if let Some((name, _)) = wanted.service_numbers.iter().find(|(_, known)| **known == id) {
        return name.clone();
    }
    let of_leaver = |server: &ServerId| wanted.servers.get(server).is_some_and(|entry| entry.service == id);
    let leaver = wanted.leaving.iter().find(|(_, server)| of_leaver(server));
    leaver.map_or_else(|| format!("(removed service {id})"), |(identity, _)| identity.service.clone())
}
