//! The server of the API: its socket, its limits, who is asking.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use lb_core::view::MAX_WAIT_SECONDS;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::answer::{Context, answer};
use super::connections::{self, Listener, Longer};
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
    /// Examinations of the network at a time.
    pub examinations: usize,
    /// For the control loop to answer, beyond the wait that a request asks for.
    pub reply: Duration,
    /// For a whole connection, the reading of the answer included; a trace has its own length beside it.
    pub connection: Duration,
    /// For requests in hand to be answered once the server is told to stop.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            waiting: 32,
            examinations: 1,
            header_read: Duration::from_secs(5),
            body_read: Duration::from_secs(5),
            body_bytes: 16 * 1024,
            reply: Duration::from_secs(30),
            // The longest wait for events, the time to answer it, and the reading.
            connection: Duration::from_secs(u64::from(MAX_WAIT_SECONDS) + 35),
            stop: Duration::from_secs(5),
        }
    }
}

/// The API server, listening but not yet answering.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    limits: Limits,
}

/// The socket and its name: the name goes first.
#[derive(Debug)]
struct Socket {
    _file: SocketFile,
    listener: UnixListener,
}

impl Listener for Socket {
    type Stream = UnixStream;
    const NAME: &'static str = "the API";

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Server {
    /// Listens at `socket` (mode 0600; its directory is made with mode 0755 if missing). A socket
    /// that a dead daemon left is replaced. Needs a tokio runtime.
    ///
    /// # Errors
    /// Another daemon listens there, something else has the name, or the system refuses.
    pub fn bind(socket: &Path, limits: Limits) -> Result<Self, BindError> {
        let (listener, file) = socket::bind(socket)?;
        Ok(Self { socket: Socket { _file: file, listener }, limits })
    }

    /// Answers clients until `stop` completes; then the socket goes, requests in hand are answered,
    /// and this returns, at the latest after [`Limits::stop`].
    ///
    /// The control loop has to read `requests` until this has returned.
    pub async fn serve(self, requests: mpsc::Sender<Request>, stop: impl Future<Output = ()>) {
        let Self { socket, limits } = self;
        let handle = Handle::new(requests, limits.reply);
        let waiting = Arc::new(Semaphore::new(limits.waiting));
        let examinations = Arc::new(Semaphore::new(limits.examinations));
        let (closing, closed) = watch::channel(false);
        let context = Context { handle, limits, waiting, examinations, closed, longer: Longer::default() };
        let service_of = |stream: &UnixStream, longer| {
            let (context, peer) = (Context { longer, ..context.clone() }, Peer::of(stream));
            service_fn(move |request| answer(request, context.clone(), peer))
        };
        // Those who wait for events are told first, so that they end in time.
        let stop = async {
            stop.await;
            closing.send_replace(true);
        };
        connections::attend(socket, limits, stop, service_of).await;
    }
}
