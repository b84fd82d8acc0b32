use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lb_core::config::model::{BodyExpectation, HealthCheck, HttpProbe, Probe, ProxyProtocol};
use lb_core::health::{Action, Detail, Failure, Health, Input, Outcome, State, Target, TargetId, Transition};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Prober, Question, Report};

mod leaks;
mod verdicts;

pub(super) const A: TargetId = TargetId(1);
pub(super) const VIP: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80)), 8080);

/// A future that should end does so soon; the bound only keeps a broken one from hanging.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("an end within 20 s")
}

/// Runs `body` on a thread in a network namespace of its own, which goes away with the thread.
pub(super) fn in_own_network<F: Future<Output = ()>>(setup: &[&str], body: impl FnOnce() -> F + Send) {
    thread::scope(|scope| {
        let in_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("CAP_SYS_ADMIN for a network namespace: run the tests as root");
            for command in [&["ip link set lo up"], setup].concat() {
                let status = Command::new("sh").args(["-ec", command]).status().expect("a shell");
                assert!(status.success(), "{command}");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(soon(body()));
        };
        scope.spawn(in_namespace).join().expect("the body of the test");
    });
}

pub(super) fn check(probe: Probe, port: Option<u16>) -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck {
        probe,
        port,
        interval: second,
        timeout: second,
        rise: 2,
        fall: 2,
        flap_damping: true,
        proxy_protocol: None,
    }
}

/// A port of 127.0.0.1 that refuses connections as long as the socket lives.
pub(super) fn refusing_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let address = socket.local_addr().expect("an address").as_socket().expect("an IP address");
    (socket, address)
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A prober, and what it reports.
pub(super) struct Bench {
    pub(super) prober: Prober,
    pub(super) reports: mpsc::Receiver<Report>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let (sender, reports) = mpsc::channel(16);
        Self { prober: Prober::new(sender, std::env::temp_dir()), reports }
    }

    pub(super) fn start(&mut self, generation: u32, probe: Probe, address: SocketAddr) {
        self.prober.probe(A, generation, question(probe, address.ip(), Some(address.port())));
    }

    pub(super) async fn outcome(&mut self, generation: u32) -> Outcome {
        let report = soon(self.reports.recv()).await.expect("a report");
        assert_eq!((report.id, report.generation), (A, generation));
        report.outcome
    }

    pub(super) async fn run(probe: Probe, address: SocketAddr) -> Outcome {
        let mut bench = Self::new();
        bench.start(9, probe, address);
        bench.outcome(9).await
    }

    /// What a probe fails of, as a sentence about "the real server".
    pub(super) async fn fails(probe: Probe, address: SocketAddr) -> String {
        match Self::run(probe, address).await {
            Outcome::Failure(failure) => failure.to_string(),
            Outcome::Success { .. } => panic!("it succeeded"),
        }
    }

    pub(super) async fn succeeds(probe: Probe, address: SocketAddr) {
        let outcome = Self::run(probe, address).await;
        assert!(matches!(outcome, Outcome::Success { .. }), "{outcome:?}");
    }
}

pub(super) fn question(probe: Probe, address: IpAddr, port: Option<u16>) -> Question {
    Question { address, check: Arc::new(check(probe, port)), subject: None }
}

pub(super) fn dicom() -> Probe {
    Probe::DicomEcho { called_ae_title: "STORE1".to_owned(), calling_ae_title: "LB".to_owned() }
}

#[tokio::test]
async fn a_refused_port_is_refused() {
    let (_socket, address) = refusing_port();
    assert_eq!(Bench::run(Probe::Connect, address).await, Outcome::Failure(Failure::Refused));
    assert_eq!(Bench::run(dicom(), address).await, Outcome::Failure(Failure::Refused));
}

#[tokio::test]
async fn a_connect_check_is_content_with_a_connection() {
    let (listener, address) = listener().await;
    // Nobody accepts: the kernel completes the handshake, and that is all the check asks for.
    assert!(matches!(Bench::run(Probe::Connect, address).await, Outcome::Success { .. }));
    drop(listener);
}

