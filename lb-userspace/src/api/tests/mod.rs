//! The server over a real Unix socket, with a control loop that answers from fixtures.

mod examining;
mod explain;
mod orders;
mod peers;
mod requests;
mod robustness;
mod routes;
mod socket;
mod traces;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lb_common::abi::{Address, Flow, FlowKey, Server as ServerEntry};
use lb_core::config::model::FlowTimeouts;
use lb_core::listing::{Listing, Named};
use lb_core::tables::expiry::TickTimeouts;
use lb_core::view::{
    CertificateChain, CertificateList, CertificateView, Check, Configuration, ConfirmReport, Connections,
    ConnectionsQuery, DoctorLine, Event, EventKind, Events, EventsQuery, Examination, Finding, FindingCode, HealthList,
    HealthState, OcspState, OrderReport, OrderRequest, PersistenceCleared, PersistenceList, PersistenceQuery,
    PersistenceRecord, Place, Progress, ReloadReport, ReloadRequest, ReloadResult, Remedy, Sample, ServerState,
    Severity, Status,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) use explain::explained;

use super::{Client, Limits, OrderRefused, ReloadRefused, Request, Server, TraceRefused};

/// A directory of its own for each test, gone on drop.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lb-api-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Below a directory that does not exist yet.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("run/lbd.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) fn status() -> Status {
    Status {
        node: "lb1".into(),
        version: "0.1.0".into(),
        pid: 7,
        predecessor: None,
        uptime_seconds: 7,
        configuration: Configuration {
            path: "/etc/lb/lb.yaml".into(),
            loaded_seconds_ago: 7,
            services: 0,
            confirm_within_seconds: None,
        },
        interfaces: vec![],
        virtual_services: vec![],
        counters: vec![],
        tables: vec![],
        new_flows_beyond_limit: 0,
        problems: vec![],
    }
}

/// Three flows of the tables, listed as the daemon lists them.
fn connections(query: &ConnectionsQuery) -> Connections {
    let second = Duration::from_secs(1);
    let named = |number| (number, Named { name: format!("w{}", number - 1), entry: ServerEntry::default() });
    let directory = lb_core::listing::Directory {
        services: [(1, "two words & more".to_owned())].into(),
        servers: (1..=3).map(named).collect(),
        sources: std::collections::BTreeMap::new(),
        timeouts: TickTimeouts::from(&FlowTimeouts { established: second * 60, ..FlowTimeouts::default() }, second),
        tick: second,
        now: 1009,
    };
    let mut listing = Listing::new(&directory, query);
    for number in 0u16..3 {
        let key = FlowKey {
            client: Address::v4([10, 0, 0, 1]),
            vip: Address::v4([10, 0, 9, 9]),
            client_port: 4000 + number,
            vip_port: 80,
            protocol: 6,
            ..FlowKey::default()
        };
        let (server, state) = (u32::from(number) + 1, lb_common::abi::FlowState::Established as u8);
        let flow =
            Flow { service: 1, server, state, created: 1000, last_seen: 1009 - u32::from(number), ..Flow::default() };
        listing.see(&key, &flow);
    }
    listing.finish()
}

/// A service that keeps its clients by a cookie.
fn shops(query: &PersistenceQuery) -> Vec<String> {
    if query.service.as_deref() == Some("shop") { vec!["shop".to_owned()] } else { Vec::new() }
}

fn records() -> impl Iterator<Item = PersistenceRecord> {
    (1u8..4).map(|number| PersistenceRecord {
        virtual_service: "dicom".into(),
        client: std::net::IpAddr::from([172, 26, 11, number]).into(),
        real_server: "DS1".into(),
        age_seconds: 3,
        idle_seconds: 2,
        expires_seconds: 298,
        confirmed: true,
    })
}

pub(crate) fn health() -> HealthList {
    let check = |server: &str, state, good| Check {
        service: "HL7".into(),
        server: server.into(),
        address: "172.26.11.101".parse().unwrap(),
        port: Some(2575),
        check: "connect".into(),
        interval_ms: 4_000,
        timeout_ms: 2_000,
        state,
        since_seconds: 192,
        reason: if good { "answered in 3 ms".into() } else { "connection refused".into() },
        last_good_seconds: Some(if good { 2 } else { 192 }),
        successes: if good { 48 } else { 0 },
        failures: if good { 0 } else { 48 },
        rise: 2,
        fall: 2,
        history: vec![
            Sample { ago_ms: 2_000, good, took_ms: 3.25 },
            Sample { ago_ms: 6_000, good, took_ms: 12.0 },
            Sample { ago_ms: 10_000, good: true, took_ms: 140.0 },
        ],
        shared_with: vec![],
    };
    HealthList {
        checks: vec![check("IMS1", HealthState::Up, true), check("IMS2", HealthState::Down, false)],
        under_way: 1,
        latest_start_ms: 7,
    }
}

