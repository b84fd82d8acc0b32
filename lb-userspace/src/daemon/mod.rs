//! `lbd`: the composition root. Builds the shells, owns [`Control`], and runs one loop over one
//! closed set of events.
//!
//! In: arguments. Out: a running load balancer, until it is told to stop. Every decision is asked
//! of `lb_core`; what is here carries events in and actions out, one at a time.

mod actions;
mod answers;
mod capacity;
mod configuration;
mod confirmation;
mod explain;
mod file;
mod happenings;
mod health;
mod interfaces;
mod listing;
mod metrics;
mod numbers;
mod options;
mod orders;
mod proofs;
mod proxy;
mod start;
mod takeover;
mod trace;
mod upgrade;
mod vips;

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_common::abi::ServerId;
use lb_core::capacity::Capacity;
use lb_core::control::Control;
use lb_core::view::{EventKind, ReloadRequest, Severity};
use tokio::signal::unix::Signal;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::api::Request;
use crate::dataplane::{self, Clock, Program, Swept, Tables, program};
use crate::health::{Prober, Report};
use crate::netlink::{self, Netlink, Transparent};
use crate::proxy::Proxy;
use crate::service::Notifier;

use confirmation::Trial;
use happenings::Happenings;
use interfaces::Device;
use metrics::Metrics;
pub use options::Options;
use proofs::Unkept;
use takeover::Successor;
use trace::{Step, Tracing};
use upgrade::Over;
use vips::Vips;

/// Room for events of each kind that wait for the loop.
const QUEUE: usize = 1024;

/// Listings that are made at a time: each is a walk over tables of a million entries.
const LISTINGS: usize = 2;

/// From the end of a sweep to the start of the next, at least; a long one is followed by a longer
/// pause, so that sweeping never takes more than a tenth of a CPU.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
const SWEEP_SHARE: u32 = 9;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When it cannot start, in a sentence that says what to do.
pub async fn run(options: Options) -> Result<()> {
    start::raise_file_limit();
    let mut options = options;
    let mut kept = None;
    loop {
        let (daemon, server, requests) = Daemon::start(options.clone(), kept.take()).await?;
        let (stop, stopped) = oneshot::channel();
        let api = tokio::spawn(server.serve(requests, async {
            let _ = stopped.await;
        }));
        let Over::Released(released) = daemon.run(stop, api).await? else { return Ok(()) };
        match released.hand_over().await {
            Ok(done) => return done.finish().await,
            Err(proxy) => {
                kept = Some(*proxy);
                options.take_over = false;
            }
        }
    }
}

struct Daemon {
    options: Options,
    control: Control,
    program: Program,
    tables: Arc<Tables>,
    clock: Clock,
    netlink: Netlink,
    /// Rules for answers to connections with a client's address; opened when it is first asked.
    transparent: Option<Transparent>,
    prober: Prober,
    vips: Vips,
    proxy: Proxy,
    /// Why layer 7 services of the configuration are not served.
    unserved: Vec<String>,
    certificates: proxy::Certificates,
    inbox: Inbox,
    metrics: Metrics,
    /// Places of listings that are being made.
    listings: Arc<Semaphore>,
    /// What an earlier lbd, from which this one took over, has left to do.
    predecessor: Option<watch::Receiver<takeover::Left>>,
    /// The socket of successors.
    _waiting: takeover::Waiting,
    /// What the last sweep found.
    swept: Swept,
    capacity: Capacity,
    sweeping: Option<JoinHandle<(Duration, Result<Swept, dataplane::Error>)>>,
    next_sweep: Instant,
    retry: Option<Instant>,
    /// When the attached program is replaced at the latest; until then it forwards by tables that were put aside.
    attach_by: Option<Instant>,
    /// When the next plan may be made.
    next_plan: Instant,
    unkept: Unkept,
    service: Notifier,
    started: Instant,
    loaded: Instant,
    devices: Vec<Device>,
    happenings: Happenings,
    /// A configuration that waits to be confirmed.
    trial: Option<Trial>,
    /// A client's frames are being traced, and the traced program is attached.
    tracing: Option<Tracing>,
    health_kept: Instant,
    /// When the sweep under way was begun.
    sweep_begun: Instant,
    /// Why orders are not kept over a restart.
    orders_problem: Option<String>,
    problems: BTreeMap<String, String>,
}

