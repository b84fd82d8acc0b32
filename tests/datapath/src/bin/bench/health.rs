//! What checking many real servers costs, and whether probes start when they are due: the machine and the prober of
//! `lbd` against servers of another process, in a network namespace of their own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_core::config::model::{BodyExpectation, HealthCheck, HttpProbe, Probe};
use lb_core::health::{Action, Health, Input, State, Target, TargetId, Transition};
use lb_datapath_tests::live::netns::Namespace;
use lb_userspace::health::{Prober, Question, Report};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;

use crate::progress;

/// How much is checked, and how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Real servers; every second one is checked by http, the others by connect
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(2..=60_000))]
    servers: u32,
    /// Of them, those that accept and never answer, in the second measurement
    #[arg(long, default_value_t = 100)]
    hanging: u32,
    /// Seconds per measurement
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Beyond this a probe counts as late: a tenth of the interval.
const LATE: Duration = Duration::from_millis(200);

/// On every address of the loopback network.
const GOOD_PORT: u16 = 8080;
const HANGING_PORT: u16 = 8081;

/// Measures without and with servers that hang.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.hanging <= arguments.servers / 2, "at most half of the servers can hang");
    Namespace::new()?.within(|| {
        let _servers = Servers::start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        println!("{} real servers every {INTERVAL:?}, half by connect, half by http\n", arguments.servers);
        println!("hanging  probes/s  failed  CPU share  latest start  later than {LATE:?}");
        for hanging in [0, arguments.hanging] {
            progress(&format!("{hanging} hang"));
            let measured = runtime.block_on(measure(arguments, hanging))?;
            progress("");
            println!("{hanging:>7}  {measured}");
            if measured.failed > 0 {
                // Then something else is measured than was meant: a machine too busy for its own servers.
                println!("         servers that work have failed, the last one like this: {}", measured.why);
            }
        }
        Ok(())
    })
}

/// What came out.
#[derive(Default)]
struct Measured {
    elapsed: Duration,
    cpu: Duration,
    /// By how much each probe but the first of its target began after it was due.
    late: Vec<Duration>,
    /// Probes of servers that work.
    failed: usize,
    /// What the last of them failed of.
    why: String,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let probes = self.late.len();
        let beyond = self.late.iter().filter(|late| **late > LATE).count();
        let percent = |part: usize| 100.0 * f64::from(u32::try_from(part).unwrap_or(u32::MAX));
        let share = percent(beyond) / f64::from(u32::try_from(probes.max(1)).unwrap_or(u32::MAX));
        write!(
            f,
            "{:>8.0}  {:>6}  {:>8.1}%  {:>9.1} ms  {share:>9.3}%",
            f64::from(u32::try_from(probes).unwrap_or(u32::MAX)) / self.elapsed.as_secs_f64(),
            self.failed,
            100.0 * self.cpu.as_secs_f64() / self.elapsed.as_secs_f64(),
            1000.0 * self.late.iter().max().copied().unwrap_or_default().as_secs_f64(),
        )
    }
}

async fn measure(arguments: &Arguments, hanging: u32) -> Result<Measured> {
    let (sender, mut reports) = mpsc::channel(1024);
    let (mut health, mut prober) = (Health::new(7), Prober::new(sender, PathBuf::new()));
    let targets = (0..arguments.servers).map(|number| target(number, hanging)).collect();
    health.handle(Input::Configure(targets), Instant::now());
    let mut starts: HashMap<TargetId, Instant> = HashMap::new();
    let mut measured = Measured::default();
    // The first round is spread on purpose; what counts begins when everybody has had a turn.
    let begin = Instant::now() + 2 * INTERVAL;
    let end = begin + Duration::from_secs(arguments.seconds);
    let mut cpu_before = None;
    loop {
        let now = Instant::now();
        if now >= begin && cpu_before.is_none() {
            cpu_before = Some(cpu()?);
        }
        if now >= end {
            break;
        }
        while let Some(action) = health.poll_action() {
            match action {
                Action::Probe { id, generation, address, check, subject } => {
                    let now = Instant::now();
                    if let Some(last) = starts.insert(id, now)
                        && now >= begin
                    {
                        measured.late.push(now.duration_since(last).saturating_sub(INTERVAL));
                    }
                    prober.probe(id, generation, Question { address, check, subject });
                }
                Action::Cancel { id, generation } => prober.cancel(id, generation),
                Action::Transition(Transition { id, to: State::Down, reason, .. }) if !hangs(id.0, hanging) => {
                    measured.failed += 1;
                    measured.why = reason;
                }
                Action::Transition(_) => {}
            }
        }
        let deadline = health.next_deadline().map_or(end, |deadline| deadline.min(end));
        tokio::select! {
            Some(Report { id, generation, outcome }) = reports.recv() => {
                health.handle(Input::Outcome { id, generation, outcome }, Instant::now());
            }
            () = tokio::time::sleep_until(deadline.into()) => health.handle_timeout(Instant::now()),
        }
    }
    measured.elapsed = begin.elapsed();
    measured.cpu = cpu()?.saturating_sub(cpu_before.unwrap_or_default());
    Ok(measured)
}

/// Servers stand on addresses of their own. Those that hang are among those checked by http.
fn target(number: u32, hanging: u32) -> Target {
    let address = IpAddr::from(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number));
    let port = if hangs(number, hanging) { HANGING_PORT } else { GOOD_PORT };
    let body = BodyExpectation::Contains("Healthy".to_owned());
    let http = HttpProbe { path: "/status".to_owned(), host: None, status: 200, body };
    let check = HealthCheck {
        probe: if by_http(number) { Probe::Http(http) } else { Probe::Connect },
        port: Some(port),
        interval: INTERVAL,
        timeout: TIMEOUT,
        // Every failure shows.
        rise: 1,
        fall: 1,
        flap_damping: false,
        proxy_protocol: None,
    };
    Target { id: TargetId(number), address, check, subject: None, memory: None }
}

fn by_http(number: u32) -> bool {
    number % 2 == 1
}

fn hangs(number: u32, hanging: u32) -> bool {
    by_http(number) && number / 2 < hanging
}

/// Of this process: the servers are another.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("asking for the time on the processor")?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}

/// The process of the servers; it ends with this value.
struct Servers(Child);

impl Servers {
    fn start() -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        let mut child = Self(command.arg("health-servers").stdout(Stdio::piped()).spawn().context("starting servers")?);
        let output = child.0.stdout.take().context("the servers have no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "the servers did not start");
        Ok(child)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other process: one port that answers and one that hangs, on all addresses of this machine.
pub(crate) fn serve() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let good = listen(GOOD_PORT)?;
        let hanging = listen(HANGING_PORT)?;
        println!("ready");
        let silent = tokio::spawn(answer(hanging, b""));
        answer(good, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nHealthy\n").await?;
        silent.await?
    })
}

/// With room for many connections at a time: two thousand servers would not share one queue.
fn listen(port: u16) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    Ok(socket.listen(4096)?)
}

/// Answers what is sent, or waits for the end where there is no answer.
async fn answer(listener: TcpListener, text: &'static [u8]) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut request = [0; 1024];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                if !text.is_empty() {
                    let _ = stream.write_all(text).await;
                    return;
                }
            }
        });
    }
}