/// A real server that takes connections only with this header, and answers whatever follows.
async fn behind_header(listener: TcpListener, header: &'static [u8], answer: &'static [u8]) -> bool {
    let (mut server, _) = soon(listener.accept()).await.expect("the check");
    let mut begun = vec![0; header.len()];
    soon(server.read_exact(&mut begun)).await.expect("a header");
    if begun != header {
        return false;
    }
    if !answer.is_empty() {
        soon(server.read(&mut [0; 1024])).await.expect("a request");
        soon(server.write_all(answer)).await.expect("room for an answer");
    }
    soon(server.read(&mut [0; 16])).await.is_ok_and(|length| length == 0)
}

#[tokio::test]
async fn a_check_of_a_real_server_behind_a_proxy_header_begins_with_one() {
    let http = || Probe::Http(HttpProbe { path: "/".to_owned(), host: None, status: 200, body: BodyExpectation::Any });
    let page = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (v1, v2) = (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    for (probe, version, header, answer) in [
        (Probe::Connect, ProxyProtocol::V1, &v1[..], &b""[..]),
        (Probe::Connect, ProxyProtocol::V2, v2, b""),
        (http(), ProxyProtocol::V1, v1, page),
        (http(), ProxyProtocol::V2, v2, page),
    ] {
        let (listener, address) = listener().await;
        let server = tokio::spawn(behind_header(listener, header, answer));
        let check = HealthCheck { proxy_protocol: Some(version), ..check(probe.clone(), Some(address.port())) };
        let mut bench = Bench::new();
        bench.prober.probe(A, 1, Question { address: address.ip(), check: Arc::new(check), subject: None });
        let outcome = bench.outcome(1).await;
        assert!(matches!(outcome, Outcome::Success { .. }), "{probe:?} {version:?}: {outcome:?}");
        assert!(server.await.expect("a real server"), "{probe:?} {version:?}");
    }
}

#[tokio::test]
async fn a_connect_check_ends_with_a_fin_even_when_the_server_speaks_first() {
    let (listener, address) = listener().await;
    let mut bench = Bench::new();
    bench.start(1, Probe::Connect, address);
    let (mut server, _) = soon(listener.accept()).await.expect("the check");

    server.write_all(b"220 welcome\r\n").await.expect("room for a banner");

    let read = soon(server.read(&mut [0; 16])).await;
    assert_eq!(read.expect("a FIN, not a reset"), 0);
    // A socket that had been closed would answer the first of these with a reset, and the second would fail.
    for line in [b"221 bye\r\n", b"221 bye\r\n"] {
        server.write_all(line).await.expect("someone who still reads");
    }
    assert!(matches!(bench.outcome(1).await, Outcome::Success { .. }));
}

#[tokio::test]
async fn a_server_that_closes_at_once_fails_a_dicom_check_only() {
    let (listener, address) = listener().await;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    assert!(matches!(Bench::run(Probe::Connect, address).await, Outcome::Success { .. }));
    let outcome = Bench::run(dicom(), address).await;
    // Closed with our request unread, TCP says it by a reset; else by a FIN.
    let early = Failure::ClosedEarly { before: "it answered the association request" };
    assert!([Outcome::Failure(early), Outcome::Failure(Failure::Reset)].contains(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_cancelled_probe_closes_its_connection_and_reports_nothing() {
    let (listener, address) = listener().await;
    let mut bench = Bench::new();
    bench.start(1, dicom(), address);
    let (mut server, _) = soon(listener.accept()).await.expect("the check");
    bench.prober.cancel(A, 0);
    let mut first = [0; 1];
    server.read_exact(&mut first).await.expect("a cancel of another generation has no effect");

    bench.prober.cancel(A, 1);

    soon(async { while server.read(&mut [0; 1024]).await.expect("a FIN") > 0 {} }).await;
    drop(bench.prober);
    assert_eq!(soon(bench.reports.recv()).await, None);
}

#[tokio::test]
async fn dropping_the_prober_ends_its_probes() {
    let (listener, address) = listener().await;
    let mut bench = Bench::new();
    bench.start(1, dicom(), address);
    let (mut server, _) = soon(listener.accept()).await.expect("the check");

    drop(bench.prober);

    soon(async { while server.read(&mut [0; 1024]).await.expect("a FIN") > 0 {} }).await;
    assert_eq!(soon(bench.reports.recv()).await, None);
}

#[tokio::test]
async fn a_check_without_a_port_or_without_a_probe_says_so() {
    let mut bench = Bench::new();
    let cases = [
        (Probe::Connect, "its health check has no port"),
        (Probe::None, "a target without a check is not probed"),
        (Probe::Script { path: "/bin/true".into() }, "the VIP that its script is to be told is not known"),
    ];
    for (probe, why) in cases {
        bench.prober.probe(A, 3, question(probe, Ipv4Addr::LOCALHOST.into(), None));
        assert_eq!(bench.outcome(3).await, Outcome::Failure(Failure::Local(Detail::new(why))));
    }
}

#[test]
fn what_the_routes_say_is_told() {
    let setup =
        ["ip route add unreachable 192.0.2.1", "ip route add prohibit 192.0.2.2", "ip route add blackhole 192.0.2.3"];
    in_own_network(&setup, || async {
        for (last, why) in [
            (1, "no machine answers at this address, or there is no route to it"),
            (2, "a firewall rule or a route of this machine forbids it"),
            (3, "a route of this machine discards what is sent to it"),
            (4, "this machine has no route to its network"),
        ] {
            let address = SocketAddr::from(([192, 0, 2, last], 80));
            let expected = Outcome::Failure(Failure::Unreachable(Detail::new(why)));
            assert_eq!(Bench::run(Probe::Connect, address).await, expected, "{address}");
            assert_eq!(Bench::run(Probe::Ping, address).await, expected, "{address}");
        }
    });
}

/// The machine and the prober together, as the daemon will run them.
pub(super) struct Daemon {
    pub(super) health: Health,
    pub(super) bench: Bench,
}

impl Daemon {
    /// Checks one real server.
    pub(super) fn of(address: IpAddr, check: HealthCheck) -> Self {
        let mut daemon = Self { health: Health::new(1), bench: Bench::new() };
        let target = Target { id: A, address, check, subject: Some(VIP), memory: None };
        daemon.health.handle(Input::Configure(vec![target]), Instant::now());
        daemon
    }

    pub(super) async fn transition(&mut self) -> Transition {
        loop {
            while let Some(action) = self.health.poll_action() {
                match action {
                    Action::Probe { id, generation, address, check, subject } => {
                        self.bench.prober.probe(id, generation, Question { address, check, subject });
                    }
                    Action::Cancel { id, generation } => self.bench.prober.cancel(id, generation),
                    Action::Transition(transition) => return transition,
                }
            }
            let deadline = self.health.next_deadline().expect("a target");
            tokio::select! {
                Some(Report { id, generation, outcome }) = self.bench.reports.recv() => {
                    self.health.handle(Input::Outcome { id, generation, outcome }, Instant::now());
                }
                () = tokio::time::sleep_until(deadline.into()) => self.health.handle_timeout(Instant::now()),
            }
        }
    }
}

#[tokio::test]
async fn the_machine_and_the_prober_notice_a_server_that_goes_and_comes_back() {
    let (listening, address) = listener().await;
    let brisk = HealthCheck { interval: Duration::from_millis(5), ..check(Probe::Connect, Some(address.port())) };
    let mut daemon = Daemon::of(address.ip(), brisk);
    assert_eq!(soon(daemon.transition()).await.to, State::Up);

    drop(listening);
    let down = soon(daemon.transition()).await;
    assert_eq!(down.to, State::Down);
    // A connection that still waited to be accepted may be reset before one is refused.
    assert!(down.reason.contains(&format!("by {address} (2 checks in a row failed); last good ")), "{}", down.reason);

    let _listening = TcpListener::bind(address).await.expect("the port that was free");
    assert_eq!(soon(daemon.transition()).await.to, State::Up);
}
