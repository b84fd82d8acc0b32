//! The other end of the API, for `lbctl`: one connection per request.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lb_core::view::{
    CertificateList, ConfirmReport, Connections, ConnectionsQuery, DoctorLine, DoctorQuery, ErrorBody, Events,
    EventsQuery, Examination, ExplainQuery, Explained, HealthList, InvalidConfiguration, OrderReport, OrderRequest,
    PersistenceCleared, PersistenceList, PersistenceQuery, Progress, ReloadReport, ReloadRequest, Status, StopReport,
    StopRequest, TraceRequest, UpgradeReport,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Following;

/// An answer with [`lb_core::view::MAX_LIMIT`] flows stays well below this.
const ANSWER_BYTES: usize = 128 << 20;

/// A little more than the daemon allows itself, so that its own sentence arrives first.
const TIMEOUT: Duration = Duration::from_secs(65);

/// Talks to the daemon behind a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

/// Why there is no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "lbd is not running: nothing answers at {}. Start it with `systemctl start lbd`; if it does not stay up, \
         `journalctl -u lbd` says why",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket may not be opened.
    #[error("lbd can be asked by root only: {} may not be opened. Use sudo", .0.display())]
    NotPermitted(PathBuf),
    /// The socket is there, but cannot be connected to.
    #[error("cannot reach lbd at {}: {source}", .socket.display())]
    NotReachable {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("lbd broke off before it had answered: {0}. Ask again; `journalctl -u lbd` may say more")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("lbd did not answer within {} seconds; `journalctl -u lbd` may say what it is busy with", .0.as_secs())]
    TimedOut(Duration),
    /// The daemon is about to end.
    #[error("{0}")]
    Stopping(String),
    /// The daemon said no, in a sentence.
    #[error("{0}")]
    Refused(String),
    /// The configuration cannot run.
    #[error("the configuration is not valid; the one in force stays")]
    InvalidConfiguration(InvalidConfiguration),
    /// The answer is not of this version.
    #[error("the answer of lbd cannot be understood ({0}); lbctl and lbd have to be of the same version")]
    Misunderstood(String),
}

impl ClientError {
    /// Whether the same question may be answered later: the daemon is starting, stopping or busy.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::NotRunning(_) | Self::Broken(_) | Self::TimedOut(_) | Self::Stopping(_) => true,
            Self::NotPermitted(_)
            | Self::NotReachable { .. }
            | Self::Refused(_)
            | Self::InvalidConfiguration(_)
            | Self::Misunderstood(_) => false,
        }
    }
}

impl Client {
    /// A client of the daemon at `socket`; connects when it is asked something.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), timeout: TIMEOUT }
    }

    /// Everything about the daemon.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        parse(&self.ask(Method::GET, "/v1/status", None).await?)
    }

    /// The flows that `query` means.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn connections(&self, query: &ConnectionsQuery) -> Result<Connections, ClientError> {
        parse(&self.ask(Method::GET, &format!("/v1/connections?{}", query.encode()), None).await?)
    }

    /// The persistence records that `query` means.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn persistence(&self, query: &PersistenceQuery) -> Result<PersistenceList, ClientError> {
        parse(&self.ask(Method::GET, &format!("/v1/persistence?{}", query.encode()), None).await?)
    }

    /// Where a client's packet would go, and why.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Explained, ClientError> {
        parse(&self.ask(Method::GET, &format!("/v1/explain?{}", query.encode()), None).await?)
    }

    /// Forgets the persistence records that `query` means, however many.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn clear_persistence(&self, query: &PersistenceQuery) -> Result<PersistenceCleared, ClientError> {
        parse(&self.ask(Method::DELETE, &format!("/v1/persistence?{}", query.encode()), None).await?)
    }

    /// Has the daemon read its configuration again.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfiguration`] when it cannot run; else see [`ClientError`].
    pub async fn reload(&self, request: ReloadRequest) -> Result<ReloadReport, ClientError> {
        self.post("/v1/reload", &request).await
    }

    /// Keeps the configuration that waits to be confirmed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn confirm(&self) -> Result<ConfirmReport, ClientError> {
        parse(&self.ask(Method::POST, "/v1/confirm", None).await?)
    }

    /// Goes back to the configuration before the one that waits to be confirmed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rollback(&self) -> Result<ConfirmReport, ClientError> {
        parse(&self.ask(Method::POST, "/v1/rollback", None).await?)
    }

    /// Drains, halts, brings online or weighs a real server.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn order(&self, request: &OrderRequest) -> Result<OrderReport, ClientError> {
        self.post("/v1/order", request).await
    }

    /// The certificates.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn certificates(&self) -> Result<CertificateList, ClientError> {
        parse(&self.ask(Method::GET, "/v1/certificates", None).await?)
    }

    /// The health checks.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn health(&self) -> Result<HealthList, ClientError> {
        parse(&self.ask(Method::GET, "/v1/health", None).await?)
    }

    /// The events that `query` means, once there is one or its wait is over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, query: &EventsQuery) -> Result<Events, ClientError> {
        parse(&self.ask(Method::GET, &format!("/v1/events?{}", query.encode()), None).await?)
    }

    /// Traces a client's frames: [`lb_core::view::TraceLine`]s, until the trace ends or the answer is dropped.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn trace(&self, request: &TraceRequest) -> Result<Following, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| ClientError::Misunderstood(error.to_string()))?;
        let begun = timeout(self.timeout, async {
            let stream = self.connect().await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
            // What it ends of, the answer hears as well.
            let connection = tokio::spawn(async move { drop(connection.await) });
            let response = match sender.send_request(request_of(Method::POST, "/v1/trace", Some(body))?).await {
                Ok(response) => response,
                Err(error) => {
                    connection.abort();
                    return Err(broken(error));
                }
            };
            let (head, body) = response.into_parts();
            if head.status.is_success() {
                return Ok(Following::new(body, connection));
            }
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(ClientError::Broken);
            connection.abort();
            Err(refused(head.status, &body?.to_bytes()))
        });
        begun.await.unwrap_or(Err(ClientError::TimedOut(self.timeout)))
    }

    /// Has the network examined; `told` hears how far it is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn doctor(&self, query: &DoctorQuery, told: impl FnMut(&Progress)) -> Result<Examination, ClientError> {
        let target = format!("/v1/doctor?{}", query.encode());
        let examined = async { examine(self.connect().await?, target, told).await };
        timeout(self.timeout, examined).await.unwrap_or(Err(ClientError::TimedOut(self.timeout)))
    }

    /// Everything counted, in the text format of Prometheus.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        text(self.ask(Method::GET, "/metrics", None).await?)
    }

    /// Stops the daemon.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self, request: StopRequest) -> Result<StopReport, ClientError> {
        self.post("/v1/stop", &request).await
    }

    /// Starts the lbd that is installed now, which takes over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upgrade(&self) -> Result<UpgradeReport, ClientError> {
        parse(&self.ask(Method::POST, "/v1/upgrade", None).await?)
    }

    /// The configuration in force with every default, as YAML.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn effective_config(&self) -> Result<String, ClientError> {
        text(self.ask(Method::GET, "/v1/config", None).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Misunderstood(error.to_string()))?;
        parse(&self.ask(Method::POST, path, Some(body)).await?)
    }

    async fn ask(&self, method: Method, target: &str, body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        let exchange = async { exchange(self.connect().await?, method, target, body).await };
        let answered = timeout(self.timeout, exchange).await;
        let (status, body) = answered.unwrap_or(Err(ClientError::TimedOut(self.timeout)))?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(socket),
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted(socket),
            _ => ClientError::NotReachable { socket, source },
        }
    }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    target: &str,
    body: Option<Vec<u8>>,
) -> Result<(StatusCode, Bytes), ClientError> {
    with_response(stream, request_of(method, target, body)?, async |response| {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(ClientError::Broken)?;
        Ok((status, body.to_bytes()))
    })
    .await
}

