//! One way of forwarding: a balancer in a namespace of its own, between the clients and the servers.
//!
//! ```text
//! generator |  gX ---- in | balancer | out ---- sX |  servers
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lb_common::abi::Scheduler;
use lb_common::testing::{MemTables, Scenario};
use lb_core::config::model::Limits;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::hurry;
use super::netns::Namespace;
use super::traffic::{Flows, PORT, Sink, attach};
use crate::Rig;
use crate::frames::TCP_AND_UDP;
use crate::peers::VIP;

/// Real servers of the virtual service.
pub const SERVERS: usize = 4;

/// How the balancer forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The datapath of this project.
    DirectRouting,
    /// Destination NAT by nftables, with conntrack.
    Nftables,
    /// The same with established flows in a flowtable, which not every kernel has.
    Flowtable,
    /// A bridge, which does not balance anything: what the kernel needs for the least it can do.
    Bridge,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DirectRouting, Self::Nftables, Self::Flowtable, Self::Bridge];

    /// Its name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectRouting => "lb l4-dr",
            Self::Nftables => "nftables DNAT",
            Self::Flowtable => "nftables DNAT, flowtable",
            Self::Bridge => "Linux bridge",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::DirectRouting => 'x',
            Self::Nftables => 'n',
            Self::Flowtable => 'f',
            Self::Bridge => 'b',
        }
    }
}

/// A balancer and its two links.
pub struct Lane {
    kind: Kind,
    balancer: Namespace,
    /// The link to the clients, as the balancer sees it. Unique on the machine, because the
    /// kernel's threads are named after it.
    inside: String,
    /// Number of the clients' end.
    pub client_ifindex: u32,
    rig: Option<Rig>,
    /// The kernel's thread in which the balancer works, when it has a CPU of its own.
    thread: Option<Pid>,
    /// Flows opened, by protocol; those of a smaller number are among those of a larger one.
    opened: BTreeMap<u8, u32>,
}

const BALANCER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const OUTSIDE: &str = "out";

impl Lane {
    /// Builds the balancer between the two namespaces.
    ///
    /// # Errors
    /// When something of it is refused.
    pub fn build(kind: Kind, clients: &Namespace, servers: &Namespace, sink: &mut Sink) -> Result<Self> {
        let balancer = Namespace::new()?;
        let letter = kind.letter();
        let (inside, client, server) =
            (format!("{letter}{}", std::process::id()), format!("g{letter}"), format!("s{letter}"));
        cable(&balancer, (&inside, "02:00:00:00:00:01"), clients, (&client, "02:00:00:00:00:02"))?;
        cable(&balancer, (OUTSIDE, "02:00:00:00:00:03"), servers, (&server, "06:00:00:00:00:00"))?;
        servers.within(|| sink.attach(&server))?;
        let client_ifindex = clients.ifindex(&client)?;
        let mut lane =
            Self { kind, balancer, inside, client_ifindex, rig: None, thread: None, opened: BTreeMap::new() };
        match kind {
            Kind::DirectRouting => lane.direct_routing()?,
            Kind::Nftables | Kind::Flowtable => lane.nftables()?,
            Kind::Bridge => lane.bridge()?,
        }
        Ok(lane)
    }

    /// How it forwards.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the clients send to: a bridge forwards to the server itself.
    #[must_use]
    pub fn destination(&self) -> [u8; 6] {
        match self.kind {
            Kind::Bridge => [0x06, 0, 0, 0, 0, 0],
            Kind::DirectRouting | Kind::Nftables | Kind::Flowtable => BALANCER_MAC,
        }
    }

