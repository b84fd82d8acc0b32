//! Connections of an `l7-http` service: HTTP/1.1 or HTTP/2, their requests, what becomes of each.
//!
//! In: a client's connection. Out: answers of real servers, or the balancer's own. Absent: which real server, which
//! rules.
//!
//! A connection is one task: hyper's connection, watched by [`watch`]. A request is a future within it ([`request`]),
//! and the connection to its real server is driven there too ([`upstream`]).

mod body;
mod conversation;
mod counted;
mod drive;
mod exchange;
mod executor;
mod letter;
mod pace;
mod request;
mod small;
mod stream;
mod timer;
mod upgrade;
mod upstream;
mod watch;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioTimer;
use lb_core::config::model::Http;
use lb_core::proxy::Parsed;
use lb_core::proxy::http::ClientFacts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connection::{Ends, is_silent, peek};
use super::registry::Seat;
use super::relay::End;
use super::service::Service;
use super::worker::Local;
use body::Outgoing;
use drive::{Driven, drive};
use executor::{Reading, Streams};
use lb_core::proxy::failure::Failure;
use request::handle;
use upgrade::Tunnel;
pub(super) use upstream::Idle;
use watch::{Expired, Watch, Watched};

/// How a connection of HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that one connection of HTTP/2 may have under way.
const MAX_STREAMS: u32 = 128;

/// Streams that a client may reset before they are answered, and answers to its mistakes, until its connection is
/// closed: what a rapid reset (CVE-2023-44487) costs is bounded by it.
const MAX_RESETS: usize = 64;

/// hyper's smallest buffer.
const LEAST_BUFFER: usize = 8192;

/// How long a client may go on sending what nobody reads, so that it reads its answer.
const LINGER: Duration = Duration::from_secs(2);

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) local: Rc<Local>,
    pub(super) service: Arc<Service>,
    pub(super) ends: Ends,
    pub(super) facts: ClientFacts,
    watch: Rc<Watch>,
    pub(super) is_h2: bool,
    /// The real server has agreed to an upgrade: what follows is carried to it.
    tunnel: RefCell<Option<Tunnel>>,
    /// The last request was answered before all of it had come.
    unread: Cell<bool>,
    /// HTTP/2: of the request that has come last, until its stream has a task.
    newest: Cell<Option<Rc<Reading>>>,
}

