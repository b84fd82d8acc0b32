//! Hosts on networks: each host is a network namespace, each network a bridge in one more namespace.
//!
//! In: names and addresses. Out: [`Host`]s that run programs, send and capture. Everything goes
//! when the [`Lab`] is dropped, on panic too; what a killed run left is removed by the next lab of
//! the same name. Absent: mount isolation, so that pins in bpffs are seen by every host (a single
//! program can ask for a mount namespace of its own).

mod capture;
mod checksums;
mod host;
mod interfaces;
mod packet_socket;
mod pass_program;
mod process;
mod stale;
mod turn;
mod wait;

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};

use pass_program::PassProgram;
use turn::{Gate, Turn, lock};

pub use capture::{Capture, Captured, Direction};
pub use host::Host;
pub use packet_socket::PacketSocket;
pub use process::{Output, Process, require};
pub use wait::wait_until;

/// Where labs keep logs, locks and the files of their programs.
const RUN_DIRECTORY: &str = "/run/lb-lab";
/// Where the pins of every lab's balancer lie.
const BPF_DIRECTORY: &str = "/sys/fs/bpf";

static LABS_OF_THIS_PROCESS: AtomicU32 = AtomicU32::new(0);

/// Namespaces, the bridges that join them, and a folder for logs.
#[derive(Debug)]
pub struct Lab {
    id: String,
    folder: PathBuf,
    pass: Arc<PassProgram>,
    networks: AtomicU8,
    hosts: AtomicU8,
    /// Held while this process lives: how a later run knows whether this lab is stale.
    _alive: Option<Flock<File>>,
    _turn: Option<Turn>,
    left_standing: bool,
}

/// Runs a test in a lab of its own, and shows what every program said when it fails.
///
/// # Errors
/// When the lab cannot be made, or the test fails.
pub fn in_lab(name: &str, test: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::new(name)?;
    let result = test(&lab);
    if result.is_err() {
        lab.show_logs();
    }
    result
}

/// A bridge that hosts are attached to.
#[derive(Clone, Debug)]
pub struct Network {
    bridge: String,
}

impl Lab {
    /// An empty lab, alone on this machine or beside one more, until it is dropped.
    ///
    /// # Errors
    /// When not root, when other labs do not end, or when the kernel refuses a namespace.
    pub fn new(name: &str) -> Result<Self> {
        ensure_root()?;
        let gate = Gate::enter()?;
        prepare_machine()?;
        let turn = Turn::take(&gate)?;
        let number = LABS_OF_THIS_PROCESS.fetch_add(1, Ordering::Relaxed);
        stale::remove_labs_named(name)?;
        let mut lab = Self::create(format!("lb-{name}-{}-{number}", std::process::id()))?;
        lab._alive = lock(&lab.folder.join("alive"), FlockArg::LockExclusiveNonblock)?;
        lab._turn = Some(turn);
        Ok(lab)
    }

