//! Orders of administrators: drain, halt, online, weight.
//!
//! In: orders with who gave them and when. Out: what they came to; they hold until another one. Absent: where
//! they are kept over a restart, and what the servers have to do.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Control, Notice};
use crate::tables::{Admin, CompileError, FALLBACK, ServerKey};
use crate::view::{Administration, AdministrativeState, EventKind, Order};

/// What was ordered, by server; servers of which nothing is ordered are not in it.
pub type Orders = BTreeMap<ServerKey, Administration>;

/// Why an order cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No such service.
    #[error("there is no virtual service {service}; there are: {known}")]
    NoService {
        /// As asked for.
        service: String,
        /// Those there are.
        known: String,
    },
    /// No such server.
    #[error("virtual service {service} has no real server {server}; it has: {known}")]
    NoServer {
        /// Its service.
        service: String,
        /// As asked for.
        server: String,
        /// Those there are.
        known: String,
    },
    /// The tables have no room for it.
    #[error("{0}")]
    DoesNotFit(#[from] CompileError),
    /// The configuration names it no longer.
    #[error(
        "{service}/{server} is removed from the configuration and goes when its flows have ended; `lbctl halt` cuts them"
    )]
    Leaving {
        /// Its service.
        service: String,
        /// Its name.
        server: String,
    },
}

/// What an order came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Whether anything is different now.
    pub changed: bool,
    /// What was done, one sentence without a full stop.
    pub sentence: String,
}

impl Control {
    /// Carries out an order. `by` says whose it is, `at` when it was given in seconds since 1970.
    ///
    /// # Errors
    /// There is no such server.
    pub fn order(
        &mut self,
        key: &ServerKey,
        order: Order,
        by: &str,
        at: u64,
        now: Instant,
    ) -> Result<Ordered, OrderError> {
        if !self.is_real_server(key) {
            let came_to = self.order_leaver(key, order, by).ok_or_else(|| self.unknown(key))?;
            self.pump(now);
            return came_to;
        }
        let Some(known) = self.servers.get_mut(key) else { return Err(self.unknown(key)) };
        let (state, weight) = match &known.order {
            Some(order) => (order.state, order.weight),
            None => (AdministrativeState::Online, None),
        };
        let (to, weight_then) = match order {
            Order::Drain => (AdministrativeState::Drained, weight),
            Order::Halt => (AdministrativeState::Halted, weight),
            Order::Online => (AdministrativeState::Online, weight),
            Order::Weight { weight } => (state, weight),
        };
        if (state, weight) == (to, weight_then) {
            return Ok(Ordered { changed: false, sentence: already(order, known.described.weight) });
        }
        let is_nothing = to == AdministrativeState::Online && weight_then.is_none();
        let given = Administration { state: to, weight: weight_then, by: by.to_owned(), at };
        let before = known.clone();
        known.ordered((!is_nothing).then_some(given), now);
        let sentence = done(order, known.described.weight);
        // A weight may need a longer turn list than there is room for; then nothing could be written any more.
        if let Err(error) = self.compile() {
            self.servers.insert(key.clone(), before);
            return Err(OrderError::DoesNotFit(error));
        }
        self.dirty = true;
        let worse = matches!(order, Order::Halt);
        self.notice(Notice {
            by: Some(by.to_owned()),
            ..Notice::new(key, EventKind::Administration, worse, sentence.clone())
        });
        Ok(Ordered { changed: true, sentence })
    }

    /// What is ordered now, to be kept over a restart.
    #[must_use]
    pub fn orders(&self) -> Orders {
        let ordered = self.servers.iter().filter_map(|(key, known)| Some((key.clone(), known.order.clone()?)));
        ordered.collect()
    }

    /// Whether a drained server has nobody left; told once.
    pub(super) fn look_after_drain(&mut self, key: &ServerKey, left: u64, counted_from: Instant) {
        let Some(known) = self.servers.get_mut(key) else { return };
        let waits = known.admin() == Admin::Drained && !known.drained;
        if !waits || left > 0 || counted_from <= known.admin_since {
            return;
        }
        known.drained = true;
        let sentence = "drained: no connection and no persistent client is left".to_owned();
        self.notice(Notice::new(key, EventKind::Administration, false, sentence));
    }

    fn is_real_server(&self, key: &ServerKey) -> bool {
        key.server != FALLBACK && self.servers.contains_key(key)
    }

    fn unknown(&self, key: &ServerKey) -> OrderError {
        let ServerKey { service, server } = key.clone();
        let found = self.config.virtual_services.iter().find(|known| known.name == service);
        match found {
            Some(found) => {
                let names: Vec<&str> = found.real_servers.iter().map(|real| real.name.as_str()).collect();
                OrderError::NoServer { service, server, known: names.join(", ") }
            }
            None => {
                let names: Vec<&str> = self.config.virtual_services.iter().map(|known| known.name.as_str()).collect();
                OrderError::NoService { service, known: names.join(", ") }
            }
        }
    }
}

fn done(order: Order, configured: u16) -> String {
    match order {
        Order::Drain => "drained: no new clients; flows and persistent clients stay".to_owned(),
        Order::Halt => "halted: nobody is sent there, flows and persistence records are cut".to_owned(),
        Order::Online => "online again".to_owned(),
        Order::Weight { weight: Some(weight) } => format!("weight {weight}, {configured} is configured"),
        Order::Weight { weight: None } => format!("weight {configured}, as configured"),
    }
}

fn already(order: Order, configured: u16) -> String {
    match order {
        Order::Drain => "it is drained already".to_owned(),
        Order::Halt => "it is halted already".to_owned(),
        Order::Online => "it is online already".to_owned(),
        Order::Weight { weight: Some(weight) } => format!("its weight is {weight} already"),
        Order::Weight { weight: None } => format!("its weight is {configured} already, as configured"),
    }
}
