//! A thread of the proxy: one tokio runtime of its own, whose tasks never move, so that nothing on a connection's
//! way is locked.
//!
//! In: [`Order`]s of the daemon's loop. Out: accepted connections, each a task. Absent: what a connection does
//! ([`super::connection`]).

use std::io;
use std::net::{SocketAddr, TcpListener as Socket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tracing::{debug, warn};

use super::connection::connection;
use super::descriptors;
use super::http::Idle;
use super::registry::Registry;
use super::service::Service;
use super::signal::Signal;
use crate::allocator;
use lb_core::proxy::failure::Failure;

/// How often a worker looks for what it can do without.
const SWEEP: Duration = Duration::from_secs(1);

/// After a connection could not be accepted, because no file can be opened or there is no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Orders that wait for a worker: each is a listener, and a machine has fewer addresses with ports that are used.
const ORDERS: usize = 65_536;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Connections of clients now.
    pub(super) clients: AtomicU32,
    /// As many as there may be.
    pub(super) most: AtomicU32,
    left: Notify,
    /// Those connections.
    pub(super) registry: Arc<Registry>,
}

impl Shared {
    pub(super) fn new(threads: usize) -> Self {
        let registry = Arc::new(Registry::new(threads));
        Self { clients: AtomicU32::new(0), most: AtomicU32::new(0), left: Notify::new(), registry }
    }

    /// Changes how many there may be.
    pub(super) fn set_most(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
        self.left.notify_waiters();
    }
}

/// An address that is listened on, and what for.
pub(super) struct Listener {
    /// VIP and port; where a range is steered to it, the first port.
    pub(super) address: SocketAddr,
    target: ArcSwap<Target>,
    closed: Signal,
}

/// Where the connections of a listener go.
pub(super) struct Target {
    pub(super) service: Arc<Service>,
    /// Clients begin with a TLS handshake.
    pub(super) tls: bool,
    /// Connections to other ports arrive here, too.
    pub(super) range: bool,
}

impl Listener {
    pub(super) fn new(address: SocketAddr, target: Target) -> Arc<Self> {
        Arc::new(Self { address, target: ArcSwap::from_pointee(target), closed: Signal::default() })
    }

    /// New connections go somewhere else from now on.
    pub(super) fn aim(&self, target: Target) {
        self.target.store(Arc::new(target));
    }

    /// Connections that wait to be accepted are served, then the sockets close.
    pub(super) fn close(&self) {
        self.closed.raise();
    }
}

enum Order {
    Listen(Arc<Listener>, Socket),
    Stop,
}

/// A thread that carries connections.
pub(super) struct Worker {
    orders: mpsc::Sender<Order>,
}

/// What the tasks of one worker share.
pub(super) struct Local {
    /// Of the worker.
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
    /// Connections to real servers that wait for their next request.
    pub(super) idle: Idle,
}

impl Worker {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the system has none.
    pub(super) fn start(number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (started, result) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    LocalSet::new().block_on(&runtime, work(number, inbox, shared));
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        result.recv().map_err(io::Error::other)??;
        Ok(Self { orders })
    }

    /// Accepts connections of one more socket.
    pub(super) fn listen(&self, listener: &Arc<Listener>, socket: Socket) {
        if self.orders.try_send(Order::Listen(Arc::clone(listener), socket)).is_err() {
            warn!(address = %listener.address, "a worker takes no orders, and does not accept connections there");
        }
    }

    /// Ends the thread, and every connection on it.
    pub(super) fn stop(&self) {
        let _ = self.orders.try_send(Order::Stop);
    }
}

async fn work(number: usize, mut orders: mpsc::Receiver<Order>, shared: Arc<Shared>) {
    let local = Rc::new(Local { number, shared, idle: Idle::default() });
    spawn_local(sweep(Rc::clone(&local)));
    while let Some(Order::Listen(listener, socket)) = orders.recv().await {
        match TcpListener::from_std(socket) {
            Ok(socket) => drop(spawn_local(accept(Rc::clone(&local), listener, socket))),
            Err(error) => warn!(address = %listener.address, %error, "a listening socket cannot be used"),
        }
    }
}

/// Lets go of what nobody has used for a while, for ever.
async fn sweep(local: Rc<Local>) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        interval.tick().await;
        local.idle.sweep(Instant::now());
        allocator::give_back();
    }
}

async fn accept(local: Rc<Local>, listener: Arc<Listener>, socket: TcpListener) {
    let closed = listener.closed.after(0);
    tokio::pin!(closed);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = &mut closed => break,
        };
        take(&local, &listener, accepted).await;
    }
    // Those who were told that the port is open are served.
    while let Some(accepted) = at_once(&socket) {
        take(&local, &listener, accepted).await;
    }
}

/// The next connection that waits; `None`: none does.
fn at_once(socket: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match socket.poll_accept(&mut cx) {
        std::task::Poll::Ready(Err(error)) if !of_the_connection(&error) => None,
        std::task::Poll::Ready(accepted) => Some(accepted),
        std::task::Poll::Pending => None,
    }
}

async fn take(local: &Rc<Local>, listener: &Arc<Listener>, accepted: io::Result<(TcpStream, SocketAddr)>) {
    let target = listener.target.load_full();
    match accepted {
        Ok((stream, client)) => {
            if descriptors::are_short(&stream) {
                target.service.counters.failures.count(Failure::AcceptFailed);
                local.idle.clear();
                while descriptors::are_still_short(&stream) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            let guest = Guest::new(Arc::clone(&local.shared), Arc::clone(&target.service)).await;
            spawn_local(connection(Rc::clone(local), stream, client, listener.address, target, guest));
        }
        Err(error) => {
            target.service.counters.failures.count(Failure::AcceptFailed);
            debug!(service = %target.service.name, %error, "a connection could not be accepted");
            if !of_the_connection(&error) {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether accept(2) tells of the connection, and the next may be well.
fn of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

/// A client that is counted while it is there.
pub(super) struct Guest {
    shared: Arc<Shared>,
    service: Arc<Service>,
}

impl Guest {
    /// Waits until machine and service have room for one more: who comes later waits in the kernel.
    async fn new(shared: Arc<Shared>, service: Arc<Service>) -> Self {
        until(&shared.left, || {
            let most = shared.most.load(Ordering::Relaxed);
            let room = |now: u32| (now < most).then(|| now + 1);
            shared.clients.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok()
        })
        .await;
        until(&service.left, || service.take_client()).await;
        Self { shared, service }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.clients.fetch_sub(1, Ordering::AcqRel);
        self.shared.left.notify_one();
        self.service.client_left();
    }
}

/// Waits until `taken`, which is asked again after each notification.
async fn until(left: &Notify, mut taken: impl FnMut() -> bool) {
    if taken() {
        return;
    }
    loop {
        let notified = left.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if taken() {
            return;
        }
        notified.await;
    }
}
