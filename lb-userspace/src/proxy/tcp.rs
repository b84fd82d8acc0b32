//! A connection of an `l7-tcp` service: a real server is chosen, connected to, and bytes are carried until one side
//! is done.
//!
//! In: a client's connection. Out: counts, a line in the access log. Absent: how bytes are carried
//! ([`super::relay`]).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lb_core::config::model::PersistenceBy;
use lb_core::proxy::access_log::{End, Record, Times};
use lb_core::proxy::balance::Candidate as _;
use lb_core::proxy::clients::{Clients, Key};
use lb_core::proxy::rdp;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::choose::{Asker, Chosen, Rdp, choose, key};
use super::connect::First;
use super::connection::{Ends, is_silent, peek};
use super::open::{Opened, open};
use super::registry::{Both, Seat};
use super::relay::{self, Ended, How, Idle};
use super::service::{Running, Service};
use lb_core::proxy::failure::Failure;

/// The longest RDP connection request that is looked into: what clients send is far below.
const MAX_RDP_REQUEST: usize = 1024;

/// Further real servers that are tried when one cannot be connected to.
const REDISPATCHES: usize = 2;

/// A connection in the clear, or whose TLS passes through.
pub(super) async fn serve(service: &Arc<Service>, client: TcpStream, ends: Ends, seat: &Seat) {
    let running = service.running();
    let begun = Instant::now();
    let rdp = match &running.config.persistence {
        Some(persistence) if persistence.by == PersistenceBy::RdpCookie => {
            Box::pin(rdp_request(&client, &running)).await
        }
        _ => None,
    };
    let first = || if is_silent(&client) { First::Either } else { First::Us };
    let reached = Box::pin(reach(service, &running, ends, rdp.as_ref(), begun, first)).await;
    let Some((chosen, server)) = reached else { return };
    seat.reached(&chosen.entry.live);
    let meter = Both(seat, &chosen.entry.live);
    let carried = carry(client, server.stream, idle(&running), &meter);
    let record = remembered(&running, ends.client, rdp.as_ref(), &chosen);
    let ended = until_cut(service, &chosen, server.cut_number, record, carried).await;
    finish(service, &running, ends, &chosen, (begun, server.took), ended);
}

/// A connection whose TLS ends here.
pub(super) async fn serve_tls(service: &Arc<Service>, client: Box<TlsStream<TcpStream>>, ends: Ends, seat: &Seat) {
    let running = service.running();
    let begun = Instant::now();
    let reached = Box::pin(reach(service, &running, ends, None, begun, || First::Either)).await;
    let Some((chosen, server)) = reached else { return };
    seat.reached(&chosen.entry.live);
    let meter = Both(seat, &chosen.entry.live);
    let carried = carry(client, server.stream, idle(&running), &meter);
    let record = remembered(&running, ends.client, None, &chosen);
    let ended = until_cut(service, &chosen, server.cut_number, record, carried).await;
    finish(service, &running, ends, &chosen, (begun, server.took), ended);
}

/// Boxed, so that a connection is as large as what it carries, and not as the largest it could.
fn carry<'a, C: relay::End + 'a>(client: C, server: Opened, idle: Idle, meter: &'a Both<'a>) -> Carried<'a> {
    match server {
        Opened::Plain(server) => Box::pin(relay::relay(client, server, Bytes::new(), idle, meter)),
        Opened::Encrypted(server) => Box::pin(relay::relay(client, server, Bytes::new(), idle, meter)),
    }
}

type Carried<'a> = Pin<Box<dyn Future<Output = Ended> + 'a>>;

fn idle(running: &Running) -> Idle {
    let timeouts = &running.config.proxy.timeouts;
    Idle { client: timeouts.client, server: timeouts.server }
}

/// What the client's RDP request says of it. Who sends none in time is served by the scheduler.
async fn rdp_request(client: &TcpStream, running: &Running) -> Option<Rdp> {
    let looked = peek(client, MAX_RDP_REQUEST, |bytes| Ok(rdp::cookie(bytes)));
    let (cookie, _) = tokio::time::timeout(running.config.proxy.timeouts.request, looked).await.ok()?.ok()?;
    Some(match cookie? {
        rdp::Cookie::User(name) => Rdp::User(Key::token(&name)),
        rdp::Cookie::Chosen(address) => Rdp::Server(address.into()),
    })
}

/// A connection to a real server.
struct Reached {
    stream: Opened,
    took: Duration,
    cut_number: u64,
}

