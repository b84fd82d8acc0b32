//! Runs probes as tasks and reports how they end.
//!
//! In: the machine's actions. Out: [`Report`]s on a bounded channel. Absent: any bound on how many
//! run and for how long, which is the machine's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lb_core::config::model::{HealthCheck, HttpProbe, Probe};
use lb_core::health::{Detail, Expectation, Failure, Outcome, Patterns, TargetId};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::ping::Pinger;
use super::script::{self, Call};
use super::tls::{self, Trust};
use super::{connect, dicom, http};

/// What a probe is to find out.
#[derive(Clone, Debug)]
pub struct Question {
    /// The real server.
    pub address: IpAddr,
    /// What is asked of it.
    pub check: Arc<HealthCheck>,
    /// VIP and port that it is asked for, which scripts are told.
    pub subject: Option<(IpAddr, u16)>,
}

/// How a probe ended: what [`lb_core::health::Input::Outcome`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of this target.
    pub id: TargetId,
    /// As the probe was started with.
    pub generation: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// What all probes share.
#[derive(Debug, Default)]
struct Tools {
    pinger: Pinger,
    patterns: Mutex<Patterns>,
    trust: Arc<Trust>,
    /// Where files begin that checks name.
    base: PathBuf,
}

/// Runs probes. Dropping it ends them all.
#[derive(Debug)]
pub struct Prober {
    reports: mpsc::Sender<Report>,
    tools: Arc<Tools>,
    tasks: HashMap<TargetId, (u32, AbortHandle)>,
    sweep_at: usize,
}

impl Prober {
    /// Reports go to `reports`; while it is full, probes that have ended wait, and are dropped when
    /// the machine cancels them. Paths of files that checks name begin at `base`.
    pub fn new(reports: mpsc::Sender<Report>, base: PathBuf) -> Self {
        let tools = Arc::new(Tools { base, ..Tools::default() });
        Self { reports, tools, tasks: HashMap::new(), sweep_at: FIRST_SWEEP }
    }

    /// Starts a probe, as [`lb_core::health::Action::Probe`] says. Must be called within a tokio runtime.
    pub fn probe(&mut self, id: TargetId, generation: u32, question: Question) {
        self.sweep();
        let (reports, tools) = (self.reports.clone(), Arc::clone(&self.tools));
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let ended = ask(&tools, &question).await;
            let latency = started.elapsed();
            let (outcome, farewell) = match ended {
                Ok(farewell) => (Outcome::Success { latency }, farewell),
                Err(failure) => (Outcome::Failure(failure), Farewell::None),
            };
            // Without a receiver the daemon is ending, and nobody wants to know.
            let _ = reports.send(Report { id, generation, outcome }).await;
            farewell.say().await;
        });
        if let Some((_, old)) = self.tasks.insert(id, (generation, task.abort_handle())) {
            old.abort();
        }
    }

    /// Ends a probe without a report, as [`lb_core::health::Action::Cancel`] says.
    pub fn cancel(&mut self, id: TargetId, generation: u32) {
        if self.tasks.get(&id).is_some_and(|(current, _)| *current == generation)
            && let Some((_, task)) = self.tasks.remove(&id)
        {
            task.abort();
        }
    }

    /// Forgets tasks that have ended, each time their number has doubled: targets may have left.
    fn sweep(&mut self) {
        if self.tasks.len() >= self.sweep_at {
            self.tasks.retain(|_, (_, task)| !task.is_finished());
            self.sweep_at = FIRST_SWEEP.max(2 * self.tasks.len());
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

const FIRST_SWEEP: usize = 64;

/// What is left to do once the outcome is known.
enum Farewell {
    None,
    Close(TcpStream),
    Release(TcpStream),
    Rest(http::Rest),
}

impl Farewell {
    async fn say(self) {
        let polite = async {
            match self {
                Self::None => {}
                Self::Close(stream) => connect::close(stream).await,
                Self::Release(stream) => dicom::release(stream).await,
                Self::Rest(rest) => rest.await,
            }
        };
        // A server that does not close its side in this time is left without more words.
        let _ = tokio::time::timeout(Duration::from_secs(1), polite).await;
    }
}

async fn ask(tools: &Tools, question: &Question) -> Result<Farewell, Failure> {
    let Question { address, check, subject } = question;
    let header = check.proxy_protocol;
    match &check.probe {
        Probe::Connect => connect::open(endpoint(question)?, header).await.map(Farewell::Close),
        Probe::Ping => tools.pinger.ping(*address).await.map(|()| Farewell::None),
        Probe::Http(probe) => {
            let (expected, endpoint) = (tools.expectation(probe)?, endpoint(question)?);
            let request = http::request(probe, *address, endpoint.port(), 80)?;
            let stream = connect::open(endpoint, header).await?;
            http::get(stream, request, &expected).await.map(Farewell::Rest)
        }
        Probe::Https { http: probe, verify, server_name, ca_file } => {
            let (expected, endpoint) = (tools.expectation(probe)?, endpoint(question)?);
            let request = http::request(probe, *address, endpoint.port(), 443)?;
            let name = tls::name(server_name.as_deref(), probe.host.as_deref(), *address)?;
            let stream = connect::open(endpoint, header).await?;
            let ca_file = ca_file.as_ref().map(|file| tools.base.join(file));
            let stream = tls::open(stream, name, &tools.trust, *verify, ca_file).await?;
            http::get(stream, request, &expected).await.map(Farewell::Rest)
        }
        Probe::DicomEcho { called_ae_title, calling_ae_title } => {
            dicom::echo(endpoint(question)?, header, called_ae_title, calling_ae_title).await.map(Farewell::Release)
        }
        Probe::Script { path } => {
            let (vip, vip_port) = subject.ok_or_else(|| local("the VIP that its script is to be told is not known"))?;
            let (address, port, timeout) = (*address, check.port, check.timeout);
            script::run(Call { program: path, vip, vip_port, address, port, timeout }).await.map(|()| Farewell::None)
        }
        Probe::None => Err(local("a target without a check is not probed")),
    }
}

impl Tools {
    fn expectation(&self, probe: &HttpProbe) -> Result<Expectation, Failure> {
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner).expectation(probe)
    }
}

fn endpoint(question: &Question) -> Result<SocketAddr, Failure> {
    let port = question.check.port.ok_or_else(|| local("its health check has no port"))?;
    Ok(SocketAddr::new(question.address, port))
}

fn local(why: &str) -> Failure {
    Failure::Local(Detail::new(why))
}
