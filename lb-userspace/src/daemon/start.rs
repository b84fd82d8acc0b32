//! How the daemon starts: from options to a loop that can run.
//!
//! The order matters, and docs/lifecycle/start-and-stop.md tells it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use lb_core::capacity::Capacity;
use lb_core::config::model::ProxyNode;
use lb_core::control::{Control, Past};
use lb_core::view::{EventKind, Severity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tracing::warn;

use super::happenings::Happenings;
use super::metrics::Metrics;
use super::proofs::Unkept;
use super::takeover::{self, Predecessor};
use super::vips::Vips;
use super::{Daemon, Inbox, LISTINGS, Options, QUEUE, configuration, health, numbers, orders};
use crate::api::{self, Request};
use crate::dataplane::{self, Clock, Program, Swept, Tables, program};
use crate::health::Prober;
use crate::netlink::Netlink;
use crate::proxy::Proxy;
use crate::service::Notifier;

/// New tables are put to use after so long, even when not every check has spoken.
const REPLACE_WITHIN: Duration = Duration::from_secs(10);

impl Daemon {
    pub(super) async fn start(
        options: Options,
        kept: Option<Proxy>,
    ) -> Result<(Self, api::Server, mpsc::Sender<Request>)> {
        dataplane::check_machine()?;
        let config = configuration::load(&options.config)?;
        let runtime = options.runtime_dir();
        let inherited = match options.take_over {
            true => Some(tokio::task::block_in_place(|| Predecessor::ask(&runtime))?),
            false => None,
        };
        // The socket first: it is what a second daemon on this machine is refused by.
        let server = api::Server::bind(&options.socket, api::Limits::default())?;
        let (request_sender, requests) = mpsc::channel(QUEUE);
        let (kernel_sender, kernel) = mpsc::channel(QUEUE);
        let (report_sender, reports) = mpsc::channel(QUEUE);
        let mut clock = Clock::start()?;
        let loading = program::Options {
            pins: options.pin_dir.clone(),
            limits: config.node.limits,
            tick_shift: clock.shift(),
            log_verdicts: options.log_verdicts,
        };
        let program = Program::load(&loading)?;
        let tables = Arc::new(Tables::open(&options.pin_dir)?);
        let installed = tables.installed()?;
        let ids = numbers::adopt(&runtime, &installed)?;
        let now = Instant::now();
        let came_back = !installed.services.is_empty();
        let health = health::read(&runtime, SystemTime::now());
        let past = Past { installed, ids, orders: orders::read(&options.state_dir), health };
        let config_proxy = config.node.proxy;
        let seed = u64::from(clock.now()?) << 32 | u64::from(std::process::id());
        let control =
            Control::new(config, past, clock.tick(), seed, now).context("the configuration cannot be carried out")?;
        // Before the tables carry the numbers, and before anything that the daemon can do without: a start that fails
        // here has changed nothing, and has said nothing else.
        numbers::keep(&runtime, control.ids())?;
        make_state_directory(&options.state_dir);
        let (successor_receiver, waiting) = takeover::listen(&runtime)?;
        let inbox = Inbox {
            requests,
            reports,
            kernel,
            successors: successor_receiver,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        let mut proxy = match kept {
            Some(proxy) => proxy,
            None => Proxy::start(threads(&config_proxy), &options.state_dir).context("the proxy cannot start")?,
        };
        let predecessor = inherited.map(|(predecessor, estate, sockets)| {
            proxy.inherit(estate, sockets, SystemTime::now());
            predecessor
        });
        // Whatever is wrong with a certificate or a port, layer 4 and the other services go on.
        let (prepared, unserved) = proxy.prepare(control.config(), &options.directory());
        let base = options.directory();
        let mut daemon = Self {
            happenings: Happenings::resume(&options.state_dir),
            options,
            control,
            program,
            tables,
            clock,
            netlink: Netlink::start(kernel_sender)?,
            transparent: None,
            prober: Prober::new(report_sender, base),
            vips: Vips::default(),
            proxy,
            unserved: Vec::new(),
            certificates: super::proxy::Certificates::new(now),
            inbox,
            metrics: Metrics::new(request_sender.clone()),
            listings: Arc::new(Semaphore::new(LISTINGS)),
            predecessor: None,
            _waiting: waiting,
            swept: Swept::default(),
            capacity: Capacity::default(),
            sweeping: None,
            next_sweep: now,
            retry: None,
            next_plan: now,
            attach_by: None,
            unkept: Unkept::default(),
            service: Notifier::start()?,
            started: now,
            loaded: now,
            devices: Vec::new(),
            trial: None,
            tracing: None,
            health_kept: now,
            sweep_begun: now,
            orders_problem: None,
            problems: BTreeMap::new(),
        };
        daemon.write_plan()?;
        if program::has_aside(&daemon.options.pin_dir) {
            // The attached program forwards by the tables of before until the new ones are filled.
            daemon.attach_by = Some(now + REPLACE_WITHIN);
        } else {
            daemon.attach().await?;
        }
        if daemon.options.log_verdicts {
            tokio::spawn(dataplane::follow_log(&mut daemon.program)?);
        }
        daemon.plan_vips().await;
        daemon.commit_proxy(prepared, now)?;
        daemon.route_answers().await;
        daemon.proxy.close_inherited();
        daemon.not_served(unserved);
        if let Some(predecessor) = predecessor {
            predecessor.accepting().context("the lbd before this one has ended meanwhile")?;
            daemon.predecessor = Some(predecessor.follow());
        }
        daemon.look_at_what_is_there().await;
        daemon.serve_metrics().await;
        daemon.keep_orders();
        daemon.watch_certificates(now);
        daemon.tell_start(came_back);
        daemon.service.ready(daemon.status_line());
        Ok((daemon, server, request_sender))
    }

    /// Counts before anybody asks: clients that are remembered from before must not seem to be gone.
    async fn look_at_what_is_there(&mut self) {
        let Ok(tick) = self.clock.now() else { return };
        let (tables, roster) = (Arc::clone(&self.tables), self.control.roster());
        let swept = tokio::task::spawn_blocking(move || tables.sweep(&roster, tick)).await;
        // When it fails, the next one a second later says why.
        if let Ok(Ok(swept)) = swept {
            self.swept = swept;
        }
    }

    fn tell_start(&mut self, came_back: bool) {
        let config = self.control.config();
        let (services, interfaces) = (config.virtual_services.len(), config.node.interfaces.len());
        let how = match (came_back, self.attach_by) {
            (true, _) => "goes on from the tables of the one before",
            (false, None) => "starts with empty tables",
            (false, Some(_)) => "fills new tables, and those that were put aside go on forwarding meanwhile",
        };
        let sentence =
            format!("lbd {} {how}; {services} virtual services, {interfaces} interfaces", env!("CARGO_PKG_VERSION"));
        self.told(EventKind::Daemon, Severity::Info, None, sentence);
    }
}

/// One thread for each CPU, unless the configuration says how many.
pub(super) fn threads(proxy: &ProxyNode) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    proxy.threads.map_or_else(cpus, usize::from).max(1)
}

/// A probe is a descriptor, and thousands may be under way; the soft limit is meant for programs that use
/// `select`. Where it cannot be raised, probes fail with a sentence that says so.
pub(super) fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!(%error, "the number of open files stays limited to {soft}");
    }
}

/// Without a state directory the daemon runs; what is written there says what is wrong when it is needed.
fn make_state_directory(path: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    if let Err(error) = made {
        warn!("the state directory {} cannot be made: {error}", path.display());
    }
}
