//! Finds the real server for a connection or a request: persistence, then the scheduler, then the queue.
//!
//! In: who asks. Out: a [`Chosen`] real server with a place among its connections, or why there is none.
//! Absent: the choice itself, which is `lb_core::proxy::balance`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lb_core::config::model::PersistenceBy;
use lb_core::proxy::balance::{Pick, client_hash, flow_hash};
use lb_core::proxy::clients::Key;

use super::real_server::Place;
use super::service::{Entry, Pool, Running, Service};
use lb_core::proxy::failure::Failure;

/// Who asks for a real server.
#[derive(Clone, Debug)]
pub(super) struct Asker<'a> {
    pub(super) client: SocketAddr,
    /// The token in its cookie.
    pub(super) cookie: Option<&'a str>,
    /// What its RDP request says of it.
    pub(super) rdp: Option<Rdp>,
}

/// What an RDP request says of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rdp {
    /// The user.
    User(Key),
    /// The server that a connection broker has chosen.
    Server(SocketAddr),
}

/// A real server, and a place among its connections.
pub(super) struct Chosen {
    pub(super) entry: Arc<Entry>,
    /// Where it is in its pool; what a retry leaves out.
    pub(super) at: usize,
    pub(super) place: Place,
    /// How long the client waited for room.
    pub(super) waited: Duration,
    /// It is not the one that the client's cookie names.
    pub(super) is_new: bool,
}

/// Where the fallback server is in its pool: nowhere.
const FALLBACK: usize = usize::MAX;

/// Finds a real server, and waits for room where all are full.
///
/// # Errors
/// Why there is none: nobody can be asked, or nobody has had room in time.
pub(super) async fn choose(
    service: &Service,
    running: &Running,
    pool: &Pool,
    asker: &Asker<'_>,
    tried: &[usize],
) -> Result<Chosen, Failure> {
    match at_once(service, running, pool, asker, tried) {
        Attempt::Chosen(chosen) => Ok(chosen),
        Attempt::Nobody => Err(Failure::NoServer),
        Attempt::Full => wait(service, running, pool, asker, tried).await,
    }
}

enum Attempt {
    Chosen(Chosen),
    Full,
    Nobody,
}

async fn wait(
    service: &Service,
    running: &Running,
    pool: &Pool,
    asker: &Asker<'_>,
    tried: &[usize],
) -> Result<Chosen, Failure> {
    let _waiting = Waiting::new(service, running.config.proxy.queue).ok_or(Failure::QueueFull)?;
    let begun = Instant::now();
    let until = tokio::time::Instant::from_std(begun + running.config.proxy.timeouts.queue);
    loop {
        let room = service.room.notified();
        tokio::pin!(room);
        // Enabled before the servers are looked at: a place that becomes free in between wakes this.
        room.as_mut().enable();
        // A reload may have come meanwhile, and what it replaced is told nothing any more.
        let now = service.running();
        let replaced = !std::ptr::eq(&raw const *now, running);
        let pool = now.pools.iter().find(|other| other.name == pool.name).ok_or(Failure::NoServer)?;
        match at_once(service, &now, pool, asker, if replaced { &[] } else { tried }) {
            Attempt::Chosen(mut chosen) => {
                chosen.waited = begun.elapsed();
                return Ok(chosen);
            }
            Attempt::Nobody => return Err(Failure::NoServer),
            Attempt::Full => {}
        }
        if tokio::time::timeout_at(until, room).await.is_err() {
            return Err(Failure::QueueTimeout);
        }
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a Service);

impl<'a> Waiting<'a> {
    fn new(service: &'a Service, most: u32) -> Option<Self> {
        let room = |now: u32| (now < most).then(|| now + 1);
        let waiting = &service.counters.waiting;
        waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok().then_some(Self(service))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.counters.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn at_once(service: &Service, running: &Running, pool: &Pool, asker: &Asker<'_>, tried: &[usize]) -> Attempt {
    let now = Instant::now();
    let undecided = tried.is_empty() && pool.is_undecided();
    let balancer = pool.balancer();
    let take = |entry: &Arc<Entry>, at, is_new| {
        let place = entry.live.take_place(entry.config.max_connections).then(|| {
            let place = Place::new(Arc::clone(&entry.live), Arc::clone(&service.room));
            Chosen { entry: Arc::clone(entry), at, place, waited: Duration::ZERO, is_new }
        })?;
        Some(place)
    };
    let kept = key(running, asker.client, asker.rdp.as_ref());
    // A retry leaves persistence aside: who it names has just failed.
    if tried.is_empty()
        && let Some(at) = remembered(running, pool, asker, kept.as_ref(), now)
        && let Some(entry) = balancer.admit(at, now)
        && let Some(chosen) = take(entry, at, false)
    {
        return Attempt::Chosen(chosen);
    }
    let (flow, client) = hashes(running, asker);
    loop {
        match balancer.choose(flow, client, tried, now) {
            Pick::Server { at, server } => {
                // Another thread may have taken the last place meanwhile; then the balancer is asked again, and sees it.
                let Some(chosen) = take(server, at, true) else { continue };
                if let (Some(clients), Some(key)) = (&running.clients, kept) {
                    clients.remember(key, server.live.number, now);
                }
                return Attempt::Chosen(chosen);
            }
            Pick::Full => return Attempt::Full,
            // As after a start, or a reload with other real servers. The fallback is for when they have failed.
            Pick::Nobody if undecided => return Attempt::Full,
            Pick::Nobody => break,
        }
    }
    match &running.fallback {
        Some(entry) if !tried.contains(&FALLBACK) => take(entry, FALLBACK, true).map_or(Attempt::Full, Attempt::Chosen),
        _ => Attempt::Nobody,
    }
}

/// Under which name the client is remembered; `None`: it is not.
pub(super) fn key(running: &Running, client: SocketAddr, rdp: Option<&Rdp>) -> Option<Key> {
    let persistence = running.config.persistence.as_ref()?;
    match (&persistence.by, rdp) {
        (PersistenceBy::SourceIp, _) => Some(Key::address(client.ip(), persistence.prefix_v4, persistence.prefix_v6)),
        (PersistenceBy::RdpCookie, Some(Rdp::User(key))) => Some(*key),
        (PersistenceBy::RdpCookie | PersistenceBy::Cookie { .. }, _) => None,
    }
}

/// Where in the pool the real server is that the client had before.
fn remembered(running: &Running, pool: &Pool, asker: &Asker<'_>, key: Option<&Key>, now: Instant) -> Option<usize> {
    let place = |is: &dyn Fn(&Entry) -> bool| pool.balancer().members().iter().position(|member| is(&member.server));
    if let Some(token) = asker.cookie {
        return place(&|entry| *entry.token == *token);
    }
    if let Some(Rdp::Server(server)) = &asker.rdp {
        return place(&|entry| {
            entry.config.address == server.ip() && entry.config.port.is_none_or(|port| port == server.port())
        });
    }
    let number = running.clients.as_ref()?.find(*key?, now)?;
    place(&|entry| entry.live.number == number)
}

/// Of the flow, and of the client alone. With persistence all flows of a client count as one.
pub(super) fn hashes(running: &Running, asker: &Asker<'_>) -> (u64, u64) {
    let Some(persistence) = &running.config.persistence else {
        return (flow_hash(asker.client), client_hash(asker.client.ip()));
    };
    let client = match Key::address(asker.client.ip(), persistence.prefix_v4, persistence.prefix_v6) {
        Key::Address(network) => client_hash(network),
        Key::Token(hash) => hash,
    };
    (client, client)
}