/// Reads lines as they come, up to the result.
async fn examine(
    stream: UnixStream,
    target: String,
    mut told: impl FnMut(&Progress),
) -> Result<Examination, ClientError> {
    with_response(stream, request_of(Method::GET, &target, None)?, async move |response| {
        let status = response.status();
        let mut body = Limited::new(response.into_body(), ANSWER_BYTES);
        if !status.is_success() {
            let body = body.collect().await.map_err(ClientError::Broken)?;
            return Err(refused(status, &body.to_bytes()));
        }
        let mut begun = Vec::new();
        while let Some(frame) = body.frame().await {
            begun.extend_from_slice(&frame.map_err(ClientError::Broken)?.into_data().unwrap_or_default());
            while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = begun.drain(..=end).collect();
                match parse(&line)? {
                    DoctorLine::Progress(progress) => told(&progress),
                    DoctorLine::Result(examination) => return Ok(examination),
                }
            }
        }
        Err(ClientError::Stopping("the examination ended early, because lbd is stopping".to_owned()))
    })
    .await
}

async fn with_response<T>(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async { read(sender.send_request(request).await.map_err(broken)?).await };
    // The connection moves the bytes and must be polled beside the exchange. It may end first, with
    // the answer already read; what it ended of, the exchange hears as well.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        _ = connection => {}
    }
    answer.await
}

fn request_of(method: Method, target: &str, body: Option<Vec<u8>>) -> Result<Request<Full<Bytes>>, ClientError> {
    // RFC 9112 §3.2: HTTP/1.1 requests carry a Host, and here no name would mean more than another.
    let request = Request::builder().method(method).uri(target).header(HOST, "lbd");
    let request = match body {
        Some(body) => request.header(CONTENT_TYPE, "application/json").body(Full::from(body)),
        None => request.body(Full::default()),
    };
    request.map_err(|error| ClientError::Broken(error.into()))
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken(error.into())
}

/// What an answer that is no success says.
fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let sentence = |refusal: fn(String) -> ClientError| {
        parse::<ErrorBody>(body).map_or_else(|error| error, |body| refusal(body.error))
    };
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => parse(body).map_or_else(|error| error, ClientError::InvalidConfiguration),
        StatusCode::SERVICE_UNAVAILABLE => sentence(ClientError::Stopping),
        _ => sentence(ClientError::Refused),
    }
}

fn text(body: Bytes) -> Result<String, ClientError> {
    String::from_utf8(body.into()).map_err(|error| ClientError::Misunderstood(error.to_string()))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Misunderstood(error.to_string()))
}
