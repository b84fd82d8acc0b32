//! What the proxies stand in: a network namespace, places on the CPUs, a folder, a certificate, and the servers behind
//! them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_datapath_tests::live::netns::Namespace;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::servers;

/// Where the real servers are.
pub(super) const SERVERS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);

/// The device that carries the addresses. Frames between them never leave the loopback interface.
pub(super) const DEVICE: &str = "l7";

/// Connections that wait, and their ways on, are files; every proxy is told that it may have so many.
pub(super) const FILES: u64 = 16_000;

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Which CPUs a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The proxy's: nothing else of the bench is there.
    Proxy,
    /// Everything else's.
    Around,
}

/// The whole set-up but for the proxies.
pub(super) struct Bed {
    // Before the folder that they use.
    _servers: Vec<Process>,
    folder: Folder,
    namespace: Namespace,
    /// CPUs of [`Place::Proxy`] and [`Place::Around`], as taskset(1) takes them.
    cpus: [String; 2],
}

impl Bed {
    pub(super) fn build() -> Result<Self> {
        for (program, package) in NEEDED {
            require(program, package)?;
        }
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, FILES, most.max(FILES)).context("raising the limit of open files")?;
        let namespace = Namespace::new()?;
        namespace.ip(&format!("link add {DEVICE} type veth peer name {DEVICE}-end"))?;
        namespace.ip(&format!("link set {DEVICE}-end up"))?;
        namespace.ip(&format!("link set {DEVICE} up"))?;
        namespace.ip(&format!("address add {SERVERS}/24 dev {DEVICE}"))?;
        namespace.within(|| {
            // Connections come and go faster than their ports would otherwise be free again.
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")?;
            Ok(fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1")?)
        })?;
        let mut bed = Self { _servers: Vec::new(), folder: Folder::new()?, namespace, cpus: cpus()? };
        let certificate = rcgen::generate_simple_self_signed([String::from("bench")])?;
        let (own, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        bed.write("certificate.pem", &own)?;
        bed.write("key.pem", &key)?;
        // HAProxy reads both from one file.
        bed.write("both.pem", &(own + &key))?;
        bed._servers = servers::start(&bed)?;
        Ok(bed)
    }

    /// A file of this name in the set-up's folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.file(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }

    /// `ip` in the namespace.
    pub(super) fn ip(&self, line: &str) -> Result<()> {
        self.namespace.ip(line)
    }

    /// Starts a program that goes on; it ends with this process at the latest.
    pub(super) fn start(&self, place: Place, words: &[&str], log: &str) -> Result<Process> {
        let log = self.file(log);
        let file = fs::File::create(&log)?;
        let mut command = self.command(place, words);
        command.stdout(file.try_clone()?).stderr(file);
        let child =
            self.namespace.within(|| command.spawn().with_context(|| format!("starting {}", words.join(" "))))?;
        Ok(Process { child, log })
    }

    /// Starts a program that is talked to.
    pub(super) fn talk(&self, place: Place, words: &[&str]) -> Result<Child> {
        let mut command = self.command(place, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        self.namespace.within(|| command.spawn().with_context(|| format!("starting {}", words.join(" "))))
    }

    /// Runs a program to its end; what it said.
    pub(super) fn run(&self, place: Place, words: &[&str]) -> Result<String> {
        let mut command = self.command(place, words);
        let output =
            self.namespace.within(|| command.output().with_context(|| format!("running {}", words.join(" "))))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{}` failed: {said}{}", words.join(" "), complaint.trim());
        Ok(said)
    }

    fn command(&self, place: Place, words: &[&str]) -> Command {
        let cpus = &self.cpus[usize::from(place == Place::Around)];
        let mut command = Command::new("setpriv");
        // A session of its own, so that workers end with their master.
        command.args(["--pdeathsig", "KILL", "setsid", "sh", "-c", HURRY, "sh", cpus]).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Waits until something listens there.
    pub(super) fn wait_listening(&self, process: &mut Process, address: Ipv4Addr, port: u16) -> Result<()> {
        let until = Instant::now() + START_DEADLINE;
        while self.namespace.within(|| Ok(std::net::TcpStream::connect((address, port))?)).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("it ended with {status}: {}", process.said());
            }
            ensure!(Instant::now() < until, "nobody listens on {address}:{port}: {}", process.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// The command line of a part of this program, as a process of its own.
pub(super) fn generator(words: &[&str]) -> Result<Vec<String>> {
    let own = std::env::current_exe().context("finding this program")?.display().to_string();
    Ok([own, "l7-generator".to_owned()].into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect())
}

/// A program that goes on until it is dropped.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        let group = Pid::from_raw(pid);
        // One that has ended by itself leaves nothing to do.
        let _ = killpg(group, Signal::SIGTERM);
        let until = Instant::now() + STOP_DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = killpg(group, Signal::SIGKILL);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = Path::new("/run").join(format!("lb-bench-l7-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a session before the other programs of the machine, whose work would make the figures wander: its group where
/// the kernel groups sessions, and the program.
const HURRY: &str = "cpus=$1; shift; [ ! -w /proc/self/autogroup ] || echo -15 > /proc/self/autogroup; \
                     exec nice -n -15 taskset -c \"$cpus\" \"$@\"";

/// The last CPU is the proxy's, the others are for everything around it.
fn cpus() -> Result<[String; 2]> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("asking for the CPUs of this process")?;
    let all: Vec<String> =
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).map(|cpu| cpu.to_string()).collect();
    match all.split_last() {
        Some((last, [])) => Ok([last.clone(), last.clone()]),
        Some((last, others)) => Ok([last.clone(), others.join(",")]),
        None => bail!("this process may run on no CPU"),
    }
}

const NEEDED: &[(&str, &str)] = &[
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light libnginx-mod-stream"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("setpriv", "util-linux"),
];

fn require(program: &str, packages: &str) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin"]);
    let found = folders.any(|folder| Path::new(folder).join(program).is_file());
    ensure!(found, "{program} is not installed: `cargo xtask setup`, or apt-get install {packages}");
    Ok(())
}
