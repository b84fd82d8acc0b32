//! How one lbd is replaced by another while both serve: what the old one does, and how an administrator begins it.
//!
//! In: a successor, an order. Out: a process that carries on with its connections, and ends with the last one.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_core::view::{self, EventKind, Severity, UpgradeReport};
use nix::sys::socket::{getsockopt, sockopt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::Daemon;
use super::takeover::Successor;
use crate::proxy::Proxy;
use crate::service::Notifier;

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_secs(1);

/// How the loop was over.
pub(super) enum Over {
    Stopped,
    /// Everything but the connections is let go of.
    Released(Box<Released>),
}

/// A proxy without a daemon, until the successor accepts.
pub(super) struct Released {
    successor: Successor,
    proxy: Proxy,
    service: Notifier,
    drain_timeout: Duration,
}

impl Daemon {
    /// A successor asks for everything. When it cannot have it, this one goes on.
    pub(super) fn give(&mut self, stream: UnixStream, now: Instant) -> Option<Successor> {
        let (estate, sockets) = self.proxy.estate(now);
        let pid = getsockopt(&stream, sockopt::PeerCredentials).map_or(0, |peer| peer.pid());
        let given = block_in_place(|| Successor::give(stream, pid, &estate, &sockets));
        match given {
            Ok(successor) => {
                self.keep_health_now(now);
                let sentence = format!("lbd (pid {pid}) takes over; this one finishes its connections");
                self.told(EventKind::Daemon, Severity::Info, None, sentence);
                Some(successor)
            }
            Err(error) => {
                let sentence = format!("another lbd (pid {pid}) could not take over: {error:#}");
                self.told(EventKind::Daemon, Severity::Warning, None, sentence);
                None
            }
        }
    }

    /// Lets go of tables, API and checks: from here on they are the successor's.
    pub(super) async fn release(mut self, successor: Successor) -> Box<Released> {
        if let Some(sweeping) = self.sweeping.take() {
            let _ = sweeping.await;
        }
        let drain_timeout = self.control.config().node.proxy.drain_timeout;
        let Self { proxy, service, .. } = self;
        Box::new(Released { successor, proxy, service, drain_timeout })
    }

    /// Starts the lbd that is installed now, which takes over from this one.
    pub(super) fn upgrade() -> Result<UpgradeReport, String> {
        let own = std::env::current_exe().map_err(|error| format!("lbd does not know its own file: {error}"))?;
        // What was replaced while it runs is shown like this.
        let path = own.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let mut arguments: Vec<_> = std::env::args_os().skip(1).filter(|argument| argument != "--take-over").collect();
        arguments.push("--take-over".into());
        let spawned = Command::new(&path).args(arguments).stdin(Stdio::null()).spawn();
        let mut child = spawned.map_err(|error| format!("{path} cannot be started: {error}"))?;
        let pid = child.id();
        info!(pid, "{path} was started, to take over");
        // It is only to be reaped; whether it took over shows by itself.
        let reaped = std::thread::Builder::new().name("successor".to_owned()).spawn(move || match child.wait() {
            Ok(status) => warn!(pid, "the lbd that was to take over has ended: {status}"),
            Err(error) => warn!(pid, %error, "nothing is known of the lbd that was to take over"),
        });
        reaped.map_err(|error| error.to_string())?;
        Ok(UpgradeReport { pid })
    }

    /// What an earlier lbd has left to do.
    pub(super) fn predecessor(&self) -> Option<view::Predecessor> {
        let left = *self.predecessor.as_ref()?.borrow();
        (!left.gone).then_some(view::Predecessor { pid: left.pid, connections: left.connections.into() })
    }
}

impl Released {
    /// Waits until the successor accepts.
    ///
    /// # Errors
    /// It does not: the proxy goes on.
    pub(super) async fn hand_over(self: Box<Self>) -> Result<Box<Self>, Box<Proxy>> {
        match block_in_place(|| self.successor.release()) {
            Ok(()) => Ok(self),
            Err(error) => {
                warn!("the successor has not taken over, this lbd goes on: {error:#}");
                Err(Box::new(self.proxy))
            }
        }
    }

    /// Finishes the connections, at the latest when the drain timeout ends or it is told to stop.
    pub(super) async fn finish(mut self: Box<Self>) -> Result<()> {
        self.service.succeeded_by(self.successor.pid);
        self.proxy.leave();
        let until = Instant::now() + self.drain_timeout;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        loop {
            let left = self.proxy.clients();
            self.successor.left(left);
            if left == 0 {
                info!("the last connection has ended; the successor serves");
                return Ok(());
            }
            if Instant::now() >= until {
                info!(left, "the drain timeout has ended, what is left is cut");
                self.proxy.cut();
                tokio::time::sleep(LOOK).await;
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    }
}
