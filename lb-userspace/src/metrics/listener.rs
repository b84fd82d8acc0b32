//! A TCP socket at which metrics are served.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::answer::answer;
use super::latest::Latest;
use crate::api::connections::{self, attend};
use crate::api::{Handle, Limits};

/// Clients that wait to be accepted; the next one is told to try again.
const BACKLOG: i32 = 32;

/// A text that is younger than this is good for the next client too: whoever asks, and however
/// often, the control loop is asked once a second.
const FRESH: Duration = Duration::from_secs(1);

/// Bounds on what clients may take up: fewer places and less time than on the API's socket, as
/// anyone may ask here. Prometheus itself gives up after ten seconds unless told otherwise.
#[must_use]
pub fn limits() -> Limits {
    Limits { connections: 16, reply: Duration::from_secs(9), connection: Duration::from_secs(30), ..Limits::default() }
}

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error(
        "metrics cannot be served at {0}: another program listens there; `ss -ltnp 'sport = :{port}'` names it: stop it, \
         or write another port to `node.metrics_address`",
        port = .0.port()
    )]
    InUse(SocketAddr),
    /// No interface has the address.
    #[error(
        "metrics cannot be served at {0}: this machine does not have the address {ip}; write one that `ip address` shows \
         to `node.metrics_address`, or bring it up and reload",
        ip = .0.ip()
    )]
    NotHere(SocketAddr),
    /// The system refused for another reason.
    #[error("metrics cannot be served at {address}: {source}; see `node.metrics_address`")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Listening, and not yet answering.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    limits: Limits,
    pub(super) fresh: Duration,
    /// Dropped after the socket, so that its other end knows that the address is free.
    gone: Option<oneshot::Sender<()>>,
}

impl Listener {
    /// Listens at `address`; `[::]` takes IPv4 too. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address is in use or not on this machine, or the system refuses.
    pub fn bind(address: SocketAddr, limits: Limits) -> Result<Self, BindError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address),
            io::ErrorKind::AddrNotAvailable => BindError::NotHere(address),
            _ => BindError::Io { address, source },
        };
        let socket = listen(address).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, address, limits, fresh: FRESH, gone: None })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Completes once nobody listens here any more.
    pub(super) fn watch(&mut self) -> oneshot::Receiver<()> {
        let (gone, watch) = oneshot::channel();
        self.gone = Some(gone);
        watch
    }

    /// Answers clients until `stop` completes; then the address is free, requests in hand are
    /// answered, and this returns, at the latest after [`Limits::stop`].
    pub async fn serve(self, handle: Handle, stop: impl Future<Output = ()>) {
        let limits = self.limits;
        let latest = Arc::new(Latest::new(handle, self.fresh));
        let service_of = |_: &TcpStream, _| {
            let latest = Arc::clone(&latest);
            service_fn(move |request| answer(request, Arc::clone(&latest)))
        };
        attend(self, limits, stop, service_of).await;
    }
}

impl connections::Listener for Listener {
    type Stream = TcpStream;
    const NAME: &'static str = "the metrics";

    async fn accept(&self) -> io::Result<TcpStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // tcp(7), socket(7): connections of an earlier listener that have not died down yet are no
    // obstacle; somebody who listens still is.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(StdListener::from(socket))
}
