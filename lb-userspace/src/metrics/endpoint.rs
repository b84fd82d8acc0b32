//! Where metrics are served over TCP: follows the configuration.
//!
//! In: the address that is wanted, as often as it may have changed. Out: a listener there, or a
//! sentence that says why not. Absent: what is served.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::listener::{BindError, Listener, limits};
use crate::api::{Handle, Limits, Request};

/// The listener of the configuration. Dropping it frees the address; see [`Self::stop`].
#[derive(Debug)]
pub struct Endpoint {
    handle: Handle,
    limits: Limits,
    running: Option<Running>,
    problem: Option<String>,
}

/// A listener at work. When it is dropped, it takes no more clients, and ends by itself once those
/// in hand are answered.
#[derive(Debug)]
struct Running {
    /// As configured.
    wanted: SocketAddr,
    /// As the kernel says.
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Completes once the address is free.
    gone: oneshot::Receiver<()>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Serves nothing yet; will ask the control loop that reads `requests`.
    #[must_use]
    pub fn new(requests: mpsc::Sender<Request>) -> Self {
        let limits = limits();
        Self { handle: Handle::new(requests, limits.reply), limits, running: None, problem: None }
    }

    /// Sees to it that metrics are served at `wanted`, or nowhere. Another address is listened at
    /// before the one of before is given up; when that fails, the one of before stays, and
    /// [`Self::problem`] says why. Asked again, it tries again.
    pub async fn configure(&mut self, wanted: Option<SocketAddr>) {
        let served = self.running.as_ref().map(|running| running.wanted);
        if served == wanted {
            self.problem = None;
            return;
        }
        let Some(address) = wanted else {
            self.running = None;
            self.problem = None;
            info!("metrics are no longer served over TCP");
            return;
        };
        match self.bind(address).await {
            Ok(listener) => {
                self.run(address, listener);
                self.problem = None;
                info!(%address, "metrics are served");
            }
            Err(error) => self.refused(&error),
        }
    }

    /// Why metrics are not served where they should be, one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Where they are served.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|running| running.address)
    }

    /// Ends; the control loop has to read requests until this has returned.
    pub fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        let running = self.running.take();
        async move {
            let Some(Running { stop, task, .. }) = running else { return };
            drop(stop);
            // It ends by itself within the limits; a panic there has been reported.
            let _ = task.await;
        }
    }

    async fn bind(&mut self, address: SocketAddr) -> Result<Listener, BindError> {
        let refused = match Listener::bind(address, self.limits) {
            Ok(listener) => return Ok(listener),
            Err(refused) => refused,
        };
        // From `127.0.0.1:9707` to `0.0.0.0:9707`, our own listener is in the way: for a moment
        // nobody listens.
        let in_the_way = |running: &mut Running| {
            let either_is_all = running.wanted.ip().is_unspecified() || address.ip().is_unspecified();
            matches!(refused, BindError::InUse(_)) && either_is_all && running.wanted.port() == address.port()
        };
        let Some(Running { wanted, stop, gone, .. }) = self.running.take_if(in_the_way) else { return Err(refused) };
        drop(stop);
        // An error says that the sender was dropped, which is what is waited for.
        let _ = gone.await;
        let bound = Listener::bind(address, self.limits);
        if bound.is_err() {
            match Listener::bind(wanted, self.limits) {
                Ok(listener) => self.run(wanted, listener),
                Err(error) => warn!("{error}"),
            }
        }
        bound
    }

    /// From here on `listener` is the one, and the one of before ends.
    fn run(&mut self, wanted: SocketAddr, mut listener: Listener) {
        let (stop, stopped) = oneshot::channel();
        let (address, gone) = (listener.address(), listener.watch());
        let task = tokio::spawn(listener.serve(self.handle.clone(), async {
            let _ = stopped.await;
        }));
        self.running = Some(Running { wanted, address, stop, gone, task });
    }

    fn refused(&mut self, error: &BindError) {
        let problem = match &self.running {
            Some(running) => format!("{error}; they are served at {} as before", running.wanted),
            None => error.to_string(),
        };
        if self.problem.as_ref() != Some(&problem) {
            warn!("{problem}");
        }
        self.problem = Some(problem);
    }
}