/// Where events arrive.
struct Inbox {
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Report>,
    kernel: mpsc::Receiver<netlink::Event>,
    successors: mpsc::Receiver<UnixStream>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Everything that can happen.
enum Event {
    Request(Request),
    Probed(Report),
    Kernel(netlink::Event),
    Swept(Duration, Result<Swept, dataplane::Error>),
    Trace(Step),
    Timeout,
    Reload,
    Successor(UnixStream),
    Stop,
}

/// How the loop ends.
enum End {
    Stop,
    /// A successor has everything.
    Successor(Box<Successor>),
    Failed(anyhow::Error),
}

impl Daemon {
    async fn run(mut self, stop: oneshot::Sender<()>, api: JoinHandle<()>) -> Result<Over> {
        let end = loop {
            self.act().await;
            self.owe();
            let event = self.next_event().await;
            self.begin(&event);
            let reloads = event.reloads();
            if reloads {
                self.service.reloading();
            }
            if let Some(end) = self.handle(event).await {
                break end;
            }
            if reloads {
                self.service.ready(self.status_line());
            }
        };
        self.stop_trace(true).await;
        if !matches!(end, End::Successor(_)) {
            self.service.stopping();
            self.leave_proxy().await;
            self.unroute_answers().await;
        }
        // Requests go on being answered until the server has told its clients good-bye.
        let _ = stop.send(());
        let endpoint = self.metrics.endpoint.stop();
        let stopped = async { tokio::join!(api, endpoint) };
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(request) = self.inbox.requests.recv() => drop(request),
            }
        }
        match end {
            End::Stop => Ok(Over::Stopped),
            End::Successor(successor) => Ok(Over::Released(self.release(*successor).await)),
            End::Failed(error) => Err(error),
        }
    }

    async fn next_event(&mut self) -> Event {
        let deadline = self.deadline();
        let sweeping = async {
            match self.sweeping.as_mut() {
                Some(task) => task.await,
                None => std::future::pending().await,
            }
        };
        let tracing = async {
            match self.tracing.as_mut() {
                Some(tracing) => tracing.step().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order: an order to stop is never behind a flood of anything else.
            biased;
            _ = self.inbox.terminate.recv() => Event::Stop,
            _ = self.inbox.interrupt.recv() => Event::Stop,
            _ = self.inbox.hangup.recv() => Event::Reload,
            Some(stream) = self.inbox.successors.recv() => Event::Successor(stream),
            Some(event) = self.inbox.kernel.recv() => Event::Kernel(event),
            Some(report) = self.inbox.reports.recv() => Event::Probed(report),
            Some(request) = self.inbox.requests.recv() => Event::Request(request),
            swept = sweeping => {
                let failed = |error: tokio::task::JoinError| std::io::Error::other(error);
                match swept {
                    Ok((took, result)) => Event::Swept(took, result),
                    Err(error) => Event::Swept(Duration::ZERO, Err(failed(error).into())),
                }
            }
            step = tracing => Event::Trace(step),
            () = tokio::time::sleep_until(deadline.into()) => Event::Timeout,
        }
    }

    fn deadline(&self) -> Instant {
        let sweep = self.sweeping.is_none().then_some(self.next_sweep);
        let deadlines = [
            self.control.next_deadline(),
            self.vips.next_deadline(),
            self.happenings.next_deadline(),
            self.trial.as_ref().map(Trial::until),
            sweep,
            self.retry,
            self.attach_by,
            self.control.has_actions().then(Instant::now),
            // One that the kernel refused waits for its retry.
            (self.control.wants_plan() && self.retry.is_none()).then_some(self.next_plan),
            self.unkept.retry,
        ];
        deadlines.into_iter().flatten().fold(self.health_deadline(), Instant::min)
    }

    async fn handle(&mut self, event: Event) -> Option<End> {
        let now = Instant::now();
        match event {
            Event::Request(request) => return self.answer(request).await,
            Event::Probed(report) => self.probed(report, now),
            Event::Kernel(netlink::Event::Neighbour(input)) => self.control.neighbour(input, now),
            Event::Kernel(netlink::Event::HostChanged) => {
                self.reattach().await;
                self.plan_vips().await;
                self.serve_metrics().await;
            }
            Event::Kernel(netlink::Event::Stopped(error)) => {
                return Some(End::Failed(anyhow::Error::new(error).context("the kernel reports no more changes")));
            }
            Event::Swept(took, result) => {
                self.swept(took, result);
                self.metrics.swept(took);
                // What is in the way of the metrics may be gone by now.
                if self.metrics.endpoint.address().is_none() {
                    self.serve_metrics().await;
                }
            }
            Event::Trace(step) => self.traced(step).await,
            Event::Timeout => self.timeout(now).await,
            // What came of it is told by the reload itself.
            Event::Reload => drop(self.reload(ReloadRequest::default()).await),
            Event::Successor(stream) => {
                return self.give(stream, now).map(|successor| End::Successor(Box::new(successor)));
            }
            Event::Stop => {
                self.keep_health_now(now);
                self.told(EventKind::Daemon, Severity::Info, None, "lbd stops; the kernel goes on forwarding as it is");
                return Some(End::Stop);
            }
        }
        None
    }

    /// Takes this report and those that came with it: what they change is planned together.
    fn probed(&mut self, report: Report, now: Instant) {
        let mut next = Some(report);
        let mut left = QUEUE;
        while let Some(Report { id, generation, outcome }) = next.take() {
            self.control.probed(id, generation, outcome, now);
            left -= 1;
            next = (left > 0).then(|| self.inbox.reports.try_recv().ok()).flatten();
        }
    }

    async fn timeout(&mut self, now: Instant) {
        self.control.handle_timeout(now);
        self.vips.handle_timeout(now);
        self.happenings.handle_timeout(now);
        self.end_trial(now).await;
        self.keep_health(now);
        if self.sweeping.is_none() && self.next_sweep <= now {
            self.sweep();
        }
    }

    /// Starts a sweep beside the loop.
    fn sweep(&mut self) {
        let tick = match self.clock.now() {
            Ok(tick) => tick,
            Err(error) => {
                warn!(%error, "the kernel's clock cannot be read, no sweep this time");
                self.next_sweep = Instant::now() + SWEEP_PAUSE;
                return;
            }
        };
        let (tables, roster) = (Arc::clone(&self.tables), self.sweep_roster());
        self.sweep_begun = Instant::now();
        self.sweeping = Some(tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let result = tables.sweep(&roster, tick);
            (begun.elapsed(), result)
        }));
    }

    fn swept(&mut self, took: Duration, result: Result<Swept, dataplane::Error>) {
        self.sweeping = None;
        self.next_sweep = Instant::now() + SWEEP_PAUSE.max(took * SWEEP_SHARE);
        match result {
            Ok(swept) => {
                self.control.counted(&swept.counts, self.sweep_begun, Instant::now());
                self.count_proxied();
                self.watch_certificates(Instant::now());
                self.serve_the_unserved(Instant::now());
                self.swept = swept;
                self.watch_capacity();
                self.service.status(self.status_line());
            }
            Err(error) => warn!(%error, "the sweep over the tables ended early"),
        }
    }

    /// Leaves service on purpose: nothing of the load balancer remains.
    async fn detach(&mut self) -> Result<()> {
        if let Some(sweeping) = self.sweeping.take() {
            let _ = sweeping.await;
        }
        self.stop_trace(false).await;
        self.remove_vips().await;
        program::remove(&self.options.pin_dir)?;
        numbers::forget(&self.options.runtime_dir())?;
        health::forget(&self.options.runtime_dir());
        self.told(EventKind::Daemon, Severity::Info, None, "XDP, tables and VIPs are removed");
        Ok(())
    }

    /// Live connections of a server as the scheduler sees them, for the overview.
    fn connections_of(&self, server: ServerId) -> u64 {
        self.tables.connections(server).unwrap_or_else(|error| {
            debug!(%error, "a server's connections cannot be read");
            self.swept.counts.connections.get(&server).copied().unwrap_or(0)
        })
    }
}

impl Options {
    /// Where what must outlive the daemon, but not a reboot, is kept: beside the socket.
    fn runtime_dir(&self) -> PathBuf {
        self.socket.parent().map_or_else(|| PathBuf::from("/run/lb"), PathBuf::from)
    }
}