pub(crate) fn certificates() -> CertificateList {
    let certificate = CertificateView {
        label: "pacs".into(),
        names: vec!["pacs.example".into(), "*.pacs.example".into()],
        issuer: "Hospital CA".into(),
        not_before_seconds: 1_764_547_200,
        not_after_seconds: 1_796_083_200,
        days_left: 9,
        key: "ECDSA P-256".into(),
        sha256: "AA:BB".into(),
        chain: CertificateChain::UnknownAuthority,
        sent: 2,
        ocsp: OcspState::Outdated,
        files: vec!["/etc/lb/certs/pacs.pem".into(), "/etc/lb/certs/pacs.key".into()],
        services: vec!["Viewer".into()],
    };
    let warnings = vec!["certificate pacs expires in 9 days (2026-12-01): renew it".into()];
    CertificateList { certificates: vec![certificate], warnings }
}

pub(crate) fn event(id: u64, server: &str, sentence: &str) -> Event {
    Event {
        id,
        at_ms: 1_795_230_729_000 + id,
        kind: EventKind::Health,
        severity: Severity::Warning,
        service: Some("HL7".into()),
        server: Some(server.into()),
        by: None,
        sentence: sentence.into(),
    }
}

/// What the control loop does with a query and nothing to wait for.
pub(crate) fn select(kept: &[Event], query: &EventsQuery) -> Events {
    let mut events: Vec<_> = kept.iter().filter(|event| query.matches(event)).cloned().collect();
    events.drain(..events.len().saturating_sub(query.limit as usize));
    let (last, oldest) = (kept.last().map_or(0, |event| event.id), kept.first().map_or(0, |event| event.id));
    Events { events, last, oldest }
}

fn events() -> Vec<Event> {
    vec![event(7, "IMS1", "IMS1 of HL7 is down"), event(8, "IMS2", "IMS2 of HL7 is up")]
}

/// HL7/IMS1 takes every order; HL7/broken none.
fn order(request: OrderRequest) -> Result<OrderReport, OrderRefused> {
    match request.server.as_str() {
        "IMS1" => Ok(OrderReport {
            service: request.service,
            server: request.server,
            changed: true,
            state: ServerState::Draining,
            connections: 14,
            persistent_clients: 3,
            sentence: format!("{:?} by {}", request.order, request.by.unwrap_or_default()),
            warnings: vec!["nobody is left to take new clients of HL7".into()],
        }),
        "broken" => Err(OrderRefused::Failed("cannot write /var/lib/lb/orders.json: disk full".into())),
        other => Err(OrderRefused::Unknown(format!("HL7 has no real server {other}"))),
    }
}

/// How the control loop of a test behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Script {
    pub(crate) reload: Reload,
    /// Drop the reply to `Status` instead of answering.
    pub(crate) drop_status: bool,
    /// Answer `Status` only once told to stop.
    pub(crate) hold_status: bool,
    /// Answer `EffectiveConfig` with more than a socket buffer holds.
    pub(crate) large_config: bool,
    /// A configuration waits to be confirmed.
    pub(crate) pending: bool,
}

/// Sees each request before the script does, and gives back what it does not answer.
pub(crate) type Handler = Box<dyn FnMut(Request) -> Option<Request> + Send>;

#[derive(Clone, Copy, Default)]
pub(crate) enum Reload {
    #[default]
    Applied,
    Invalid,
    Failed,
}

/// A running server and its control loop.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    pub(crate) stop: Arc<Notify>,
    /// Told when a `Status` is held back.
    pub(crate) held: Arc<Notify>,
    pub(crate) server: JoinHandle<()>,
    _directory: Directory,
}

impl Daemon {
    pub(crate) fn start(script: Script, limits: Limits) -> Self {
        Self::with(limits, script, Box::new(Some))
    }

