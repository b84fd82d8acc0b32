//! A virtual service of layer 7 as all threads share it: what is in force now, and what outlives a reload.
//!
//! In: what was prepared from a configuration; states of real servers. Out: the [`Running`] service that a
//! connection or request goes by until it ends. Absent: sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use hyper::header::HeaderValue;
use lb_core::config::model;
use lb_core::proxy::balance::{Balancer, Candidate, Member, Role, place_key};
use lb_core::proxy::clients::Clients;
use lb_core::proxy::http::Policy;
use lb_core::proxy::retry::RetryBudget;
use lb_core::tables::{Admin, Health, ServerInput, ServerKey};
use lb_core::view::{Proxied, ProxyFailure};
use rustls::pki_types::ServerName;
use tokio::sync::Notify;

use super::access_log::AccessLog;
use super::real_server::RealServer;
use super::signal::Signal;

/// Lives as long as a connection of it does.
pub(super) struct Service {
    pub(super) name: Arc<str>,
    running: ArcSwap<Running>,
    /// A real server has room again.
    pub(super) room: Arc<Notify>,
    /// A client has left, where the service had as many as it may have.
    pub(super) left: Notify,
    /// It was removed, or this process is replaced: finish what is under way.
    pub(super) finish: Signal,
    /// What is still there is cut.
    pub(super) cut: Signal,
    pub(super) counters: Counters,
    pub(super) budget: RetryBudget,
}

/// What a service has carried, beside what each of its real servers has.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections of clients now.
    pub(super) clients: AtomicU32,
    /// Connections of clients ever.
    pub(super) accepted: AtomicU64,
    /// Who waits for room.
    pub(super) waiting: AtomicU32,
    /// Why connections and requests ended badly, by [`lb_core::proxy::failure::Failure`].
    pub(super) failures: lb_core::proxy::failure::Counts,
    /// Requests ever (`l7-http`).
    pub(super) requests: AtomicU64,
    /// Answers by the first digit of their status, 1 to 5.
    pub(super) answers: [AtomicU64; 5],
    /// Requests that were tried again on another real server.
    pub(super) retries: AtomicU64,
}

impl Counters {
    pub(super) fn view(&self) -> Proxied {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failures = self.failures.happened().map(|(failure, count)| ProxyFailure {
            reason: failure.word().to_owned(),
            count,
            help: failure.help().to_owned(),
        });
        Proxied {
            clients: self.clients.load(Ordering::Relaxed).into(),
            accepted: count(&self.accepted),
            waiting: self.waiting.load(Ordering::Relaxed).into(),
            requests: count(&self.requests),
            answers: self.answers.each_ref().map(count),
            retries: count(&self.retries),
            failures: failures.collect(),
        }
    }
}

/// A service as one configuration has it.
pub(super) struct Running {
    pub(super) config: model::VirtualService,
    /// The main one first.
    pub(super) pools: Vec<Pool>,
    /// The server that is asked when no real server can be.
    pub(super) fallback: Option<Arc<Entry>>,
    /// `l7-http`.
    pub(super) policy: Option<Policy>,
    /// For connections on the TLS port.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    /// Persistence by address or RDP cookie.
    pub(super) clients: Option<Arc<Clients<u32>>>,
    pub(super) log: Option<Arc<AccessLog>>,
}

/// Real servers that a rule may choose; without a name those of the service itself.
pub(super) struct Pool {
    pub(super) name: Option<Arc<str>>,
    entries: Vec<Arc<Entry>>,
    balancer: ArcSwap<Balancer<Arc<Entry>>>,
    /// A real server of it may turn out to serve: its first check has not spoken.
    undecided: AtomicBool,
}

/// A real server as one configuration has it.
pub(super) struct Entry {
    pub(super) live: Arc<RealServer>,
    pub(super) config: model::RealServer,
    /// For connections to it.
    pub(super) tls: Option<Encryption>,
    /// What names it in the cookie of persistence.
    pub(super) token: Arc<str>,
    /// The field that gives a client the cookie: plain, and over TLS.
    pub(super) set_cookie: Option<[HeaderValue; 2]>,
}

/// TLS towards a real server.
pub(super) struct Encryption {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Candidate for Entry {
    fn connections(&self) -> u32 {
        self.live.connections()
    }

    fn is_suspect(&self, now: Instant) -> bool {
        self.live.is_suspect(now)
    }

    fn claim(&self, now: Instant) -> bool {
        self.live.claim(now)
    }
}

impl Service {
    pub(super) fn new(name: &str, running: Running) -> Arc<Self> {
        let budget = RetryBudget::new(running.config.http.as_ref().map_or(0, |http| http.retry_budget), Instant::now());
        Arc::new(Self {
            name: name.into(),
            running: ArcSwap::from_pointee(running),
            room: Arc::new(Notify::new()),
            left: Notify::new(),
            finish: Signal::default(),
            cut: Signal::default(),
            counters: Counters::default(),
            budget,
        })
    }