impl Connection {
    /// What follows the answer is carried through this.
    fn upgraded(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// Counts how it ended.
    fn ended(&self, driven: &Driven) {
        let failures = &self.service.counters.failures;
        match driven {
            Driven::Broken(error) if error.is_parse_too_large() => failures.count(Failure::HeaderTooLarge),
            Driven::Broken(error) if error.is_parse() => failures.count(Failure::BadRequest),
            // A request that broke off was counted by itself, and a client may go between two.
            Driven::Done | Driven::Expired(Expired::Idle | Expired::Rest) | Driven::Broken(_) => {}
            Driven::Expired(Expired::Unread) => failures.count(Failure::ClientTimeout),
            Driven::Expired(Expired::Head) => failures.count(Failure::RequestTimeout),
            Driven::Cut => failures.count(Failure::DrainTimeout),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.local.idle.leaves(self.ends.client);
    }
}

/// Serves a connection until it ends. `alpn`: over TLS, whether HTTP/2 was agreed on.
pub(super) async fn serve<S: End + 'static>(
    local: Rc<Local>,
    service: &Arc<Service>,
    stream: S,
    (ends, seat): (Ends, Seat),
    alpn: Option<bool>,
) {
    let running = service.running();
    let Some(policy) = &running.policy else { return };
    let timeout = running.config.proxy.timeouts.request;
    let (http2, max_header) = match &running.config.http {
        Some(http) => (http.http2, http.max_header_bytes),
        None => (Http::default().http2, Http::default().max_header_bytes),
    };
    let speaks_h2 = match alpn {
        Some(h2) => h2,
        // Without TLS nothing is agreed on: who knows that HTTP/2 is spoken here begins with its preface. Nothing is
        // made ready for a client before it has sent anything.
        None if http2 => match tokio::time::timeout(timeout, begins_with_preface(stream.socket())).await {
            Ok(Ok(h2)) => h2,
            Ok(Err(_)) => return,
            // Who has sent nothing at all may be a browser that keeps a connection ready.
            Err(_) if is_silent(stream.socket()) => return,
            Err(_) => return service.counters.failures.count(Failure::RequestTimeout),
        },
        None => false,
    };
    let watch = Watch::new(speaks_h2, seat);
    let facts = policy.client(ends.client, ends.vip, alpn.is_some());
    let connection = Rc::new(Connection {
        local,
        service: Arc::clone(service),
        ends,
        facts,
        watch: Rc::clone(&watch),
        is_h2: speaks_h2,
        tunnel: RefCell::new(None),
        unread: Cell::new(false),
        newest: Cell::new(None),
    });
    drop(running);
    // Boxed: a connection that rests, or speaks the other version, has no room for it.
    if speaks_h2 {
        Box::pin(serve_http2(connection, stream, max_header)).await;
    } else {
        serve_http1(connection, stream, max_header).await;
    }
}

async fn serve_http2<S: End + 'static>(connection: Rc<Connection>, stream: S, max_header: u32) {
    let mut builder = http2::Builder::new(Streams(Rc::clone(&connection)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(max_header)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(64 << 10);
    let io = Watched::new(stream, Bytes::new(), Rc::clone(&connection.watch));
    let mut serving = builder.serve_connection(io, answers(&connection));
    let driven = drive(&connection, &mut serving).await;
    connection.ended(&driven);
}

/// A connection that rests has nothing but its socket: hyper's part is made anew when the client speaks again.
async fn serve_http1<S: End + 'static>(connection: Rc<Connection>, mut stream: S, max_header: u32) {
    let max_header = usize::try_from(max_header).unwrap_or(usize::MAX);
    let mut begun = Bytes::new();
    let left = loop {
        // Boxed, as is the rest of what a connection that rests has no room for.
        match Box::pin(answer_http1(&connection, stream, begun, max_header)).await {
            Left::Rest(rests, read) => (stream, begun) = (rests, read),
            left => break left,
        }
        if begun.is_empty()
            && let Some(driven) = rest(&connection, stream.socket()).await
        {
            return connection.ended(&driven);
        }
    };
    if let Left::Tunnel(tunnel, stream, begun) = left {
        Box::pin(tunnel.carry(stream, begun)).await;
    }
}

/// What is left of a connection when hyper has done its part, with what the client has sent already.
enum Left<S> {
    /// It rests.
    Rest(S, Bytes),
    /// It speaks another protocol from now on.
    Tunnel(Tunnel, S, Bytes),
    /// It has ended.
    Nothing,
}

/// Answers requests until the connection rests, is upgraded, or ends. `begun`: what was read of it already.
async fn answer_http1<S: End + 'static>(
    connection: &Rc<Connection>,
    stream: S,
    begun: Bytes,
    max_header: usize,
) -> Left<S> {
    let mut builder = http1::Builder::new();
    // Fields are at most a hundred, which is hyper's own limit: for another one it would allocate with each header.
    builder.max_buf_size(max_header.max(LEAST_BUFFER));
    let io = Watched::new(stream, begun, Rc::clone(&connection.watch));
    let mut serving = builder.serve_connection(io, answers(connection));
    let driven = drive(connection, &mut serving).await;
    match (driven, connection.tunnel.take()) {
        (Driven::Done, Some(tunnel)) => {
            let parts = serving.into_parts();
            Left::Tunnel(tunnel, parts.io.into_inner(), parts.read_buf)
        }
        (Driven::Expired(Expired::Rest), _) => {
            let parts = serving.into_parts();
            // Even an empty one keeps the buffer that it is a part of.
            let begun = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
            Left::Rest(parts.io.into_inner(), begun)
        }
        (driven @ Driven::Expired(Expired::Head), _) => {
            connection.ended(&driven);
            Box::pin(tell_late(serving.into_parts().io.into_inner())).await;
            Left::Nothing
        }
        (driven, _) => {
            let refused = matches!(&driven, Driven::Broken(error) if error.is_parse());
            let answered = matches!(driven, Driven::Done) && connection.unread.get();
            connection.ended(&driven);
            if refused || answered {
                Box::pin(linger(serving.into_parts().io.into_inner())).await;
            }
            Left::Nothing
        }
    }
}

fn answers(
    connection: &Rc<Connection>,
) -> impl HttpService<Incoming, ResBody = Outgoing, Error = Infallible, Future: Unpin + 'static> + Unpin + 'static {
    let connection = Rc::clone(connection);
    service_fn(move |request| handle(Rc::clone(&connection), request))
}

/// Waits until the client speaks again; gives how the connection ended if it did before.
async fn rest(connection: &Connection, socket: &TcpStream) -> Option<Driven> {
    let service = &connection.service;
    let until = connection.watch.rests_until(&service.glance().config.proxy.timeouts);
    tokio::select! {
        biased;
        readable = socket.readable() => readable.is_err().then_some(Driven::Done),
        // It is told with its next answer that its service goes, as in [`drive`].
        () = service.cut.after(0) => Some(Driven::Cut),
        () = tokio::time::sleep_until(until.into()) => Some(Driven::Expired(Expired::Idle)),
    }
}

async fn begins_with_preface(socket: &TcpStream) -> io::Result<bool> {
    let looked = peek(socket, PREFACE.len(), |bytes| {
        let known = bytes.len().min(PREFACE.len());
        Ok(match PREFACE.starts_with(&bytes[..known]) {
            true if known < PREFACE.len() => Parsed::More,
            is_h2 => Parsed::Done { value: is_h2, length: 0 },
        })
    });
    looked.await.map(|(is_h2, _)| is_h2)
}

/// Tells a client that its request did not arrive in time. Who does not even read this is left alone soon.
async fn tell_late<S: End>(mut stream: S) {
    let answer = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let told = async { drop((stream.write_all(answer).await, stream.shutdown().await)) };
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

/// Closes a connection whose client may still be sending. Closed at once it would be reset, and the client lose the
/// answer that tells it why (RFC 9112 section 9.6).
async fn linger<S: End>(mut stream: S) {
    let closed = async {
        stream.shutdown().await?;
        let mut rest = vec![0; LEAST_BUFFER];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // However it ends, the answer has had its time.
    let _ = tokio::time::timeout(LINGER, closed).await;
}
