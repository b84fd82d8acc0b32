//! Connections to real servers over HTTP, kept for the next request.
//!
//! In: a real server. Out: a connection that a request can be sent over. Absent: which real server.
//!
//! A connection of HTTP/1.1 has no task of its own: whoever uses it drives it, so that a request and its answer
//! wake one task. One of HTTP/2 carries many requests, and a task drives it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
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

/// How long a connection waits for its next request: less than most servers wait.
const IDLE: Duration = Duration::from_secs(10);

/// A request that may not be sent twice goes over a connection that was used so short ago that its server has hardly
/// closed it.
const FRESH: Duration = Duration::from_secs(1);

/// Connections to one real server that a worker keeps.
const MOST: usize = 256;

/// Over which connections a request may go: with a PROXY header or the client's address they are one client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    entry: usize,
    client: Option<SocketAddr>,
}

impl Key {
    fn new(entry: &Arc<Entry>, running: &Running, ends: Ends) -> Self {
        let client = match (entry.config.proxy_protocol, running.config.source_address) {
            (Some(_), _) => Some(ends.client),
            (None, SourceAddress::Client) => Some(SocketAddr::new(ends.client.ip(), 0)),
            (None, _) => None,
        };
        // The entry is kept by the connection: no other one has its address meanwhile.
        Self { entry: Arc::as_ptr(entry) as usize, client }
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
        let shared = Shared { sender: sender.clone(), entry: Arc::clone(entry), cut_number };
        self.shared.borrow_mut().insert(key, shared);
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
        let there = shared.get(&key)?;
        if there.sender.is_closed() || there.cut_number != there.entry.live.cut.number() {
            shared.remove(&key);
            return None;
        }
        Some((Way::Shared { sender: there.sender.clone() }, there.cut_number))
    }

    /// Keeps a connection whose answer is complete for the next request.
    pub(super) fn give_back(&self, upstream: Box<Upstream>, alarm: Alarm) {
        let mut given = Waiting { upstream, alarm };
        if !given.is_usable() {
            return;
        }
        given.upstream.used = Instant::now();
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.entry(given.upstream.key).or_default();
        if waiting.len() < MOST {
            waiting.push(given);
        }
    }

    /// Closes what has waited long enough.
    pub(in crate::proxy) fn sweep(&self) {
        self.waiting.borrow_mut().retain(|_, waiting| {
            waiting.retain_mut(|one| {
                let idle = one.upstream.used.elapsed();
                if idle > FRESH {
                    one.upstream.http.rest();
                }
                idle < IDLE && one.is_usable()
            });
            !waiting.is_empty()
        });
        self.shared.borrow_mut().retain(|_, shared| !shared.sender.is_closed());
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