    fn direct_routing(&mut self) -> Result<()> {
        let mut tables = MemTables::default();
        let least_connection = Scheduler::WeightedLeastConnection;
        let mut service = Scenario::new(VIP.into(), &[(PORT, PORT)], &TCP_AND_UDP, least_connection, SERVERS);
        let ifindex = self.balancer.ifindex(OUTSIDE)?;
        for server in &mut service.servers {
            server.ifindex = ifindex;
            server.source_mac[5] = 0x03;
        }
        service.install(&mut tables, 0, 0, 0);
        let mut rig = Rig::load("live", Limits::default())?;
        rig.fill(&tables)?;
        let program = rig.xdp()?;
        self.balancer.within(|| attach(program, &self.inside).and_then(|()| attach(program, OUTSIDE)))?;
        self.rig = Some(rig);
        Ok(())
    }

    /// As the wiki of nftables has it ("Load balancing", "Flowtables"), tuned: no chain but those
    /// needed, checksums not verified again (a NIC has done that), timeouts longer than the bench.
    fn nftables(&mut self) -> Result<()> {
        self.gro()?;
        let ns = &self.balancer;
        ns.sysctl("net/ipv4/ip_forward", 1)?;
        for setting in ["all/rp_filter", "default/rp_filter", "all/send_redirects"] {
            ns.sysctl(&format!("net/ipv4/conf/{setting}"), 0)?;
        }
        ns.ip(&format!("address add 192.168.94.1/24 dev {}", self.inside))?;
        ns.ip(&format!("neighbour add 192.168.94.2 lladdr 02:00:00:00:00:02 nud permanent dev {}", self.inside))?;
        ns.ip("route add 10.0.0.0/16 via 192.168.94.2")?;
        ns.ip(&format!("address add 10.1.0.254/24 dev {OUTSIDE}"))?;
        for server in 0..SERVERS {
            let number = server + 1;
            ns.ip(&format!(
                "neighbour add 10.1.0.{number} lladdr 06:00:00:00:00:0{server} nud permanent dev {OUTSIDE}"
            ))?;
        }
        self.ruleset()?;
        let settings = [
            ("nf_conntrack_checksum", 0),
            ("nf_conntrack_tcp_be_liberal", 1),
            ("nf_conntrack_udp_timeout", 3600),
            ("nf_conntrack_udp_timeout_stream", 3600),
            ("nf_conntrack_tcp_timeout_unacknowledged", 3600),
        ];
        for (name, value) in settings {
            ns.sysctl(&format!("net/netfilter/{name}"), value)?;
        }
        if self.kind == Kind::Flowtable {
            for protocol in ["tcp", "udp"] {
                ns.sysctl(&format!("net/netfilter/nf_flowtable_{protocol}_timeout"), 3600)?;
            }
        }
        Ok(())
    }

