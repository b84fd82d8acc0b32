//! A host: a network namespace in which programs run.
//!
//! In: commands. Out: their output, sockets that belong to the host. A program
//! enters only the network namespace: the file system is everyone's.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Socket, Type};

use super::pass_program::PassProgram;
use super::{Output, Process, ip_in, wait_until};

const START_DEADLINE: Duration = Duration::from_secs(10);
/// No program is waited for longer than this.
const RUN_LIMIT: &[&str] = &["timeout", "--kill-after=2", "60"];

/// A machine of the lab.
#[derive(Debug)]
pub struct Host {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) switch: String,
    folder: PathBuf,
    pub(super) number: u8,
    pub(super) interfaces: u8,
    pub(super) addresses: Vec<(String, IpAddr)>,
    started: AtomicU32,
    pub(super) pass: Arc<PassProgram>,
}

impl Host {
    pub(super) fn new(
        name: &str,
        namespace: &str,
        switch: &str,
        folder: &Path,
        number: u8,
        pass: Arc<PassProgram>,
    ) -> Result<Self> {
        let host = Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            switch: switch.to_owned(),
            folder: folder.to_owned(),
            number,
            interfaces: 0,
            addresses: Vec::new(),
            started: AtomicU32::new(0),
            pass,
        };
        // Addresses are usable at once, nothing is asked of routers that do not exist, and replies
        // may take another way than requests did.
        for (setting, value) in [
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/conf/all/log_martians", "0"),
        ] {
            host.set(setting, value)?;
        }
        Ok(host)
    }

    /// `ip ARGUMENTS` in this host.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip_in(&self.namespace, arguments)
    }

    /// Writes a setting below `/proc/sys/net`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set(&self, setting: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(setting);
        self.enter(|| fs::write(&path, value).with_context(|| format!("cannot write {}", path.display())))?
    }

    /// The host's name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Logs and files of the lab's programs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a program to its end, which is brought about after a minute (status 124).
    ///
    /// # Errors
    /// When it cannot be started; a failure of the program itself is in the output.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let shown = command.join(" ");
        let limited: Vec<&str> = RUN_LIMIT.iter().chain(command).copied().collect();
        let mut process = self.command(&limited, false);
        let output = process.output().with_context(|| format!("cannot run {shown}"))?;
        Ok(Output::of(shown, &output))
    }

    /// Starts a program that goes on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &[&str]) -> Result<Process> {
        self.start(command, false)
    }

    /// Starts a program with a mount namespace of its own and an empty `/run`, for servers that
    /// allow only one of themselves per machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_private(&self, command: &[&str]) -> Result<Process> {
        self.start(command, true)
    }

    /// A number that this host has given to nothing else: for the names of files.
    pub fn next_number(&self) -> u32 {
        self.started.fetch_add(1, Ordering::Relaxed)
    }

    /// Opens a TCP connection from one of the host's addresses.
    ///
    /// # Errors
    /// When it is none of the host's, the connection is refused, or it takes longer than `deadline`.
    pub fn connect(&self, source: IpAddr, server: SocketAddr, deadline: Duration) -> Result<TcpStream> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect_timeout(&server.into(), deadline)?;
            socket.set_tcp_nodelay(true)?;
            std::io::Result::Ok(TcpStream::from(socket))
        };
        self.enter(connect)?.with_context(|| format!("{} cannot connect from {source} to {server}", self.name))
    }

    fn start(&self, command: &[&str], private_mounts: bool) -> Result<Process> {
        let number = self.next_number();
        let program = Path::new(command[0]).file_name().unwrap_or_default().to_string_lossy();
        let log = self.folder.join(format!("{}-{number}-{program}.log", self.name));
        Process::spawn(format!("{program} on {}", self.name), self.command(command, private_mounts), &log)
    }

    fn command(&self, command: &[&str], private_mounts: bool) -> Command {
        let mut process = Command::new("nsenter");
        process.arg(format!("--net=/run/netns/{}", self.namespace));
        if private_mounts {
            process.args(["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
        }
        process.args(command);
        process
    }

    /// Runs `work` on a thread inside this host: sockets it opens belong to the host for good.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        in_namespace(&self.namespace, work)
    }

    /// Whether a socket of this host waits at the port, by the kernel's own list.
    ///
    /// # Errors
    /// When none does, or the list cannot be read.
    pub fn listens(&self, protocol: &str, port: u16) -> Result<()> {
        // TCP: state 0A is LISTEN; UDP: 07 is an unconnected socket.
        let state = if protocol == "tcp" { "0A" } else { "07" };
        let is_it = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().and_then(|local| local.rsplit(':').next());
            local == Some(&format!("{port:04X}")) && fields.nth(1) == Some(state)
        };
        let found = self.enter(|| {
            ["", "6"].iter().any(|family| {
                let list = fs::read_to_string(format!("/proc/thread-self/net/{protocol}{family}"));
                list.is_ok_and(|text| text.lines().any(is_it))
            })
        })?;
        ensure!(found, "nothing listens at {protocol} port {port} of {}", self.name);
        Ok(())
    }

    /// A counter of the host's protocols by group and name, such as `TcpExt` of /proc/net/netstat or `Udp`
    /// of /proc/net/snmp.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn counter(&self, group: &str, name: &str) -> Result<u64> {
        let files = ["netstat", "snmp"].map(|file| format!("/proc/thread-self/net/{file}"));
        let text = self.enter(|| files.iter().map(fs::read_to_string).collect::<std::io::Result<String>>())??;
        let prefix = format!("{group}: ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::split_whitespace);
        let (names, values) = (lines.next().context("no such group")?, lines.next().context("no values")?);
        let found = names.zip(values).find(|(named, _)| *named == name);
        let (_, value) = found.with_context(|| format!("the kernel has no counter {group} {name}"))?;
        Ok(value.parse()?)
    }

    /// A counter of IPv6 by its name in /proc/net/snmp6, such as `Udp6RcvbufErrors`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn counter_v6(&self, name: &str) -> Result<u64> {
        let text = self.enter(|| fs::read_to_string("/proc/thread-self/net/snmp6"))??;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(value.with_context(|| format!("the kernel has no counter {name}"))?.trim().parse()?)
    }

    /// Datagrams of both families that reached a socket and found no room: the program was kept waiting.
    ///
    /// # Errors
    /// When the kernel does not count them.
    pub fn no_room(&self) -> Result<u64> {
        Ok(self.counter("Udp", "RcvbufErrors")? + self.counter_v6("Udp6RcvbufErrors")?)
    }

    /// Waits until `process` listens at the port.
    ///
    /// # Errors
    /// When it ends, or does not within ten seconds.
    pub fn wait_listening(&self, process: &mut Process, protocol: &str, port: u16) -> Result<()> {
        let what = format!("{} listens at {protocol} port {port}", self.name);
        process.wait_ready(&what, START_DEADLINE, || self.listens(protocol, port))
    }

    /// Waits until a TCP connection to `address` can be opened from this host.
    ///
    /// # Errors
    /// When it cannot within the deadline.
    pub fn wait_connects(&self, address: SocketAddr, deadline: Duration) -> Result<()> {
        wait_until(&format!("{} can connect to {address}", self.name), deadline, || {
            self.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)))??;
            Ok(())
        })
    }
}

pub(super) fn in_namespace<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let path = Path::new("/run/netns").join(namespace);
    let namespace = fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let inside = || setns(&namespace, CloneFlags::CLONE_NEWNET).map(|()| work());
    let result = std::thread::scope(|scope| scope.spawn(inside).join());
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    result.with_context(|| format!("cannot enter {}", path.display()))
}
