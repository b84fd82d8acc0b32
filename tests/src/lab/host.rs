//! A host: a network namespace with interfaces on the lab's networks.
//!
//! In: addresses, programs. Out: their output, sockets that belong to the host, counters. A program
//! enters only the network namespace: the file system is everyone's.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};

use super::{Capture, Network, Output, PacketSocket, Process, address_of, ip_in, run_here, wait_until};

const START_DEADLINE: Duration = Duration::from_secs(10);
/// No program is waited for longer than this.
const RUN_LIMIT: &[&str] = &["timeout", "--kill-after=2", "60"];

/// A machine of the lab.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: String,
    switch: String,
    folder: PathBuf,
    number: u8,
    interfaces: u8,
    addresses: Vec<(String, IpAddr)>,
    started: AtomicU32,
}

impl Host {
    pub(super) fn new(name: &str, namespace: &str, switch: &str, folder: &Path, number: u8) -> Result<Self> {
        let host = Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            switch: switch.to_owned(),
            folder: folder.to_owned(),
            number,
            interfaces: 0,
            addresses: Vec::new(),
            started: AtomicU32::new(0),
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

    /// Gives the host an interface on `network`, with addresses such as `192.0.2.1/24`.
    ///
    /// Checksums and VLAN tags are written by the host, as no NIC follows that would. The switch's end receives
    /// with GRO on: else frames that an XDP program transmits or redirects would vanish there.
    ///
    /// # Errors
    /// When the kernel refuses the interface or an address.
    pub fn attach(&mut self, network: &Network, device: &str, addresses: &[&str]) -> Result<()> {
        let port = self.port(device);
        let mac = format!("02:1b:00:00:{:02x}:{:02x}", self.number, self.interfaces);
        self.interfaces += 1;
        let (switch, namespace) = (self.switch.as_str(), self.namespace.as_str());
        ip_in(
            switch,
            &["link", "add", &port, "type", "veth", "peer", "name", device, "address", &mac, "netns", namespace],
        )?;
        ip_in(switch, &["link", "set", &port, "master", &network.bridge, "up"])?;
        nsenter(
            switch,
            "ethtool",
            &["-K", &port, "tx", "off", "txvlan", "off", "tx-vlan-stag-hw-insert", "off", "gro", "on"],
        )?;
        nsenter(
            namespace,
            "ethtool",
            &["-K", device, "tx", "off", "txvlan", "off", "tx-vlan-stag-hw-insert", "off", "gro", "off"],
        )?;
        ip_in(namespace, &["link", "set", device, "up"])?;
        for address in addresses {
            self.add_address(device, address)?;
            self.addresses.push((device.to_owned(), address_of(address)?));
        }
        Ok(())
    }

    /// Adds an address such as `192.0.2.1/24` or `2001:db8::1/64`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add_address(&self, device: &str, address: &str) -> Result<()> {
        let mut arguments = vec!["address", "add", address, "dev", device];
        if address_of(address)?.is_ipv6() {
            arguments.push("nodad");
        }
        self.ip(&arguments)
    }

    /// Makes this host a real server of a direct-routing VIP: it holds the address and does not
    /// answer for it.
    ///
    /// IPv6 needs no setting against answers: neighbour solicitations are answered only for
    /// addresses of the interface that they arrive on, and the VIP is on `lo`.
    ///
    /// # Errors
    /// When the kernel refuses the address.
    pub fn hold_vip(&self, vip: IpAddr) -> Result<()> {
        let prefix = if vip.is_ipv6() { 128 } else { 32 };
        if vip.is_ipv4() {
            self.set("ipv4/conf/all/arp_ignore", "1")?;
            self.set("ipv4/conf/all/arp_announce", "2")?;
        }
        self.add_address("lo", &format!("{vip}/{prefix}"))
    }

    /// Connections to `destination` leave from `source` from now on, an address the host has.
    ///
    /// # Errors
    /// When the kernel refuses the route.
    pub fn speak_as(&self, source: IpAddr, destination: IpAddr, device: &str) -> Result<()> {
        let destination = format!("{destination}/{}", if destination.is_ipv6() { 128 } else { 32 });
        self.ip(&["route", "replace", &destination, "dev", device, "src", &source.to_string()])
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

    /// Its first IPv4 address.
    ///
    /// # Panics
    /// When it has none: a mistake in the layout.
    pub fn v4(&self) -> IpAddr {
        self.address_where(IpAddr::is_ipv4)
    }

    /// Its first IPv6 address.
    ///
    /// # Panics
    /// When it has none: a mistake in the layout.
    pub fn v6(&self) -> IpAddr {
        self.address_where(IpAddr::is_ipv6)
    }

    fn address_where(&self, family: impl Fn(&IpAddr) -> bool) -> IpAddr {
        let found = self.addresses.iter().map(|(_, address)| *address).find(family);
        found.unwrap_or_else(|| panic!("{} has no address of that family", self.name))
    }

    /// The MAC of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, device: &str) -> Result<[u8; 6]> {
        let text = run_here("ip", &["-n", &self.namespace, "-j", "link", "show", device])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let address = links[0]["address"].as_str().context("the interface has no address")?;
        let bytes: Vec<u8> = address.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>()?;
        bytes.try_into().map_err(|_| anyhow::anyhow!("{address} is not a MAC"))
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

    fn start(&self, command: &[&str], private_mounts: bool) -> Result<Process> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
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
            self.enter(|| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)))??;
            Ok(())
        })
    }

    /// Captures on an interface of the host, at most `limit` frames that `wanted` accepts.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn capture(&self, device: &str, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Capture> {
        Capture::start(self.packet_socket(device)?, wanted)
    }

    /// Captures on the switch's side of an interface: [`super::Direction::Out`] is towards the
    /// host. An XDP program on the host takes frames before a capture on the host would see them.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn capture_at_switch(&self, device: &str, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Capture> {
        let port = self.port(device);
        let socket = in_namespace(&self.switch, || PacketSocket::open(&port))??;
        Capture::start(socket, wanted)
    }

    /// A socket that sends and receives whole frames on an interface.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn packet_socket(&self, device: &str) -> Result<PacketSocket> {
        self.enter(|| PacketSocket::open(device))?
    }

    /// Frames that the switch has delivered to an interface, dropped ones aside.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn frames_delivered(&self, device: &str) -> Result<u64> {
        self.port_counter(device, "tx")
    }

    /// Frames that an interface has sent to the switch.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn frames_sent(&self, device: &str) -> Result<u64> {
        self.port_counter(device, "rx")
    }

    fn port_counter(&self, device: &str, direction: &str) -> Result<u64> {
        let text = run_here("ip", &["-n", &self.switch, "-j", "-s", "link", "show", &self.port(device)])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["stats64"][direction]["packets"].as_u64().context("the interface has no counters")
    }

    fn port(&self, device: &str) -> String {
        format!("{}-{device}", self.name)
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

fn nsenter(namespace: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let net = format!("--net=/run/netns/{namespace}");
    let mut all = vec![net.as_str(), program];
    all.extend(arguments);
    run_here("nsenter", &all).map(|_| ())
}
