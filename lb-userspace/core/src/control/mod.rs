//! The machine that owns the others: configuration, health, next hops and administrative states
//! come together in the kernel tables.
//!
//! In: a configuration, orders, outcomes of probes, what the kernel says about links and neighbours, and
//! `now`. Out: probes, questions to the kernel, sentences for the log ([`Action`]), table operations
//! ([`Control::plan`]), and the overview ([`Control::status`]). Absent: tables, sockets, clocks.

mod action;
mod administration;
mod checks;
mod known;
mod leaving;
mod memory;
mod overview;
mod ports;
mod proxied;
mod slow_start;
mod sweep;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::model::{Config, Fallback, HealthCheck, Probe, VirtualService};
use crate::health::{self, Health, Outcome, TargetId};
use crate::neighbour::{self, Neighbours};
use crate::tables::{CompileError, Compiler, FALLBACK, Ids, Installed, ServerInput, ServerKey, TableOp, Wanted, plan};
use crate::view::EventKind;
use lb_common::abi::{ServerId, ServerState};

pub use action::{Action, Notice, Refusal};
pub use administration::{OrderError, Ordered, Orders};
use known::{Described, Known};
use leaving::{Leavers, identity};
pub use memory::Memories;
pub use overview::{Measured, ServerMeasures};
pub use proxied::Proxied;
pub use sweep::{Counts, Roster, answers};
use watch::Question;

/// Servers that an earlier daemon left in service. Another address is another server.
type Adopted = BTreeMap<(ServerKey, IpAddr), neighbour::NextHop>;

/// What an earlier daemon left behind; the default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// What the kernel tables hold.
    pub installed: Installed,
    /// Whose the numbers in them are.
    pub ids: Ids,
    /// What administrators ordered.
    pub orders: Orders,
    /// How the real servers were.
    pub health: Memories,
}

/// The machine that owns the others.
pub struct Control {
    config: Config,
    tick: Duration,
    compiler: Compiler,
    ids: Ids,
    installed: Installed,
    wanted: Wanted,
    servers: BTreeMap<ServerKey, Known>,
    leavers: Leavers,
    questions: Vec<(TargetId, Question)>,
    next_target: u32,
    health: Health,
    neighbours: Neighbours,
    /// When a slow start takes its next step; whatever begins one makes the tables dirty, and the plan looks.
    next_step: Option<Instant>,
    /// The tables may not be as wanted.
    dirty: bool,
    /// Somebody who was asked about has left.
    unwatched: bool,
    /// The health that was last asked for is still so.
    remembered: bool,
    actions: VecDeque<Action>,
}

impl Control {
    /// Goes on from the past. `seed` spreads the probes over time; `tick` is the length of the datapath's.
    ///
    /// # Errors
    /// When `config` does not fit the tables.
    pub fn new(config: Config, past: Past, tick: Duration, seed: u64, now: Instant) -> Result<Self, Refusal> {
        let mut control = Self {
            config: Config { virtual_services: Vec::new(), ..config.clone() },
            tick,
            compiler: Compiler::default(),
            ids: past.ids,
            installed: past.installed,
            wanted: Wanted::default(),
            servers: BTreeMap::new(),
            leavers: Leavers::new(),
            questions: Vec::new(),
            next_target: 0,
            health: Health::new(seed),
            neighbours: Neighbours::new(),
            next_step: None,
            dirty: true,
            unwatched: false,
            remembered: false,
            actions: VecDeque::new(),
        };
        let adopted = control.adopted();
        // Who was in service counts as up until `fall` checks say otherwise, also when nobody remembers more.
        let mut health = past.health;
        for (server, address) in adopted.keys() {
            let up = health::Memory { up: true, since: Duration::ZERO, last_good: None };
            health.entry((server.clone(), *address)).or_insert(up);
        }
        let staying = described(&config).map(|(key, of)| identity(&key, &of)).collect();
        control.adopt_leavers(&config, &staying, now);
        control.put_in_force(config, &past.orders, &adopted, &health, now)?;
        Ok(control)
    }