    /// A daemon whose answers are those of `handler`, and of the script where it has none.
    pub(crate) fn with(limits: Limits, script: Script, handler: Handler) -> Self {
        let directory = Directory::new();
        let socket = directory.socket();
        let server = Server::bind(&socket, limits).unwrap();
        let (requests, inbox) = mpsc::channel(4);
        let stop = Arc::new(Notify::new());
        let held = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        tokio::spawn(control(inbox, script, handler, Arc::clone(&stop), Arc::clone(&held)));
        let server = tokio::spawn(server.serve(requests, async move { stopped.notified().await }));
        Self { socket, stop, held, server, _directory: directory }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// Sends `text` as it is and returns whatever comes back until the server closes.
    pub(crate) async fn raw(&self, text: &[u8]) -> String {
        raw(&self.socket, text).await
    }
}

pub(crate) async fn raw(socket: &Path, text: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(text).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn control(
    mut inbox: mpsc::Receiver<Request>,
    script: Script,
    mut handler: Handler,
    stop: Arc<Notify>,
    holding: Arc<Notify>,
) {
    let mut held = Vec::new();
    while let Some(request) = inbox.recv().await {
        let Some(request) = handler(request) else { continue };
        match request {
            Request::Status { reply } if script.drop_status => drop(reply),
            Request::Status { reply } if script.hold_status => {
                held.push(reply);
                holding.notify_one();
            }
            Request::Status { reply } => send(reply, status()),
            Request::Upgrade { reply } => send(reply, Err("there is nothing to upgrade to".to_owned())),
            Request::Connections { query, reply } => send(reply, connections(&query)),
            Request::Persistence { query, reply } => {
                send(reply, PersistenceList { by_cookie: shops(&query), ..query.select(records()) });
            }
            Request::ClearPersistence { query, reply } => {
                let cleared = records().filter(|record| query.matches(record)).count() as u64;
                send(reply, PersistenceCleared { cleared, by_cookie: shops(&query) });
            }
            Request::Reload { request, reply } => send(reply, reload(script.reload, request)),
            Request::Doctor { service, reply } => send(reply, examination(service.as_deref())),
            Request::Explain { query, reply } => send(reply, explained(&query)),
            Request::Health { reply } => send(reply, health()),
            Request::Certificates { reply } => send(reply, certificates()),
            Request::Events { query, reply } => send(reply, select(&events(), &query)),
            Request::Order { request, reply } => send(reply, order(request)),
            Request::Trace { reply, .. } => send(reply, Err(TraceRefused::Busy("alice traces 192.0.2.7".into()))),
            Request::Metrics { reply } => send(reply, "# TYPE lb_up gauge\nlb_up 1\n".to_owned()),
            Request::Confirm { reply } => send(reply, waiting(script, "the configuration stays in force")),
            Request::Rollback { reply } => send(reply, waiting(script, "the configuration before is in force again")),
            Request::Stop { reply, .. } => {
                send(reply, ());
                stop.notify_one();
                held.drain(..).for_each(|reply| send(reply, status()));
            }
            Request::EffectiveConfig { reply } => {
                send(reply, "version: 1\n".repeat(if script.large_config { 1 << 20 } else { 1 }));
            }
        }
    }
}

/// A client that left is no concern of the control loop.
pub(crate) fn send<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}

/// Two lines of progress and a result with one finding; nothing else than the service `web` is known.
fn examination(service: Option<&str>) -> Result<mpsc::Receiver<DoctorLine>, String> {
    if let Some(name) = service.filter(|name| *name != "web") {
        return Err(format!("there is no virtual service {name}"));
    }
    let (lines, receiver) = mpsc::channel(3);
    for done in [1, 2] {
        lines.try_send(DoctorLine::Progress(Progress { done, total: 2, what: "a question".into() })).unwrap();
    }
    lines.try_send(DoctorLine::Result(finding())).unwrap();
    Ok(receiver)
}

/// A result with one finding.
pub(crate) fn finding() -> Examination {
    let code = FindingCode::VipAnswered;
    let finding = Finding {
        code,
        severity: code.severity(),
        what: "HT1 (192.168.94.115, 02:00:00:00:01:15) answers ARP for the VIP 192.168.94.110".into(),
        place: Place { services: vec!["web".into()], server: Some("HT1".into()), interface: Some("eth0".into()) },
        why: "Clients and routers that hear its answer send everything to this one server, past the balancer.".into(),
        fix: vec![Remedy {
            at: "on HT1 (Linux)".into(),
            commands: vec![
                "sysctl -w net.ipv4.conf.all.arp_ignore=1".into(),
                "echo 'net.ipv4.conf.all.arp_ignore = 1' >> /etc/sysctl.d/90-lb.conf".into(),
            ],
        }],
    };
    let untold = vec!["whether HT2 of web takes packets for 192.168.94.110: nothing comes back".into()];
    Examination { findings: vec![finding], untold, asked: 3 }
}

fn waiting(script: Script, sentence: &str) -> Result<ConfirmReport, ReloadRefused> {
    match script.pending {
        true => Ok(ConfirmReport { sentence: sentence.into() }),
        false => Err(ReloadRefused::Failed("no configuration waits to be confirmed".into())),
    }
}

fn reload(outcome: Reload, request: ReloadRequest) -> Result<ReloadReport, ReloadRefused> {
    match outcome {
        Reload::Applied => Ok(ReloadReport {
            result: ReloadResult::Applied,
            changes: vec!["virtual service HL7 is new".into()],
            warnings: vec![],
            confirm_within_seconds: request.confirm_within_seconds,
        }),
        Reload::Invalid => Err(ReloadRefused::Invalid(lb_core::view::InvalidConfiguration {
            diagnostics: vec![serde_json::json!({"code": "E014", "line": 31})],
            rendered: "error[E014]: port translation is not possible in l4-dr\n".into(),
        })),
        Reload::Failed => Err(ReloadRefused::Failed("cannot read /etc/lb/lb.yaml: permission denied".into())),
    }
}

/// The listings that the fixtures give for an empty query.
fn everything() -> (Connections, PersistenceList) {
    (connections(&ConnectionsQuery::default()), lb_core::view::PersistenceQuery::default().select(records()))
}
