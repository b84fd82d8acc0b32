//! What the API asks of the control loop, and the handle it asks with.

use std::time::Duration;

use lb_core::view::{
    CertificateList, ConfirmReport, Connections, ConnectionsQuery, DoctorLine, Events, EventsQuery, ExplainQuery,
    Explained, HealthList, InvalidConfiguration, OrderReport, OrderRequest, PersistenceCleared, PersistenceList,
    PersistenceQuery, ReloadReport, ReloadRequest, Status, TraceLine, TraceRequest, UpgradeReport,
};
use tokio::sync::{mpsc, oneshot};

/// A question or an order to the control loop. Each is answered once, by its `reply`; a reply whose
/// receiver is gone belongs to a client that left, and is no error.
#[derive(Debug)]
pub enum Request {
    /// Show everything.
    Status {
        /// Takes the answer.
        reply: oneshot::Sender<Status>,
    },
    /// List flows.
    Connections {
        /// Which.
        query: ConnectionsQuery,
        /// Takes the answer.
        reply: oneshot::Sender<Connections>,
    },
    /// List persistence records.
    Persistence {
        /// Which.
        query: PersistenceQuery,
        /// Takes the answer.
        reply: oneshot::Sender<PersistenceList>,
    },
    /// Forget persistence records; the limit of the query does not apply.
    ClearPersistence {
        /// Which.
        query: PersistenceQuery,
        /// Takes how many were forgotten.
        reply: oneshot::Sender<PersistenceCleared>,
    },
    /// List health checks.
    Health {
        /// Takes the answer.
        reply: oneshot::Sender<HealthList>,
    },
    /// List certificates.
    Certificates {
        /// Takes the answer.
        reply: oneshot::Sender<CertificateList>,
    },
    /// Say where a client's packet would go, and why.
    Explain {
        /// Whose, and where to.
        query: ExplainQuery,
        /// Takes the answer, or why there is none, in a sentence.
        reply: oneshot::Sender<Result<Explained, String>>,
    },
    /// List events; the answer may come after the wait that the query asks for.
    Events {
        /// Which.
        query: EventsQuery,
        /// Takes the answer.
        reply: oneshot::Sender<Events>,
    },
    /// Drain, halt, bring online or weigh a real server.
    Order {
        /// What; `by` is filled in.
        request: OrderRequest,
        /// Takes what it came to, or why not, in a sentence.
        reply: oneshot::Sender<Result<OrderReport, OrderRefused>>,
    },
    /// Examine the live network.
    Doctor {
        /// The virtual service; `None`: all of them.
        service: Option<String>,
        /// Takes the lines of the examination, or why there is none, in a sentence.
        reply: oneshot::Sender<Result<mpsc::Receiver<DoctorLine>, String>>,
    },
    /// Show everything as Prometheus metrics.
    Metrics {
        /// Takes the text.
        reply: oneshot::Sender<String>,
    },
    /// Read the configuration again and apply it.
    Reload {
        /// Whether it has to be confirmed.
        request: ReloadRequest,
        /// Takes what it came to.
        reply: oneshot::Sender<Result<ReloadReport, ReloadRefused>>,
    },
    /// Keep the configuration that waits for it.
    Confirm {
        /// Takes what was done, or why nothing.
        reply: oneshot::Sender<Result<ConfirmReport, ReloadRefused>>,
    },
    /// Go back to the configuration before the one that waits for confirmation.
    Rollback {
        /// Takes what was done, or why nothing.
        reply: oneshot::Sender<Result<ConfirmReport, ReloadRefused>>,
    },
    /// Trace a client's frames. The trace ends when the lines are not taken any more.
    Trace {
        /// Whose, and for how long; `by` is filled in.
        request: TraceRequest,
        /// Takes the lines, or why there are none.
        reply: oneshot::Sender<Result<mpsc::Receiver<TraceLine>, TraceRefused>>,
    },
    /// Start the lbd that is installed now, which takes over.
    Upgrade {
        /// Takes which process it is, or why there is none, in a sentence.
        reply: oneshot::Sender<Result<UpgradeReport, String>>,
    },
    /// Stop the daemon.
    Stop {
        /// Whether the datapath goes too.
        detach: bool,
        /// Told once the order is taken, before the server itself is stopped.
        reply: oneshot::Sender<()>,
    },
    /// Show the configuration in force with every default, as YAML.
    EffectiveConfig {
        /// Takes the text.
        reply: oneshot::Sender<String>,
    },
}

/// Why an order was not carried out, one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// There is no such virtual service or real server.
    #[error("{0}")]
    Unknown(String),
    /// It could not be carried out.
    #[error("{0}")]
    Failed(String),
}

/// Why nothing is traced, one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceRefused {
    /// Something else has to end first.
    #[error("{0}")]
    Busy(String),
    /// It could not be carried out.
    #[error("{0}")]
    Failed(String),
}

/// Why a reload changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadRefused {
    /// The configuration cannot run.
    Invalid(InvalidConfiguration),
    /// It could not be read or applied; one sentence.
    Failed(String),
}

impl From<InvalidConfiguration> for ReloadRefused {
    fn from(invalid: InvalidConfiguration) -> Self {
        Self::Invalid(invalid)
    }
}

/// Asks the control loop and waits for its answer.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    timeout: Duration,
}

/// Why the control loop gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It has ended, or dropped the reply.
    #[error("lbd is stopping")]
    Stopping,
    /// It took too long.
    #[error("lbd did not answer within {} seconds; `journalctl -u lbd` may say what it is busy with", .0.as_secs())]
    TimedOut(Duration),
}

impl Handle {
    /// A handle on the control loop that reads `requests`; it waits at most `timeout` for a place
    /// in the queue and the answer together.
    #[must_use]
    pub const fn new(requests: mpsc::Sender<Request>, timeout: Duration) -> Self {
        Self { requests, timeout }
    }

    /// The same handle, which waits so much longer: for a request that asks to be kept waiting.
    #[must_use]
    pub fn patient(&self, longer: Duration) -> Self {
        Self { requests: self.requests.clone(), timeout: self.timeout.saturating_add(longer) }
    }

    /// Sends the request that `with_reply` makes around a reply channel, and waits for the answer.
    ///
    /// # Errors
    /// The control loop has ended, or takes too long.
    pub async fn ask<T>(&self, with_reply: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let request = with_reply(reply);
        let exchange = async {
            self.requests.send(request).await.map_err(|_| Unanswered::Stopping)?;
            answer.await.map_err(|_| Unanswered::Stopping)
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(Unanswered::TimedOut(self.timeout)))
    }
}