    /// A lab for a person: its name is fixed, a previous one of that name is removed, and it can
    /// be left standing.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn standing(name: &str) -> Result<Self> {
        ensure_root()?;
        prepare_machine()?;
        let id = format!("lb-{name}");
        stale::remove_lab(&id)?;
        Self::create(id)
    }

    /// Ends the standing lab of this name; false when there is none.
    ///
    /// # Errors
    /// When a namespace or a process does not go.
    pub fn remove_standing(name: &str) -> Result<bool> {
        stale::remove_lab(&format!("lb-{name}"))
    }

    /// Where logs and files of the standing lab of this name are.
    pub fn standing_folder(name: &str) -> PathBuf {
        Path::new(RUN_DIRECTORY).join(format!("lb-{name}"))
    }

    fn create(id: String) -> Result<Self> {
        let folder = Path::new(RUN_DIRECTORY).join(&id);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let pass = Arc::new(PassProgram::pin_at(&pass_pin(&id))?);
        let lab = Self {
            id,
            folder,
            pass,
            networks: AtomicU8::new(0),
            hosts: AtomicU8::new(0),
            _alive: None,
            _turn: None,
            left_standing: false,
        };
        let switch = lab.namespace("switch");
        add_namespace(&switch)?;
        // Where the kernel has a bridge firewall, it would drop malformed packets and reassemble
        // fragments on the way: a switch does neither.
        for family in ["ip", "ip6", "arp"] {
            let setting = Path::new("/proc/sys/net/bridge").join(format!("bridge-nf-call-{family}tables"));
            host::in_namespace(&switch, || if setting.exists() { fs::write(&setting, "0") } else { Ok(()) })??;
        }
        Ok(lab)
    }

    /// The name that the lab's namespaces, pins and sockets carry.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Logs and files of the lab's programs; removed with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the balancer of this lab pins its tables; removed with the lab.
    pub fn pin_directory(&self) -> PathBuf {
        Path::new(BPF_DIRECTORY).join(&self.id)
    }

    /// A new network: a bridge without addresses, which forwards frames and nothing more.
    ///
    /// # Errors
    /// When the kernel refuses the bridge.
    pub fn network(&self) -> Result<Network> {
        let number = self.networks.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("net{number}");
        let switch = self.namespace("switch");
        // Multicast snooping would hold neighbour discovery back until it has heard a querier.
        ip_in(
            &switch,
            &["link", "add", &bridge, "type", "bridge", "mcast_snooping", "0", "stp_state", "0", "forward_delay", "0"],
        )?;
        ip_in(&switch, &["link", "set", &bridge, "up"])?;
        Ok(Network { bridge })
    }

    /// A new host without interfaces; `name` has at most nine characters.
    ///
    /// # Errors
    /// When the name is too long, or the kernel refuses the namespace.
    pub fn host(&self, name: &str) -> Result<Host> {
        ensure!(name.len() <= 9, "host name {name} is longer than 9 characters, too long for the switch's port names");
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let namespace = self.namespace(name);
        add_namespace(&namespace)?;
        Host::new(name, &namespace, &self.namespace("switch"), &self.folder, number, Arc::clone(&self.pass))
    }

    /// A host with one interface `eth0` on `network`.
    ///
    /// # Errors
    /// As [`Lab::host`] and [`Host::attach`].
    pub fn host_on(&self, name: &str, network: &Network, addresses: &[&str]) -> Result<Host> {
        let mut host = self.host(name)?;
        host.attach(network, "eth0", addresses)?;
        Ok(host)
    }

    /// Removes the lab when the person presses Ctrl-C, and ends this process.
    ///
    /// Call it before any thread is started: threads inherit that the signal is held back.
    ///
    /// # Errors
    /// When the signal cannot be held back.
    pub fn remove_on_interrupt(&self) -> Result<()> {
        let interrupt = SigSet::from(Signal::SIGINT);
        interrupt.thread_block().context("cannot hold SIGINT back")?;
        let id = self.id.clone();
        let wait = move || {
            if interrupt.wait().is_ok() {
                let removed = stale::remove_lab(&id);
                eprintln!(
                    "interrupted; {}",
                    if removed.is_ok() { "everything is removed" } else { "run it again to clean up" }
                );
                std::process::exit(130);
            }
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(wait).context("cannot start a thread")?;
        Ok(())
    }

    /// Keeps everything when the value is dropped.
    pub fn leave_standing(mut self) {
        self.left_standing = true;
    }

    /// Prints the end of every program's log to standard error.
    fn show_logs(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut logs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
        logs.sort();
        for log in logs {
            let text = fs::read(&log).unwrap_or_default();
            let name = log.file_stem().unwrap_or_default().to_string_lossy();
            eprintln!("--- {name} ---\n{}", process::last_lines(&String::from_utf8_lossy(&text)));
        }
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{}", self.id, in_one_word(host))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.left_standing {
            return;
        }
        if std::thread::panicking() {
            self.show_logs();
        }
        if let Err(error) = stale::remove_lab(&self.id) {
            eprintln!("lab {} is not gone entirely: {error:#}", self.id);
        }
    }
}

/// The name of the namespace of a host in the standing lab `name`.
pub fn standing_namespace(name: &str, host: &str) -> String {
    format!("lb-{name}-{}", in_one_word(host))
}

/// A dash in a namespace's name ends the lab's part of it.
fn in_one_word(host: &str) -> String {
    host.replace('-', "_")
}

/// Whether `text` is the address of a host, with or without a prefix length.
pub(crate) fn address_of(text: &str) -> Result<IpAddr> {
    let address = text.split('/').next().unwrap_or(text);
    address.parse().with_context(|| format!("{text} is not an address"))
}

/// Beside the balancer's pins, not among them.
fn pass_pin(id: &str) -> PathBuf {
    Path::new(BPF_DIRECTORY).join(format!("{id}-pass"))
}

fn ensure_root() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "the lab makes network namespaces: run it as root");
    Ok(())
}

fn prepare_machine() -> Result<()> {
    require("ip", "iproute2")?;
    require("nsenter", "util-linux")?;
    require("ethtool", "ethtool")?;
    fs::create_dir_all(RUN_DIRECTORY).with_context(|| format!("cannot make {RUN_DIRECTORY}"))?;
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(BPF_DIRECTORY)) {
        run_here("mount", &["-t", "bpf", "bpf", BPF_DIRECTORY])?;
    }
    Ok(())
}

fn add_namespace(name: &str) -> Result<()> {
    run_here("ip", &["netns", "add", name])?;
    ip_in(name, &["link", "set", "lo", "up"])
}

pub(crate) fn ip_in(namespace: &str, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["-n", namespace];
    all.extend(arguments);
    run_here("ip", &all).map(|_| ())
}

/// Runs a program of the lab itself, outside the namespaces; its standard output.
pub(crate) fn run_here(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
