//! The proxy: carries the connections of the layer 7 services.
//!
//! In: configurations that were prepared, what control says of the real servers, connections of clients. Out:
//! connections to real servers, counts, lines of access logs. Absent: decisions, which are
//! [`lb_core::proxy`]'s.
//!
//! A connection's way: `worker` accepts, `connection` reads its PROXY header and does its TLS handshake,
//! `tcp` or `http` serves it: `choose` finds a real server, `open` connects to it, [`relay`] carries bytes.
//! What is in force stands in `service`, what outlives a reload in `real_server`.

mod access_log;
mod choose;
pub mod connect;
mod connection;
mod consider;
mod descriptors;
mod files;
mod handover;
mod http;
mod listen;
mod open;
mod prepare;
mod real_server;
mod records;
mod registry;
pub mod relay;
mod service;
mod signal;
mod tcp;
pub mod tls;
mod token;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use lb_core::config::model::{OnRemoval, PortRange};
use lb_core::control::{Proxied, ServerMeasures};
use lb_core::tables::{Health, ServerIdentity, ServerInput, ServerKey};
use lb_core::view;
use tracing::warn;

use crate::dataplane::Steering;
pub use files::unusable_files;
pub use handover::Estate;
pub use prepare::Prepared;
pub use real_server::Carried;
pub use records::Records;
pub use registry::Carrying;

use access_log::Writer;
use prepare::Aim;
use real_server::RealServer;
use service::{Service, is_cut};
use tls::{Certificates, Tickets};
use token::TokenKey;
use worker::{Listener, Shared, Target, Worker};

/// The proxy of this machine. The daemon's loop owns it; connections are carried on threads of its own.
pub struct Proxy {
    workers: Vec<Worker>,
    shared: Arc<Shared>,
    services: BTreeMap<String, Arc<Service>>,
    /// Services that a reload has removed, and when what is left of them is cut.
    finishing: Vec<(Arc<Service>, Instant)>,
    /// Those of the configuration, and those that still have connections.
    servers: BTreeMap<ServerIdentity, Arc<RealServer>>,
    last_number: u32,
    listeners: BTreeMap<SocketAddr, Listening>,
    /// Sockets of an earlier lbd that nobody has asked for yet.
    inherited: BTreeMap<SocketAddr, Vec<TcpListener>>,
    /// Records of an earlier lbd that wait for their service.
    left_clients: handover::Remembered,
    steering: Option<Steering>,
    states: BTreeMap<ServerKey, ServerInput>,
    tickets: BTreeMap<String, Arc<Tickets>>,
    token_key: TokenKey,
    log_writer: Writer,
    certificates: Option<Certificates>,
    drain_timeout: Duration,
    /// Clients whose record names a real server, by its number, as of the last look.
    remembered: HashMap<u32, usize>,
}

/// An address that is listened on.
struct Listening {
    listener: Arc<Listener>,
    aim: Aim,
    /// The sockets, for a later lbd and for steering; the workers have their own descriptors of them.
    sockets: Vec<TcpListener>,
}

