//! Connections to real servers over HTTP, kept for the next request.
//!
//! In: a real server. Out: a connection that a request can be sent over. Absent: which real server.
//!
//! A connection of HTTP/1.1 has no task of its own: whoever uses it drives it, so that a request and its answer
//! wake one task. One of HTTP/2 carries many requests, and a task drives it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lb_core::config::model::{HttpVersion, SourceAddress};
use tokio::task::spawn_local;

use super::body::RequestBody;
use super::conversation::Conversation;
use super::executor::Local;
use super::pace::Alarm;
use super::stream::ServerStream;
use crate::proxy::connect::{First, keep_alive};
use crate::proxy::connection::Ends;
use crate::proxy::open::open;
use crate::proxy::service::{Entry, Running};
use lb_core::proxy::failure::Failure;

#[cfg(test)]
mod tests;

/// How long a connection waits for its next request: less than most servers wait.
const IDLE: Duration = Duration::from_secs(10);

/// A request that may not be sent twice goes over a connection that was used so short ago that its server has hardly
/// closed it.
const FRESH: Duration = Duration::from_secs(1);

/// Connections to one real server that a worker keeps.
const MOST: usize = 256;

/// Over which connections a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    entry: usize,
    whose: Whose,
}

/// Whose requests a connection to a real server may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Anybody,
    /// It comes from the client's address.
    Address(IpAddr),
    /// Its PROXY header names the client's connection.
    Connection(SocketAddr),
}

impl Key {
    fn new(entry: &Arc<Entry>, running: &Running, ends: Ends) -> Self {
        let whose = match (entry.config.proxy_protocol, running.config.source_address) {
            (Some(_), _) => Whose::Connection(ends.client),
            (None, SourceAddress::Client) => Whose::Address(ends.client.ip()),
            (None, _) => Whose::Anybody,
        };
        // The entry is kept by the connection: no other one has its address meanwhile.
        Self { entry: Arc::as_ptr(entry) as usize, whose }
    }
}

/// A connection of HTTP/1.1 to a real server.
pub(super) struct Upstream {
    pub(super) http: Conversation,
    /// The key names it by its address.
    _entry: Arc<Entry>,
    key: Key,
    used: Instant,
    /// It has carried a request before.
    pub(super) is_reused: bool,
}

/// Connections to real servers that a worker keeps.
#[derive(Default)]
pub(in crate::proxy) struct Idle {
    waiting: RefCell<HashMap<Key, Vec<Waiting>>>,
    shared: RefCell<HashMap<Key, Shared>>,
    /// Those above that carry the requests of one client's connection only.
    own: RefCell<HashMap<SocketAddr, Vec<Key>>>,
}

/// A connection of HTTP/1.1 that carries nothing now.
struct Waiting {
    // Boxed: it goes from hand to hand.
    upstream: Box<Upstream>,
    alarm: Alarm,
}

impl Waiting {
    fn is_usable(&mut self) -> bool {
        !self.alarm.is_cut() && self.upstream.http.is_free()
    }
}

/// A connection of HTTP/2, with its real server's entry.
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    entry: Arc<Entry>,
    cut_number: u64,
    used: Instant,
}

/// What a request is sent over.
pub(super) enum Way {
    /// Alone.
    Alone(Box<Upstream>),
    /// Beside other requests.
    Shared {
        /// A handle of the connection.
        sender: http2::SendRequest<RequestBody>,
    },
}

impl Idle {
    /// A connection for one request that is there already. `fresh`: the request may not be sent twice. `upgrade`: it
    /// asks for another protocol, which HTTP/2 does not have.
    pub(super) fn ready(
        &self,
        entry: &Arc<Entry>,
        running: &Running,
        ends: Ends,
        fresh: bool,
        upgrade: bool,
    ) -> Option<(Way, Alarm)> {
        let key = Key::new(entry, running, ends);
        if let Some(Waiting { upstream, alarm }) = self.take(key, fresh) {
            return Some((Way::Alone(upstream), alarm));
        }
        let (way, cut_number) = if upgrade { None } else { self.take_shared(key) }?;
        Some((way, Alarm::new(&entry.live, cut_number)))
    }

