//! What the daemon adds to the metrics: reloads, sweeps, events, the process; and where they are served.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use lb_core::metrics::{EventCount, Extra, Reloads, render};
use lb_core::view::{EventKind, Severity};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::Daemon;
use super::happenings::milliseconds;
use crate::api::Request;
use crate::metrics::{Endpoint, process};

/// Counts since the daemon started.
pub(super) struct Metrics {
    /// Where metrics are served over TCP.
    pub(super) endpoint: Endpoint,
    reloads: Reloads,
    /// How long the last sweep took.
    sweep: Option<Duration>,
    events: BTreeMap<(&'static str, &'static str), EventCount>,
}

impl Metrics {
    pub(super) fn new(requests: mpsc::Sender<Request>) -> Self {
        Self {
            endpoint: Endpoint::new(requests),
            reloads: Reloads { last_success_at: unix_seconds(), ..Reloads::default() },
            sweep: None,
            events: BTreeMap::new(),
        }
    }

    pub(super) fn swept(&mut self, took: Duration) {
        self.sweep = Some(took);
    }

    /// A configuration was put in force, or could not be.
    pub(super) fn reloaded(&mut self, succeeded: bool) {
        self.reloads.last_failed = !succeeded;
        if succeeded {
            self.reloads.succeeded += 1;
            self.reloads.last_success_at = unix_seconds();
        } else {
            self.reloads.failed += 1;
        }
    }

    pub(super) fn happened(&mut self, kind: EventKind, severity: Severity) {
        let none = EventCount { kind, severity, count: 0 };
        self.events.entry((kind.word(), severity.word())).or_insert(none).count += 1;
    }
}

impl Daemon {
    /// Sees to it that metrics are served where the configuration says.
    pub(super) async fn serve_metrics(&mut self) {
        let address = self.control.config().node.metrics_address;
        self.metrics.endpoint.configure(address).await;
    }

    /// Renders beside the loop: thousands of servers are megabytes of text.
    pub(super) fn render_metrics(&mut self, reply: oneshot::Sender<String>) {
        let process = process().inspect_err(|error| debug!(%error, "the figures of the process cannot be read"));
        let extra = Extra {
            at: unix_seconds(),
            reloads: self.metrics.reloads,
            last_sweep: self.metrics.sweep,
            events: self.metrics.events.values().copied().collect(),
            process: process.ok(),
        };
        let (status, checks) = (self.status(), self.control.checks(Instant::now()));
        tokio::task::spawn_blocking(move || {
            let _ = reply.send(render(&status, &checks, &extra));
        });
    }
}

fn unix_seconds() -> u64 {
    milliseconds(SystemTime::now()) / 1000
}
