//! The machine that owns the others: configuration, health, next hops and administrative states
//! come together in the kernel tables.
//!
//! In: a configuration, outcomes of probes, what the kernel says about links and neighbours, and
//! `now`. Out: probes, questions to the kernel, sentences for the log ([`Action`]), table operations
//! ([`Control::plan`]), and the overview ([`Control::status`]). Absent: tables, sockets, clocks.

mod known;
mod overview;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::model::{Config, Fallback, HealthCheck, Probe};
use crate::health::{self, Health, Outcome, Target, TargetId};
use crate::neighbour::{self, Neighbours};
use crate::tables::{
    CompileError, Compiler, FALLBACK, Ids, Installed, PlanError, ServerInput, ServerKey, TableOp, Wanted, plan,
};
use lb_common::abi::{ServerId, ServerState};

use known::Known;
pub use overview::{Measured, ServerMeasures};
pub use sweep::Roster;

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a probe; its end comes back by [`Control::probed`].
    Probe {
        /// Of this target.
        id: TargetId,
        /// Belongs into the report.
        generation: u32,
        /// Whom to ask.
        address: IpAddr,
        /// What to ask.
        check: Arc<HealthCheck>,
    },
    /// End a probe without a report.
    Cancel {
        /// Of this target.
        id: TargetId,
        /// As it was started with.
        generation: u32,
    },
    /// A question about next hops; its answer comes back by [`Control::neighbour`].
    Ask(neighbour::Action),
    /// A real server changed: one line for the log.
    Notice(Notice),
}

/// A real server changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which.
    pub server: ServerKey,
    /// Whether an administrator should look.
    pub worse: bool,
    /// What and why, in one sentence.
    pub sentence: String,
}

/// Why a configuration cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not fit the tables.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// There is no room for its schedules beside the present ones.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Servers that an earlier daemon left in service. Another address is another server.
type Adopted = BTreeMap<(ServerKey, IpAddr), neighbour::NextHop>;

/// The machine that owns the others.
pub struct Control {
    config: Config,
    tick: Duration,
    compiler: Compiler,
    ids: Ids,
    installed: Installed,
    wanted: Wanted,
    servers: BTreeMap<ServerKey, Known>,
    targets: BTreeMap<TargetId, ServerKey>,
    next_target: u32,
    health: Health,
    neighbours: Neighbours,
    dirty: bool,
    actions: VecDeque<Action>,
}

impl Control {
    /// Goes on from what the tables hold. `seed` spreads the probes over time; `tick` is the length
    /// of the datapath's.
    ///
    /// # Errors
    /// When `config` does not fit the tables.
    pub fn new(
        config: Config,
        installed: Installed,
        ids: Ids,
        tick: Duration,
        seed: u64,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let mut control = Self {
            config: Config { virtual_services: Vec::new(), ..config.clone() },
            tick,
            compiler: Compiler::default(),
            ids,
            installed,
            wanted: Wanted::default(),
            servers: BTreeMap::new(),
            targets: BTreeMap::new(),
            next_target: 0,
            health: Health::new(seed),
            neighbours: Neighbours::new(),
            dirty: true,
            actions: VecDeque::new(),
        };
        let adopted = control.adopted();
        control.put_in_force(config, &adopted, now)?;
        Ok(control)
    }