impl Proxy {
    /// Starts the threads; nothing is listened on yet. What names real servers in cookies is kept in `state_dir`.
    ///
    /// # Errors
    /// When the system has no threads.
    pub fn start(threads: usize, state_dir: &Path) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(threads));
        let workers: std::io::Result<Vec<Worker>> =
            (0..threads).map(|number| Worker::start(number, Arc::clone(&shared))).collect();
        Ok(Self {
            workers: workers?,
            shared,
            services: BTreeMap::new(),
            finishing: Vec::new(),
            servers: BTreeMap::new(),
            last_number: 0,
            listeners: BTreeMap::new(),
            inherited: BTreeMap::new(),
            left_clients: handover::Remembered::new(),
            steering: None,
            states: BTreeMap::new(),
            tickets: BTreeMap::new(),
            token_key: TokenKey::keep(state_dir),
            log_writer: Writer::start()?,
            certificates: None,
            drain_timeout: Duration::from_secs(3600),
            remembered: HashMap::new(),
        })
    }

    /// Puts a prepared configuration in force. Connections that are there go on.
    ///
    /// # Errors
    /// When ports cannot be steered; everything else is in force then.
    pub fn commit(
        &mut self,
        prepared: Prepared,
        states: &BTreeMap<ServerKey, ServerInput>,
        drain_timeout: Duration,
        now: Instant,
    ) -> Result<(), String> {
        let Prepared { services, listeners, mut new_sockets, certificates, max_connections } = prepared;
        self.shared.set_most(max_connections);
        self.certificates = Some(certificates);
        self.drain_timeout = drain_timeout;
        let mut before = std::mem::take(&mut self.services);
        for (name, running) in services {
            running.tell(states);
            for entry in running.entries() {
                open::tell(entry, entry.live.configure(running.config.proxy.passive_health));
            }
            let service = match before.remove(&name) {
                Some(service) => {
                    service.put_in_force(running);
                    service
                }
                None => Service::new(&name, running),
            };
            self.services.insert(name, service);
        }
        self.aim(&listeners, &mut new_sockets);
        let steered = self.steer();
        self.close(&listeners);
        for (_, service) in before {
            self.finish(&service, now);
        }
        self.cut_removed();
        self.forget_unused();
        steered
    }

    /// New listeners accept, and those that are there send their connections where they belong now.
    fn aim(&mut self, wanted: &BTreeMap<SocketAddr, Aim>, sockets: &mut BTreeMap<SocketAddr, Vec<TcpListener>>) {
        for (address, aim) in wanted {
            let Some(service) = self.services.get(&aim.service) else { continue };
            let target = Target { service: Arc::clone(service), tls: aim.tls, range: aim.range.is_some() };
            if let Some(listening) = self.listeners.get_mut(address) {
                listening.listener.aim(target);
                listening.aim = aim.clone();
                continue;
            }
            let sockets = sockets.remove(address).unwrap_or_default();
            let listener = Listener::new(*address, target);
            for (worker, socket) in self.workers.iter().cycle().zip(&sockets) {
                match socket.try_clone() {
                    Ok(socket) => worker.listen(&listener, socket),
                    Err(error) => warn!(%address, %error, "a listening socket is not used"),
                }
            }
            self.listeners.insert(*address, Listening { listener, aim: aim.clone(), sockets });
        }
    }

    fn close(&mut self, wanted: &BTreeMap<SocketAddr, Aim>) {
        self.listeners.retain(|address, listening| {
            let stays = wanted.contains_key(address);
            if !stays {
                listening.listener.close();
            }
            stays
        });
    }

    /// Sends the ports of ranges to their listeners.
    fn steer(&mut self) -> Result<(), String> {
        let mut ranges: BTreeMap<(IpAddr, PortRange), BorrowedFd<'_>> = BTreeMap::new();
        for (address, listening) in &self.listeners {
            let (Some(range), Some(socket)) = (listening.aim.range, listening.sockets.first()) else { continue };
            // A TLS port within the range has a listener of its own, which the kernel finds when nothing is steered.
            let others = self.listeners.keys().filter(|other| other.ip() == address.ip() && *other != address);
            for part in without(range, others.map(SocketAddr::port)) {
                ranges.insert((address.ip(), part), socket.as_fd());
            }
        }
        if ranges.is_empty() && self.steering.is_none() {
            return Ok(());
        }
        let problem = |error| format!("port ranges of layer 7 services cannot be steered: {error}");
        if self.steering.is_none() {
            self.steering = Some(Steering::load().map_err(problem)?);
        }
        match &mut self.steering {
            Some(steering) => steering.set(&ranges).map_err(problem),
            None => Ok(()),
        }
    }

    /// A service that the configuration names no longer.
    fn finish(&mut self, service: &Arc<Service>, now: Instant) {
        match service.glance().config.on_removal {
            OnRemoval::Drain => {
                service.finish.raise();
                self.finishing.push((Arc::clone(service), now + self.drain_timeout));
            }
            OnRemoval::Cut => service.cut.raise(),
        }
    }

    /// Connections of real servers that are named no longer go on, unless their service says that they are cut.
    fn cut_removed(&self) {
        let named: BTreeSet<u32> = self.named();
        for (identity, server) in self.servers.iter().filter(|(_, server)| !named.contains(&server.number)) {
            let service = self.services.get(&identity.service);
            if service.is_some_and(|service| service.glance().config.on_removal == OnRemoval::Cut) {
                server.cut.raise();
            }
        }
    }

    fn named(&self) -> BTreeSet<u32> {
        let running = self.services.values().map(|service| service.running());
        running.flat_map(|running| running.entries().map(|entry| entry.live.number).collect::<Vec<_>>()).collect()
    }

    /// Lets go of real servers that nobody names and that carry nothing.
    fn forget_unused(&mut self) {
        let named = self.named();
        self.servers.retain(|_, server| named.contains(&server.number) || server.carried().connections > 0);
        self.tickets.retain(|name, _| self.services.contains_key(name));
        self.finishing.retain(|(service, _)| service.counters.clients.load(Ordering::Relaxed) > 0);
    }

    /// Control's states of the real servers. Connections of one that has gone down or was halted are cut, and its
    /// clients forgotten.
    pub fn tell(&mut self, states: BTreeMap<ServerKey, ServerInput>) {
        if self.states == states {
            return;
        }
        let before = std::mem::replace(&mut self.states, states);
        let changed: BTreeSet<&str> = self
            .states
            .iter()
            .filter(|(key, state)| before.get(key) != Some(state))
            .map(|(key, _)| key.service.as_str())
            .collect();
        for name in changed {
            let Some(service) = self.services.get(name) else { continue };
            let running = service.running();
            for entry in running.entries() {
                let key = ServerKey { service: name.to_owned(), server: entry.config.name.clone() };
                let health = |states: &BTreeMap<ServerKey, ServerInput>| states.get(&key).map(|state| state.health);
                if health(&before) == Some(Health::Down) && health(&self.states) == Some(Health::Up) {
                    open::tell(entry, entry.live.returned());
                }
            }
            running.tell(&self.states);
            // Who waits for room may find it with somebody else now.
            service.room.notify_waiters();
            for entry in running.entries() {
                let key = ServerKey { service: name.to_owned(), server: entry.config.name.clone() };
                let cut = |states: &BTreeMap<ServerKey, ServerInput>| states.get(&key).is_some_and(is_cut);
                if cut(&self.states) && !cut(&before) {
                    if let Some(clients) = &running.clients {
                        clients.forget_server(entry.live.number);
                    }
                    entry.live.cut.raise();
                }
            }
        }
    }

    /// What has been carried for each real server, and how many clients are remembered for it.
    #[must_use]
    pub fn counted(&self) -> Proxied {
        let clients = &self.remembered;
        let measures = self.servers.iter().map(|(identity, server)| {
            let carried = server.carried();
            let measures = ServerMeasures {
                bytes: carried.to_server,
                flows: carried.total,
                connections: carried.connections,
                persistent_clients: clients.get(&server.number).copied().unwrap_or(0) as u64,
                reply_bytes: carried.to_client,
                ..ServerMeasures::default()
            };
            (identity.clone(), measures)
        });
        Proxied(measures.collect())
    }

    /// Cuts what has had its time, and forgets what has ended. Called about once a second.
    pub fn tidy(&mut self, now: Instant) {
        self.shared.registry.tick(now);
        self.remembered.clear();
        for service in self.services.values() {
            if let Some(records) = &service.glance().clients {
                self.remembered.extend(records.sweep(now));
            }
        }
        for (service, until) in &self.finishing {
            if *until <= now {
                service.cut.raise();
            }
        }
        self.forget_unused();
    }

    /// Takes no new connections, answers the requests that are there, and lets connections go on.
    pub fn leave(&mut self) {
        self.steering = None;
        for listening in std::mem::take(&mut self.listeners).into_values() {
            listening.listener.close();
        }
        for service in self.services.values() {
            service.finish.raise();
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        let finishing = self.finishing.iter().map(|(service, _)| service);
        for service in self.services.values().chain(finishing) {
            service.cut.raise();
        }
    }

    /// Connections of clients now.
    #[must_use]
    pub fn clients(&self) -> u32 {
        self.shared.clients.load(Ordering::Relaxed)
    }

    /// Threads that carry connections.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len()
    }

    /// What has been carried for each service.
    #[must_use]
    pub fn views(&self) -> BTreeMap<&str, view::Proxied> {
        self.services.iter().map(|(name, service)| (name.as_str(), service.counters.view())).collect()
    }

    /// Lines of access logs that were lost, because they came too fast or could not be written.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.log_writer.lost()
    }

    /// Why clients with a cookie are placed anew after a restart, if they are.
    #[must_use]
    pub fn forgets_cookies(&self) -> Option<&str> {
        self.token_key.problem()
    }

    /// The certificates in use.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    fn tickets(&mut self, service: &str) -> Result<Arc<Tickets>, String> {
        if let Some(tickets) = self.tickets.get(service) {
            return Ok(Arc::clone(tickets));
        }
        let tickets = Tickets::new(SystemTime::now())?;
        self.tickets.insert(service.to_owned(), Arc::clone(&tickets));
        Ok(tickets)
    }

    fn token(&self, identity: &ServerIdentity) -> Arc<str> {
        self.token_key.token(identity)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.workers.iter().for_each(Worker::stop);
    }
}

/// What is left of a range when some ports are taken out.
fn without(range: PortRange, ports: impl Iterator<Item = u16>) -> Vec<PortRange> {
    let mut taken: Vec<u16> = ports.filter(|port| (range.first..=range.last).contains(port)).collect();
    taken.sort_unstable();
    let (mut parts, mut first) = (Vec::new(), u32::from(range.first));
    for port in taken.into_iter().map(u32::from).chain([u32::from(range.last) + 1]) {
        if let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(port.wrapping_sub(1)))
            && first <= last
            && port > 0
        {
            parts.push(PortRange { first, last });
        }
        first = port + 1;
    }
    parts
}

#[cfg(test)]
mod tests;