/// Chooses and connects; another real server is tried when one does not accept. `first`: whether the client has
/// spoken by then.
async fn reach(
    service: &Service,
    running: &Running,
    ends: Ends,
    rdp: Option<&Rdp>,
    begun: Instant,
    first: impl Fn() -> First,
) -> Option<(Chosen, Reached)> {
    let mut tried = Vec::new();
    let mut before = None;
    let asker = Asker { client: ends.client, cookie: None, rdp: rdp.cloned() };
    loop {
        let chosen = match choose(service, running, &running.pools[0], &asker, &tried).await {
            Ok(chosen) => chosen,
            Err(failure) => {
                // That nobody else is there says less than why the one who was asked failed.
                let failure = before.filter(|_| failure == Failure::NoServer).unwrap_or(failure);
                refused(service, running, ends, begun, failure);
                return None;
            }
        };
        if before.is_some() {
            service.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
        let cut_number = chosen.entry.live.cut.number();
        let connecting = Instant::now();
        match open(&chosen.entry, running, ends, first()).await {
            Ok(stream) => return Some((chosen, Reached { stream, took: connecting.elapsed(), cut_number })),
            Err(failure) if tried.len() >= REDISPATCHES => {
                refused(service, running, ends, begun, failure);
                return None;
            }
            Err(failure) => {
                before = Some(failure);
                tried.push(chosen.at);
            }
        }
    }
}

/// Carries until it is done, or the real server or the service is cut.
async fn until_cut(
    service: &Service,
    chosen: &Chosen,
    cut_number: u64,
    record: Option<Remembered<'_>>,
    mut carried: Carried<'_>,
) -> Result<Ended, Failure> {
    let remembering = async {
        match &record {
            // Boxed: most connections have no room for it.
            Some(record) => Box::pin(record.keep()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = &mut carried => Ok(ended),
        () = chosen.entry.live.cut.after(cut_number) => Err(Failure::ServerCut),
        () = service.cut.after(0) => Err(Failure::DrainTimeout),
        never = remembering => match never {},
    }
}

fn refused(service: &Service, running: &Running, ends: Ends, begun: Instant, failure: Failure) {
    service.counters.failures.count(failure);
    if let Some(log) = &running.log {
        let times = Times { total: begun.elapsed(), ..Times::default() };
        log.write(&Record { times, end: failure.end(false), ..record(service, ends) });
    }
}

/// What is known of a connection from its beginning.
fn record(service: &Service, ends: Ends) -> Record<'_> {
    Record {
        client: ends.client,
        date: "",
        service: &service.name,
        tls: ends.tls,
        pool: None,
        server: None,
        times: Times::default(),
        received: 0,
        sent: 0,
        end: End::default(),
        service_connections: service.counters.clients.load(Ordering::Relaxed),
        server_connections: 0,
        retries: 0,
        http: None,
    }
}

fn finish(
    service: &Service,
    running: &Running,
    ends: Ends,
    chosen: &Chosen,
    (begun, connecting): (Instant, Duration),
    ended: Result<Ended, Failure>,
) {
    let failure = match &ended {
        Err(failure) => Some(*failure),
        Ok(ended) => match &ended.how {
            How::Done => None,
            How::ClientTimeout => Some(Failure::ClientTimeout),
            How::ServerTimeout => Some(Failure::ServerTimeout),
            How::ClientFailed(_) => Some(Failure::ClientGone),
            How::ServerFailed(_) => Some(Failure::ServerFailed),
        },
    };
    if let Some(failure) = failure {
        service.counters.failures.count(failure);
    }
    if let Some(log) = &running.log {
        let (received, sent) = ended.map_or((0, 0), |ended| (ended.to_server, ended.to_client));
        log.write(&Record {
            server: Some(&chosen.entry.config.name),
            times: Times { queue: Some(chosen.waited), connect: Some(connecting), total: begun.elapsed() },
            received,
            sent,
            end: failure.map_or_else(End::default, |failure| failure.end(true)),
            server_connections: chosen.entry.live.connections(),
            ..record(service, ends)
        });
    }
}

/// The record of a client, which a long connection keeps alive.
struct Remembered<'a> {
    clients: &'a Clients<u32>,
    key: Key,
    server: u32,
}

fn remembered<'a>(
    running: &'a Running,
    client: SocketAddr,
    rdp: Option<&Rdp>,
    chosen: &Chosen,
) -> Option<Remembered<'a>> {
    let (clients, key) = (running.clients.as_deref()?, key(running, client, rdp)?);
    Some(Remembered { clients, key, server: chosen.entry.live.number })
}

impl Remembered<'_> {
    /// Uses the record again and again, before it is forgotten.
    async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.clients.touch_interval()).await;
            self.clients.touch(self.key, self.server, Instant::now());
        }
    }
}

impl Drop for Remembered<'_> {
    fn drop(&mut self) {
        self.clients.touch(self.key, self.server, Instant::now());
    }
}