    /// Servers that are in service according to the tables, with the next hops they have there.
    fn adopted(&self) -> Adopted {
        let in_service = self.ids.servers().filter_map(|(identity, id)| {
            let entry = self.installed.servers.get(&id)?;
            let alive = ServerState::from_u8(entry.state) != ServerState::Down && entry.ifindex != 0;
            let key = ServerKey { service: identity.service.clone(), server: identity.server.clone() };
            alive.then(|| ((key, identity.address), known::hop_of(entry)))
        });
        in_service.collect()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Puts another configuration in force. What is the same in both is not touched.
    ///
    /// # Errors
    /// When it does not fit the tables; then nothing has changed.
    pub fn configure(&mut self, config: Config, now: Instant) -> Result<(), Refusal> {
        self.put_in_force(config, &Adopted::new(), now)
    }

    fn put_in_force(&mut self, config: Config, adopted: &Adopted, now: Instant) -> Result<(), Refusal> {
        let mut servers = BTreeMap::new();
        for (key, address, check) in answering(&config) {
            let mut known = match self.servers.get(&key) {
                Some(known) if known.address == address => known.clone(),
                _ => self.new_server(address, check.is_none(), now),
            };
            // A server that was in service stays so until its check has spoken: a restart of the
            // daemon is no reason to cut its flows. It must never be compiled as down before, or
            // its generation would step on.
            if let Some(hop) = adopted.get(&(key.clone(), address)) {
                known.adopt(hop.clone());
            }
            servers.insert(key, Known { check, ..known });
        }
        let wanted = self.compiler.compile(&config, &inputs(&servers), &mut self.ids, self.tick)?;
        self.wanted = wanted;
        self.config = config;
        self.servers = servers;
        self.dirty = true;
        self.watch(now);
        Ok(())
    }

    /// A server of which nothing is known but what has been told of its address: the next hop of a
    /// machine that another service already has is not told again.
    fn new_server(&self, address: IpAddr, unchecked: bool, now: Instant) -> Known {
        let mut known = Known::new(address, unchecked, now);
        if let Some(status) = self.neighbours.status(address) {
            known.hop_changed(status.next_hop.clone(), now);
            known.doubt.clone_from(&status.doubt);
        }
        known
    }

    /// Tells the other machines whom to look after.
    fn watch(&mut self, now: Instant) {
        let addresses: BTreeSet<IpAddr> = self.servers.values().map(|known| known.address).collect();
        self.neighbours.handle(neighbour::Input::Watch(addresses), now);
        self.targets.retain(|_, key| self.servers.contains_key(key));
        let known: BTreeSet<&ServerKey> = self.targets.values().collect();
        let new: Vec<ServerKey> = self.servers.keys().filter(|key| !known.contains(key)).cloned().collect();
        for key in new {
            self.targets.insert(TargetId(self.next_target), key);
            self.next_target = self.next_target.wrapping_add(1);
        }
        let targets = self.targets.iter().filter_map(|(id, key)| {
            let known = self.servers.get(key)?;
            let check = known.check.clone().unwrap_or_else(|| unchecked(&self.config));
            Some(Target { id: *id, address: known.address, check })
        });
        self.health.handle(health::Input::Configure(targets.collect()), now);
        self.pump(now);
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
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.health.next_deadline().into_iter().chain(self.neighbours.next_deadline()).min()
    }

    /// What is to be done next; drained until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes over what the inner machines say.
    fn pump(&mut self, now: Instant) {
        while let Some(action) = self.health.poll_action() {
            match action {
                health::Action::Probe { id, generation, address, check } => {
                    self.actions.push_back(Action::Probe { id, generation, address, check });
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
    }

    fn transition(&mut self, transition: &health::Transition, now: Instant) {
        let Some(key) = self.targets.get(&transition.id) else { return };
        let Some(known) = self.servers.get_mut(key) else { return };
        known.health_changed(transition.to, now);
        if known.check.is_some() {
            let worse = transition.to == health::State::Down;
            let sentence = format!("{}: {}", transition.to, transition.reason);
            self.actions.push_back(Action::Notice(Notice { server: key.clone(), worse, sentence }));
        }
        self.dirty = true;
    }

    fn hop_changed(&mut self, address: IpAddr, hop: &Result<neighbour::NextHop, neighbour::Problem>, now: Instant) {
        for (key, known) in self.servers.iter_mut().filter(|(_, known)| known.address == address) {
            let before = known.hop_problem();
            known.hop_changed(hop.clone(), now);
            let told = match (before, known.hop_problem()) {
                (_, Some(problem)) => Some((true, format!("{address} cannot be reached: {problem}"))),
                (Some(_), None) => Some((false, format!("{address} can be reached again"))),
                (None, None) => None,
            };
            if let Some((worse, sentence)) = told {
                self.actions.push_back(Action::Notice(Notice { server: key.clone(), worse, sentence }));
            }
            self.dirty = true;
        }
    }

    fn doubted(&mut self, address: IpAddr, problem: Option<&neighbour::Problem>) {
        for (key, known) in self.servers.iter_mut().filter(|(_, known)| known.address == address) {
            known.doubt = problem.cloned();
            let (worse, sentence) = match problem {
                Some(problem) => (true, format!("{problem}; frames still go to the MAC address it had last")),
                None => (false, format!("{address} answers again")),
            };
            self.actions.push_back(Action::Notice(Notice { server: key.clone(), worse, sentence }));
        }
    }

    /// Live connections were counted. Full servers leave the schedules until they have room again,
    /// so that the datapath need not search for one that has.
    pub fn counted(&mut self, connections: &BTreeMap<ServerId, u64>) {
        for (key, id) in &self.wanted.server_numbers {
            let (Some(known), Some(entry)) = (self.servers.get_mut(key), self.wanted.servers.get(id)) else { continue };
            let live = connections.get(id).copied().unwrap_or(0);
            if known.count(live, entry) {
                self.dirty = true;
                let (worse, sentence) = match known.full {
                    true => (true, format!("full: {live} of {} connections", entry.max_connections)),
                    false => (false, format!("takes new connections again, it has {live}")),
                };
                self.actions.push_back(Action::Notice(Notice { server: key.clone(), worse, sentence }));
            }
        }
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
        self.wanted = self.compiler.compile(&self.config, &inputs(&self.servers), &mut self.ids, self.tick)?;
        let operations = plan(&self.installed, &self.wanted)?;
        if operations.is_empty() {
            self.settled();
        }
        Ok(operations)
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

    /// Whether every check has spoken at least once.
    #[must_use]
    pub fn all_checked(&self) -> bool {
        self.servers.values().all(|known| known.health != health::State::Checking)
    }
}

fn inputs(servers: &BTreeMap<ServerKey, Known>) -> BTreeMap<ServerKey, ServerInput> {
    servers.iter().map(|(key, known)| (key.clone(), known.input())).collect()
}

/// Everybody who answers for a service, with the check that is asked of them; `None`: none is.
fn answering(config: &Config) -> impl Iterator<Item = (ServerKey, IpAddr, Option<HealthCheck>)> + '_ {
    config.virtual_services.iter().flat_map(|service| {
        let key = |server: &str| ServerKey { service: service.name.clone(), server: server.to_owned() };
        let real_servers = service.real_servers.iter().map(move |real| {
            let check = HealthCheck { port: service.check_port(real), ..service.check_of(real).clone() };
            let asked = check.probe != Probe::None;
            (key(&real.name), real.address, asked.then_some(check))
        });
        let fallback = match &service.fallback {
            Some(Fallback::Server { address, .. }) => Some((key(FALLBACK), *address, None)),
            Some(Fallback::Page(_) | Fallback::Redirect(_)) | None => None,
        };
        real_servers.chain(fallback)
    })
}

/// A check that asks nothing, for who is not checked.
fn unchecked(config: &Config) -> HealthCheck {
    let second = Duration::from_secs(1);
    let template = config.virtual_services.first().map(|service| service.health_check.clone());
    let template = template.unwrap_or(HealthCheck {
        probe: Probe::None,
        port: None,
        interval: second,
        timeout: second,
        rise: 1,
        fall: 1,
        flap_damping: false,
    });
    HealthCheck { probe: Probe::None, port: None, ..template }
}