    /// Servers that are in service according to the tables, with the next hops they have there.
    fn adopted(&self) -> Adopted {
        let in_service = self.ids.servers().filter_map(|(identity, id)| {
            let entry = self.installed.servers.get(&id)?;
            let alive = ServerState::from_u8(entry.state) != ServerState::Down && entry.ifindex != 0;
            let key = ServerKey { service: identity.service.clone(), server: identity.server.clone() };
            alive.then(|| ((key, identity.address), known::hop_of(entry, &self.installed)))
        });
        in_service.collect()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Puts another configuration in force. What is the same in both is not touched; orders about servers
    /// that it does not name are forgotten.
    ///
    /// # Errors
    /// When it does not fit the tables; then nothing has changed.
    pub fn configure(&mut self, config: Config, now: Instant) -> Result<(), Refusal> {
        let orders = self.orders();
        self.restore(config, &orders, now)
    }

    /// Puts a configuration in force again, with the orders that held then.
    ///
    /// # Errors
    /// When it does not fit the tables; then nothing has changed.
    pub fn restore(&mut self, config: Config, orders: &Orders, now: Instant) -> Result<(), Refusal> {
        self.put_in_force(config, orders, &Adopted::new(), &Memories::new(), now)
    }

    fn put_in_force(
        &mut self,
        config: Config,
        orders: &Orders,
        adopted: &Adopted,
        memories: &Memories,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut servers = BTreeMap::new();
        let mut staying = BTreeSet::new();
        for (key, described) in described(&config) {
            let identity = identity(&key, &described);
            let (address, port) = (described.address, described.port);
            let same =
                self.servers.get(&key).filter(|known| known.address() == address && known.described.port == port);
            // One that was leaving, and is wanted again, has never been away.
            let back = || self.leavers.get(&identity).map(|leaving| &leaving.known);
            let mut known = match same.or_else(back) {
                Some(known) => known.clone(),
                None => self.new_server(described.clone(), now),
            };
            // A server that was in service stays so until its check has spoken: a restart of the
            // daemon is no reason to cut its flows. It must never be compiled as down before, or
            // its generation would step on.
            if let Some(hop) = adopted.get(&(key.clone(), address)) {
                known.adopt(hop.clone());
            }
            known.describe(described, now);
            known.slow_start.advance(now);
            if known.order.as_ref() != orders.get(&key) {
                known.ordered(orders.get(&key).cloned(), now);
            }
            staying.insert(identity);
            servers.insert(key, known);
        }
        let leavers = self.leavers_after(&config, &staying, now);
        let told = Self::leaver_inputs(&leavers);
        let wanted = self.compiler.compile_with(&config, &inputs(&servers), &told, &mut self.ids, self.tick)?;
        self.wanted = wanted;
        self.config = config;
        self.servers = servers;
        self.tell_leavers(leavers);
        self.dirty = true;
        self.remembered = false;
        self.watch(memories, now);
        Ok(())
    }

    /// A server of which nothing is known but what has been told of its address: the next hop of a
    /// machine that another service already has is not told again.
    fn new_server(&self, described: Described, now: Instant) -> Known {
        let mut known = Known::new(described, now);
        if let Some(status) = self.neighbours.status(known.address()) {
            known.hop_changed(status.next_hop.clone(), now);
            known.doubt.clone_from(&status.doubt);
        }
        known
    }

    /// A probe has ended.
    pub fn probed(&mut self, id: TargetId, generation: u32, outcome: Outcome, now: Instant) {
        self.health.handle(health::Input::Outcome { id, generation, outcome }, now);
        self.pump(now);
    }

    /// The kernel said something about links, routes or neighbours.
    pub fn neighbour(&mut self, input: neighbour::Input, now: Instant) {
        self.neighbours.handle(input, now);
        self.pump(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.health.handle_timeout(now);
        self.neighbours.handle_timeout(now);
        if self.next_step.is_some_and(|step| step <= now) {
            for known in self.servers.values_mut() {
                self.dirty |= known.slow_start.advance(now);
            }
            self.look_for_steps();
        }
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.next_step, self.health.next_deadline(), self.neighbours.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// What is to be done next; drained until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether [`Self::poll_action`] has something to give.
    #[must_use]
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Takes over what the inner machines say.
    fn pump(&mut self, now: Instant) {
        self.note_written(now);
        while let Some(action) = self.health.poll_action() {
            match action {
                health::Action::Probe { id, generation, address, check, subject } => {
                    self.actions.push_back(Action::Probe { id, generation, address, check, subject });
                }
                health::Action::Cancel { id, generation } => self.actions.push_back(Action::Cancel { id, generation }),
                health::Action::Transition(transition) => self.transition(&transition, now),
            }
        }
        while let Some(action) = self.neighbours.poll_action() {
            match action {
                neighbour::Action::Changed { address, next_hop } => self.hop_changed(address, &next_hop, now),
                neighbour::Action::Doubted { address, problem } => self.doubted(address, problem.as_ref()),
                ask => self.actions.push_back(Action::Ask(ask)),
            }
        }
        if std::mem::take(&mut self.unwatched) {
            self.watch(&Memories::new(), now);
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notice(notice));
    }

    fn hop_changed(&mut self, address: IpAddr, hop: &Result<neighbour::NextHop, neighbour::Problem>, now: Instant) {
        for leaving in self.leavers.values_mut().filter(|leaving| leaving.known.address() == address) {
            leaving.known.hop_changed(hop.clone(), now);
            self.dirty = true;
        }
        let mut notices = Vec::new();
        let at = |known: &Known| known.address() == address && known.is_forwarded();
        for (key, known) in self.servers.iter_mut().filter(|(_, known)| at(known)) {
            let before = known.hop_problem();
            known.hop_changed(hop.clone(), now);
            let told = match (before, known.hop_problem()) {
                _ if known.hop_adopted => known.doubt.as_ref().map(|doubt| (true, doubted(doubt))),
                (_, Some(problem)) => Some((true, format!("{address} cannot be reached: {problem}"))),
                (Some(_), None) => Some((false, format!("{address} can be reached again"))),
                (None, None) => None,
            };
            notices.extend(told.map(|(worse, sentence)| Notice::new(key, EventKind::Network, worse, sentence)));
            self.dirty = true;
        }
        self.actions.extend(notices.into_iter().map(Action::Notice));
    }

    fn doubted(&mut self, address: IpAddr, problem: Option<&neighbour::Problem>) {
        let at = |known: &Known| known.address() == address && known.is_forwarded();
        for (key, known) in self.servers.iter_mut().filter(|(_, known)| at(known)) {
            known.doubt = problem.cloned();
            let (worse, sentence) = match problem {
                Some(problem) => (true, doubted(problem)),
                None => (false, format!("{address} answers again")),
            };
            self.actions.push_back(Action::Notice(Notice::new(key, EventKind::Network, worse, sentence)));
        }
    }

    /// Flows and remembered clients were counted, from `counted_from` on. Full servers leave the schedules until
    /// they have room again, so that the datapath need not search for one that has.
    pub fn counted(&mut self, counts: &Counts, counted_from: Instant, now: Instant) {
        self.note_written(now);
        let count = |counts: &BTreeMap<ServerId, u64>, id| counts.get(id).copied().unwrap_or(0);
        let mut left = Vec::new();
        for (key, id) in &self.wanted.server_numbers {
            let (Some(known), Some(entry)) = (self.servers.get_mut(key), self.wanted.servers.get(id)) else { continue };
            let live = count(&counts.connections, id);
            if known.order.is_some() {
                left.push((key.clone(), live + count(&counts.clients, id)));
            }
            if known.count(live, entry) {
                self.dirty = true;
                let (worse, sentence) = match known.full {
                    true => (true, format!("full: {live} of {} connections", entry.max_connections)),
                    false => (false, format!("takes new connections again, it has {live}")),
                };
                self.actions.push_back(Action::Notice(Notice::new(key, EventKind::Capacity, worse, sentence)));
            }
        }
        for (key, left) in left {
            self.look_after_drain(&key, left, counted_from);
        }
        self.look_after_leavers(counts, counted_from);
        self.pump(now);
    }

    /// The operations that bring the tables to where they should be. Each is written, then reported
    /// by [`Self::applied`], in this order; when one fails, the rest is left and planned again.
    ///
    /// # Errors
    /// When the tables cannot hold what is wanted; they stay as they are.
    pub fn plan(&mut self) -> Result<Vec<TableOp>, Refusal> {
        if !self.dirty {
            return Ok(Vec::new());
        }
        self.wanted = self.compile()?;
        self.look_for_steps();
        let operations = plan(&self.installed, &self.wanted)?;
        if operations.is_empty() {
            self.settled();
        }
        Ok(operations)
    }

    /// What the tables should hold. Shares of servers that climb may need longer turn lists than full ones: where
    /// they do not fit, everybody gets the full share at once, so that nothing else waits for it.
    fn compile(&mut self) -> Result<Wanted, CompileError> {
        let leavers = Self::leaver_inputs(&self.leavers);
        let mut wanted = |servers: &BTreeMap<ServerKey, Known>, ids: &mut Ids| {
            self.compiler.compile_with(&self.config, &inputs(servers), &leavers, ids, self.tick)
        };
        let compiled = wanted(&self.servers, &mut self.ids);
        if compiled.is_ok() || self.servers.values().all(|known| known.slow_start.percent().is_none()) {
            return compiled;
        }
        self.servers.values_mut().for_each(Known::end_slow_start);
        wanted(&self.servers, &mut self.ids)
    }

    /// Whether [`Self::plan`] has something to look at.
    #[must_use]
    pub fn wants_plan(&self) -> bool {
        self.dirty
    }

    fn look_for_steps(&mut self) {
        self.next_step = self.servers.values().filter_map(|known| known.slow_start.next_step()).min();
    }

    /// An operation has been written to the kernel.
    pub fn applied(&mut self, operation: &TableOp) {
        self.installed.apply(operation);
    }

    /// All operations of a plan have been written: freed numbers may be given again.
    pub fn settled(&mut self) {
        self.ids.settle();
        self.dirty = false;
    }

    /// Numbers in use, to be written down for the daemon after this one.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// What the tables hold.
    #[must_use]
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// What the tables should hold, with the numbers by name.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Length of a tick of the datapath.
    #[must_use]
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// Whether the tables are as good as they get for now: every check has spoken, and of every next hop something
    /// is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.dirty
            && self.all_checked()
            && self.servers.values().all(|known| known.hop.is_some() || !known.is_forwarded())
    }

    /// Whether every check has spoken at least once.
    #[must_use]
    pub fn all_checked(&self) -> bool {
        self.servers.values().all(|known| known.health != health::State::Checking)
    }
}

fn doubted(problem: &neighbour::Problem) -> String {
    format!("{problem}; frames still go to the MAC address it had last")
}

fn inputs(servers: &BTreeMap<ServerKey, Known>) -> BTreeMap<ServerKey, ServerInput> {
    servers.iter().map(|(key, known)| (key.clone(), known.input())).collect()
}

/// Everybody who answers for a service of the configuration.
fn described(config: &Config) -> impl Iterator<Item = (ServerKey, Described)> + '_ {
    config.virtual_services.iter().flat_map(|service| {
        let key = |server: &str| ServerKey { service: service.name.clone(), server: server.to_owned() };
        let real_servers = service.real_servers.iter().map(move |real| {
            let check = HealthCheck {
                port: service.check_port(real),
                proxy_protocol: service.check_header(real),
                ..service.check_of(real).clone()
            };
            let described = Described {
                address: real.address,
                port: real.port,
                weight: real.weight,
                slow_start: service.slow_start,
                check: Some(check).filter(|check| check.probe != Probe::None),
                vip: (service.address, service.first_port),
                mode: service.mode,
            };
            (key(&real.name), described)
        });
        let fallback = match &service.fallback {
            Some(Fallback::Server { address, port }) => Some((key(FALLBACK), fallback(service, *address, *port))),
            Some(Fallback::Page(_) | Fallback::Redirect(_)) | None => None,
        };
        real_servers.chain(fallback)
    })
}

/// A fallback server is not checked: there is nobody after it.
fn fallback(service: &VirtualService, address: IpAddr, port: Option<u16>) -> Described {
    let vip = (service.address, service.first_port);
    Described { address, port, weight: 1, slow_start: Duration::ZERO, check: None, vip, mode: service.mode }
}
