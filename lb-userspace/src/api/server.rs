//! The server: accepts, bounds and ends connections.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_core::view::MAX_WAIT_SECONDS;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::answer::{Context, answer};
use super::peer::Peer;
use super::request::{Handle, Request};
use super::socket::{self, BindError, SocketFile};

/// Bounds on what clients may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once; further ones wait to be accepted.
    pub connections: usize,
    /// For the request line and headers to arrive.
    pub header_read: Duration,
    /// For the body to arrive.
    pub body_read: Duration,
    /// Size of a body.
    pub body_bytes: usize,
    /// Of those, connections that may wait for events.
    pub waiting: usize,
    /// For the control loop to answer, beyond the wait that a request asks for.
    pub reply: Duration,
    /// For a whole connection, the reading of the answer included.
    pub connection: Duration,
    /// For requests in hand to be answered once the server is told to stop.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            waiting: 32,
            header_read: Duration::from_secs(5),
            body_read: Duration::from_secs(5),
            body_bytes: 16 * 1024,
            reply: Duration::from_secs(30),
            // The longest wait for events, the time to answer it, and the reading.
            connection: Duration::from_secs(MAX_WAIT_SECONDS as u64 + 35),
            stop: Duration::from_secs(5),
        }
    }
}

/// Bytes of a request line and its headers: far above a long query, and hyper's own minimum.
const HEAD_BYTES: usize = 16 * 1024;

/// Between attempts to accept while the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The API server, listening but not yet answering.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    file: SocketFile,
    limits: Limits,
}

impl Server {
    /// Listens at `socket` (mode 0600; its directory is made with mode 0755 if missing). A socket
    /// that a dead daemon left is replaced. Needs a tokio runtime.
    ///
    /// # Errors
    /// Another daemon listens there, something else has the name, or the system refuses.
    pub fn bind(socket: &Path, limits: Limits) -> Result<Self, BindError> {
        let (listener, file) = socket::bind(socket)?;
        Ok(Self { listener, file, limits })
    }

    /// Answers clients until `stop` completes; then the socket goes, requests in hand are answered,
    /// and this returns, at the latest after [`Limits::stop`].
    ///
    /// The control loop has to read `requests` until this has returned.
    pub async fn serve(self, requests: mpsc::Sender<Request>, stop: impl Future<Output = ()>) {
        let Self { listener, file, limits } = self;
        let handle = Handle::new(requests, limits.reply);
        let places = Arc::new(Semaphore::new(limits.connections));
        let (closing, closed) = watch::channel(false);
        let waiting = Arc::new(Semaphore::new(limits.waiting));
        let context = Context { handle, limits, waiting, closed };
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                (place, stream) = accept(&listener, &places) => {
                    let context = context.clone();
                    connections.spawn(async move {
                        connection(stream, context).await;
                        drop(place);
                    });
                }
            }
        }
        drop(file);
        drop(listener);
        drop(context);
        closing.send_replace(true);
        let all_answered = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.stop, all_answered).await.is_err() {
            debug!("clients of the API were cut off, they took too long");
        }
    }
}

async fn accept(listener: &UnixListener, places: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, UnixStream) {
    // The semaphore is never closed, so there always is a permit.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (place, stream),
            Err(error) => {
                warn!(%error, "the API cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, context: Context) {
    let limits = context.limits;
    let mut closed = context.closed.clone();
    let peer = Peer::of(&stream);
    let service = service_fn(move |request| answer(request, context.clone(), peer));
    // A client that leaves ends the connection, and with it whatever waits for its answer: hyper closes
    // when the client has closed its half (`half_close` is off).
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(limits.header_read)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = timeout(limits.connection, async {
        tokio::select! {
            served = &mut connection => return served,
            _ = closed.wait_for(|closed| *closed) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a client of the API broke off"),
        Err(_) => debug!("a client of the API took too long"),
    }
}