    /// What is in force now; whoever begins something goes by it to the end.
    pub(super) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// A glance at what is in force now.
    pub(super) fn glance(&self) -> Guard<Arc<Running>> {
        self.running.load()
    }

    pub(super) fn put_in_force(&self, running: Running) {
        self.budget.set_percent(running.config.http.as_ref().map_or(0, |http| http.retry_budget));
        self.running.store(Arc::new(running));
        // Who waits for room, or to be taken, may find it in the new configuration.
        self.room.notify_waiters();
        self.left.notify_waiters();
    }

    /// Whether a further client is taken; counted until [`Self::client_left`].
    pub(super) fn take_client(&self) -> bool {
        let most = self.glance().config.proxy.max_connections;
        let room = |now: u32| (most == 0 || now < most).then(|| now.saturating_add(1));
        let taken = self.counters.clients.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok();
        if taken {
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub(super) fn client_left(&self) {
        self.counters.clients.fetch_sub(1, Ordering::AcqRel);
        self.left.notify_one();
    }
}

impl Running {
    /// The pool of that name; the main one without.
    pub(super) fn pool(&self, name: Option<&str>) -> &Pool {
        let named = self.pools.iter().find(|pool| pool.name.as_deref() == name);
        // Rules name pools that exist: the configuration was checked. The main one is always there.
        named.unwrap_or(&self.pools[0])
    }

    /// What control says of the real servers has changed.
    pub(super) fn tell(&self, states: &BTreeMap<ServerKey, ServerInput>) {
        for pool in &self.pools {
            pool.tell(&self.config, states);
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.pools.iter().flat_map(|pool| &pool.entries).chain(&self.fallback)
    }
}

impl Pool {
    pub(super) fn new(
        name: Option<Arc<str>>,
        entries: Vec<Arc<Entry>>,
        service: &model::VirtualService,
        states: &BTreeMap<ServerKey, ServerInput>,
    ) -> Self {
        let balancer = ArcSwap::from_pointee(balancer(&entries, service, states));
        let undecided = AtomicBool::new(is_undecided(&entries, service, states));
        Self { name, entries, balancer, undecided }
    }

    fn tell(&self, service: &model::VirtualService, states: &BTreeMap<ServerKey, ServerInput>) {
        let before = self.balancer.load();
        self.balancer.store(Arc::new(balancer(&self.entries, service, states).after(&before)));
        self.undecided.store(is_undecided(&self.entries, service, states), Ordering::Release);
    }

    /// Whether it is worth waiting for the first check of a real server. To be asked before the balancer is, which
    /// then knows of the check when this does.
    pub(super) fn is_undecided(&self) -> bool {
        self.undecided.load(Ordering::Acquire)
    }

    pub(super) fn balancer(&self) -> Guard<Arc<Balancer<Arc<Entry>>>> {
        self.balancer.load()
    }
}

/// A real server that nothing is known of yet is not asked.
fn balancer(
    entries: &[Arc<Entry>],
    service: &model::VirtualService,
    states: &BTreeMap<ServerKey, ServerInput>,
) -> Balancer<Arc<Entry>> {
    let members = entries.iter().map(|entry| {
        let key = ServerKey { service: service.name.clone(), server: entry.config.name.clone() };
        let state = states.get(&key).copied().unwrap_or_default();
        let serves = is_served(&state);
        Member {
            server: Arc::clone(entry),
            key: place_key(entry.config.address, entry.config.port),
            weight: state.weight.unwrap_or(entry.config.weight),
            role: if entry.config.backup { Role::Backup } else { Role::Regular },
            serves,
            takes_new: serves && state.admin == Admin::Online,
            min_connections: entry.config.min_connections,
            max_connections: entry.config.max_connections,
        }
    });
    Balancer::new(service.scheduler, entries.len(), members.collect())
}

fn is_undecided(
    entries: &[Arc<Entry>],
    service: &model::VirtualService,
    states: &BTreeMap<ServerKey, ServerInput>,
) -> bool {
    entries.iter().any(|entry| {
        let key = ServerKey { service: service.name.clone(), server: entry.config.name.clone() };
        let state = states.get(&key).copied().unwrap_or_default();
        state.health == Health::Checking && state.admin == Admin::Online
    })
}

/// Whether connections to a real server in this state may be opened.
fn is_served(state: &ServerInput) -> bool {
    state.health == Health::Up && state.admin != Admin::Halted
}

/// Whether connections to a real server in this state are cut. One that is checked anew after a reload keeps those it
/// has until the check has spoken.
pub(super) fn is_cut(state: &ServerInput) -> bool {
    state.health == Health::Down || state.admin == Admin::Halted
}