    /// A new connection.
    ///
    /// # Errors
    /// Which counter tells why there is none.
    pub(super) async fn connect(
        &self,
        entry: &Arc<Entry>,
        running: &Running,
        ends: Ends,
        upgrade: bool,
    ) -> Result<(Way, Alarm), Failure> {
        let key = Key::new(entry, running, ends);
        let cut_number = entry.live.cut.number();
        let alarm = Alarm::new(&entry.live, cut_number);
        let opened = Box::pin(open(entry, running, ends, First::Us)).await?;
        keep_alive(opened.socket());
        let stream = ServerStream::new(opened, Arc::clone(&entry.live));
        let speaks_h2 = match entry.config.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => stream.alpn() == Some(b"h2"),
        };
        if speaks_h2 && upgrade {
            return Err(Failure::UpgradeOverHttp2);
        }
        if speaks_h2 {
            let sender = self.share(key, entry, cut_number, stream).await?;
            return Ok((Way::Shared { sender }, alarm));
        }
        let upstream = Upstream {
            http: Conversation::new(stream),
            _entry: Arc::clone(entry),
            key,
            used: Instant::now(),
            is_reused: false,
        };
        Ok((Way::Alone(Box::new(upstream)), alarm))
    }

    async fn share(
        &self,
        key: Key,
        entry: &Arc<Entry>,
        cut_number: u64,
        stream: ServerStream,
    ) -> Result<http2::SendRequest<RequestBody>, Failure> {
        let mut builder = http2::Builder::new(Local);
        builder.initial_stream_window_size(256 << 10).initial_connection_window_size(1 << 20);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Failure::ConnectFailed)?;
        let live = Arc::clone(&entry.live);
        spawn_local(async move {
            tokio::select! {
                _ = driver => {}
                () = live.cut.after(cut_number) => {}
            }
        });
        let shared = Shared { sender: sender.clone(), entry: Arc::clone(entry), cut_number, used: Instant::now() };
        self.shared.borrow_mut().insert(key, shared);
        self.keeps(key);
        Ok(sender)
    }

    fn take(&self, key: Key, fresh: bool) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.get_mut(&key)?;
        // The one that was used last: the others may become old and go.
        while let Some(mut last) = waiting.pop() {
            if fresh && last.upstream.used.elapsed() > FRESH {
                waiting.push(last);
                return None;
            }
            if last.is_usable() {
                last.upstream.is_reused = true;
                return Some(last);
            }
        }
        None
    }

    fn take_shared(&self, key: Key) -> Option<(Way, u64)> {
        let mut shared = self.shared.borrow_mut();
        let there = shared.get_mut(&key)?;
        if there.sender.is_closed() || there.cut_number != there.entry.live.cut.number() {
            shared.remove(&key);
            return None;
        }
        there.used = Instant::now();
        Some((Way::Shared { sender: there.sender.clone() }, there.cut_number))
    }

    /// Keeps a connection whose answer is complete for the next request.
    pub(super) fn give_back(&self, upstream: Box<Upstream>, alarm: Alarm) {
        let mut given = Waiting { upstream, alarm };
        if !given.is_usable() {
            return;
        }
        given.upstream.used = Instant::now();
        let key = given.upstream.key;
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.entry(key).or_default();
        if waiting.len() < MOST {
            waiting.push(given);
            self.keeps(key);
        }
    }

    fn keeps(&self, key: Key) {
        if let Whose::Connection(client) = key.whose {
            let mut own = self.own.borrow_mut();
            let keys = own.entry(client).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }

    /// A client's connection has ended: what was opened for it alone is of no use to anybody.
    pub(super) fn leaves(&self, client: SocketAddr) {
        for key in self.own.borrow_mut().remove(&client).into_iter().flatten() {
            self.waiting.borrow_mut().remove(&key);
            self.shared.borrow_mut().remove(&key);
        }
    }

    /// Closes all: there is more need of their files. One of HTTP/2 is closed after the last of its answers.
    pub(in crate::proxy) fn clear(&self) {
        self.waiting.borrow_mut().clear();
        self.shared.borrow_mut().clear();
        self.own.borrow_mut().clear();
    }

    /// Closes what has waited long enough. One of HTTP/2 is closed after the last of its answers.
    pub(in crate::proxy) fn sweep(&self, now: Instant) {
        let (mut waiting, mut shared) = (self.waiting.borrow_mut(), self.shared.borrow_mut());
        waiting.retain(|_, waiting| {
            waiting.retain_mut(|one| {
                let idle = now.saturating_duration_since(one.upstream.used);
                if idle > FRESH {
                    one.upstream.http.rest();
                }
                idle < IDLE && one.is_usable()
            });
            !waiting.is_empty()
        });
        shared.retain(|_, one| now.saturating_duration_since(one.used) < IDLE && !one.sender.is_closed());
        self.own.borrow_mut().retain(|_, keys| {
            keys.retain(|key| waiting.contains_key(key) || shared.contains_key(key));
            !keys.is_empty()
        });
    }
}

/// A request over HTTP/2 waits until the connection takes it.
///
/// # Errors
/// The connection is closed.
pub(super) async fn send_shared(
    mut sender: http2::SendRequest<RequestBody>,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
    // Where it is closed, the next line says so, and gives the request back.
    let _ = sender.ready().await;
    sender.try_send_request(request).await
}
