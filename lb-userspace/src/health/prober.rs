//! Runs probes as tasks and reports how they end.
//!
//! In: the machine's actions. Out: [`Report`]s on a bounded channel. Absent: any bound on how many
//! run and for how long, which is the machine's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_core::config::model::{HealthCheck, Probe};
use lb_core::health::{Detail, Failure, Outcome, TargetId};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::ping::Pinger;
use super::{connect, dicom, supported};

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

/// Runs probes. Dropping it ends them all.
#[derive(Debug)]
pub struct Prober {
    reports: mpsc::Sender<Report>,
    pinger: Arc<Pinger>,
    tasks: HashMap<TargetId, (u32, AbortHandle)>,
    sweep_at: usize,
}

impl Prober {
    /// Reports go to `reports`; while it is full, probes that have ended wait, and are dropped when
    /// the machine cancels them.
    pub fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports, pinger: Arc::new(Pinger::default()), tasks: HashMap::new(), sweep_at: FIRST_SWEEP }
    }

    /// Starts a probe, as [`lb_core::health::Action::Probe`] says. Must be called within a tokio runtime.
    pub fn probe(&mut self, id: TargetId, generation: u32, address: IpAddr, check: Arc<HealthCheck>) {
        self.sweep();
        let (reports, pinger) = (self.reports.clone(), Arc::clone(&self.pinger));
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let ended = ask(&pinger, address, &check).await;
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
}

impl Farewell {
    async fn say(self) {
        let polite = async {
            match self {
                Self::None => {}
                Self::Close(stream) => connect::close(stream).await,
                Self::Release(stream) => dicom::release(stream).await,
            }
        };
        // A server that does not close its side in this time is left without more words.
        let _ = tokio::time::timeout(Duration::from_secs(1), polite).await;
    }
}

async fn ask(pinger: &Pinger, address: IpAddr, check: &HealthCheck) -> Result<Farewell, Failure> {
    match &check.probe {
        Probe::Connect => connect::open(endpoint(address, check)?).await.map(Farewell::Close),
        Probe::Ping => pinger.ping(address).await.map(|()| Farewell::None),
        Probe::DicomEcho { called_ae_title, calling_ae_title } => {
            dicom::echo(endpoint(address, check)?, called_ae_title, calling_ae_title).await.map(Farewell::Release)
        }
        Probe::Http(_) | Probe::Https { .. } | Probe::Script { .. } | Probe::None => {
            let why = supported(&check.probe).err().unwrap_or("a target without a check is not probed");
            Err(Failure::Local(Detail::new(why)))
        }
    }
}

fn endpoint(address: IpAddr, check: &HealthCheck) -> Result<SocketAddr, Failure> {
    let port = check.port.ok_or_else(|| Failure::Local(Detail::new("its health check has no port")))?;
    Ok(SocketAddr::new(address, port))
}