    fn ruleset(&self) -> Result<()> {
        let vip: std::net::Ipv4Addr = VIP.into();
        let servers = "0 : 10.1.0.1, 1 : 10.1.0.2, 2 : 10.1.0.3, 3 : 10.1.0.4";
        let flowtable = if self.kind == Kind::Flowtable {
            format!(
                "flowtable fast {{ hook ingress priority filter; devices = {{ {}, {OUTSIDE} }}; }}
                 chain forward {{
                     type filter hook forward priority filter;
                     meta l4proto {{ tcp, udp }} flow add @fast
                 }}",
                self.inside
            )
        } else {
            String::new()
        };
        let rules = format!(
            "table ip balancer {{
                 {flowtable}
                 chain prerouting {{
                     type nat hook prerouting priority dstnat;
                     ip daddr {vip} tcp dport {PORT} dnat to numgen inc mod {SERVERS} map {{ {servers} }}
                     ip daddr {vip} udp dport {PORT} dnat to numgen inc mod {SERVERS} map {{ {servers} }}
                 }}
             }}"
        );
        self.balancer.within(|| {
            let mut nft = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("starting `nft`")?;
            nft.stdin.take().context("nft reads rules")?.write_all(rules.as_bytes())?;
            let output = nft.wait_with_output()?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "nft refuses the rules: {}", complaint.lines().next().unwrap_or_default());
            Ok(())
        })
    }

    fn bridge(&self) -> Result<()> {
        self.gro()?;
        let ns = &self.balancer;
        ns.ip("link add bridge type bridge mcast_snooping 0")?;
        // Without this every frame also passes the hooks of the firewall.
        ns.sysctl("net/bridge/bridge-nf-call-iptables", 0)?;
        for device in [self.inside.as_str(), OUTSIDE] {
            ns.ip(&format!("link set {device} master bridge"))?;
        }
        ns.run(&format!("bridge fdb replace 06:00:00:00:00:00 dev {OUTSIDE} master static"))?;
        ns.ip("link set bridge up")
    }

    /// Without XDP a virtual link takes redirected frames only with GRO, which real ones have on.
    fn gro(&self) -> Result<()> {
        for device in [self.inside.as_str(), OUTSIDE] {
            self.balancer.run(&format!("ethtool -K {device} gro on"))?;
        }
        Ok(())
    }

    /// Whether the balancer works in a thread of its own on CPU 1, or where frames are sent.
    ///
    /// # Errors
    /// When the kernel has no such threads.
    pub fn own_cpu(&mut self, own: bool) -> Result<()> {
        self.thread = None;
        let file = format!("/sys/class/net/{}/threaded", self.inside);
        self.balancer.in_sysfs(&format!("echo {} > {file}", u8::from(own)))?;
        if !own {
            return Ok(());
        }
        let mut cpus = CpuSet::new();
        cpus.set(1)?;
        let thread = kernel_thread(&format!("napi/{}-", self.inside))?;
        sched_setaffinity(thread, &cpus).context("moving the balancer's thread to CPU 1")?;
        hurry(thread)?;
        self.thread = Some(thread);
        Ok(())
    }

    /// CPU time of the threads in which the balancer works: this one, or the kernel's if it has one
    /// of its own; and the one that the kernel passes work to when others wait for the CPU.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn cpu_time(&self) -> Result<Duration> {
        let thread = self.thread.map_or_else(|| "thread-self".to_owned(), |thread| thread.to_string());
        let helper = kernel_thread(if self.thread.is_some() { "ksoftirqd/1" } else { "ksoftirqd/0" })?;
        Ok(cpu_time(&thread)? + cpu_time(&helper.to_string())?)
    }

    /// How many flows the balancer knows.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn known_flows(&self) -> Result<Option<usize>> {
        match (&self.rig, self.kind) {
            (Some(rig), _) => Ok(Some(rig.flows()?.len())),
            (None, Kind::Nftables | Kind::Flowtable) => self.balancer.within(|| {
                let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?;
                Ok(Some(count.trim().parse()?))
            }),
            (None, Kind::DirectRouting | Kind::Bridge) => Ok(None),
        }
    }

    /// How many flows the balancer will know with these.
    pub(super) fn expect(&mut self, flows: Flows) -> usize {
        let opened = self.opened.entry(flows.protocol).or_default();
        *opened = flows.count.max(*opened);
        self.opened.values().map(|count| *count as usize).sum()
    }

    /// The balancer under this load, in words.
    #[must_use]
    pub fn describe(&self, flows: Flows) -> String {
        format!("{}, {} flows of protocol {}", self.kind.name(), flows.count, flows.protocol)
    }
}

/// A virtual cable between two namespaces, up at both ends.
fn cable(
    here: &Namespace,
    (device, mac): (&str, &str),
    there: &Namespace,
    (peer, peer_mac): (&str, &str),
) -> Result<()> {
    here.ip(&format!(
        "link add {device} address {mac} type veth peer name {peer} address {peer_mac} netns {}",
        there.path()
    ))?;
    here.ip(&format!("link set {device} up"))?;
    there.ip(&format!("link set {peer} up"))
}

/// A thread of the kernel by the beginning of its name.
fn kernel_thread(name: &str) -> Result<Pid> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(comm) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if comm.starts_with(name) {
            return Ok(Pid::from_raw(pid));
        }
    }
    bail!("the kernel has no thread {name}")
}

/// What the scheduler counts for a thread.
fn cpu_time(thread: &str) -> Result<Duration> {
    let path = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{path} says `{text}`"))?))
}
