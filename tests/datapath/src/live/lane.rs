//! One way of forwarding: a balancer in a namespace of its own, between the clients and the servers.
//!
//! ```text
//! generator |  gX ---- in | balancer | out ---- sX |  servers
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use lb_common::abi::Scheduler;
use lb_common::testing::{MemTables, Scenario};
use lb_core::config::model::Limits;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::netns::Namespace;
use super::nftables;
use super::thread::{cpu_time, hurry, kernel_thread};
use super::traffic::{Flows, PORT, Sink, attach};
use crate::Rig;
use crate::frames::TCP_AND_UDP;
use crate::peers::{VIP, load_small, program};

/// Real servers of the virtual service.
pub const SERVERS: usize = 4;

/// How the balancer forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The datapath of this project, `l4-dr`.
    DirectRouting,
    /// The same, `l4-nat`.
    Nat,
    /// The same, `l4-snat`.
    SourceNat,
    /// Destination NAT by nftables, with conntrack.
    Nftables,
    /// The same with established flows in a flowtable, which not every kernel has.
    Flowtable,
    /// A bridge, which does not balance anything: what the kernel needs for the least it can do.
    Bridge,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::DirectRouting, Self::Nat, Self::SourceNat, Self::Nftables, Self::Flowtable, Self::Bridge];

    /// Whether the datapath of this project forwards.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::DirectRouting | Self::Nat | Self::SourceNat)
    }

    /// Its name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectRouting => "lb l4-dr",
            Self::Nat => "lb l4-nat",
            Self::SourceNat => "lb l4-snat",
            Self::Nftables => "nftables DNAT",
            Self::Flowtable => "nftables DNAT, flowtable",
            Self::Bridge => "Linux bridge",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::DirectRouting => 'x',
            Self::Nat => 't',
            Self::SourceNat => 'u',
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
    /// What keeps `pass` attached.
    pass: Option<Ebpf>,
    /// The kernel's thread in which the balancer works, when it has a CPU of its own.
    thread: Option<Pid>,
    /// Flows opened, by protocol; those of a smaller number are among those of a larger one.
    opened: BTreeMap<u8, u32>,
}

const BALANCER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const OUTSIDE: &str = "out";
/// What the real servers see of `l4-snat`.
const SOURCE: [u8; 4] = [10, 1, 0, 254];

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
        let mut lane = Self {
            kind,
            balancer,
            inside,
            client_ifindex,
            rig: None,
            pass: None,
            thread: None,
            opened: BTreeMap::new(),
        };
        match kind {
            Kind::DirectRouting | Kind::Nat | Kind::SourceNat => lane.datapath()?,
            Kind::Nftables | Kind::Flowtable => {
                lane.receive()?;
                nftables::configure(&lane.balancer, [&lane.inside, OUTSIDE], kind == Kind::Flowtable)?;
            }
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
            Kind::DirectRouting | Kind::Nat | Kind::SourceNat | Kind::Nftables | Kind::Flowtable => BALANCER_MAC,
        }
    }

    fn datapath(&mut self) -> Result<()> {
        let mut tables = MemTables::default();
        let least_connection = Scheduler::WeightedLeastConnection;
        let mut service = Scenario::new(VIP.into(), &[(PORT, PORT)], &TCP_AND_UDP, least_connection, SERVERS);
        service = match self.kind {
            Kind::Nat => service.nat(),
            Kind::SourceNat => service.source_nat(1, SOURCE.into()),
            _ => service,
        };
        let ifindex = self.balancer.ifindex(OUTSIDE)?;
        for server in &mut service.servers {
            server.ifindex = ifindex;
            server.source_mac[5] = 0x03;
        }
        service.install(&mut tables, 1, 1, 0);
        let mut rig = Rig::load(&format!("live-{}", self.kind.letter()), Limits::default())?;
        rig.fill(&tables)?;
        let program = rig.xdp()?;
        self.balancer.within(|| attach(program, &self.inside).and_then(|()| attach(program, OUTSIDE)))?;
        self.rig = Some(rig);
        Ok(())
    }

    fn bridge(&mut self) -> Result<()> {
        self.receive()?;
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

    /// A virtual link takes redirected frames with an XDP program or with GRO only. A program that
    /// passes everything costs the kernel less: frames of many flows cannot be merged.
    fn receive(&mut self) -> Result<()> {
        let mut object = load_small()?;
        let pass = program(&mut object, "pass")?;
        pass.load()?;
        self.balancer.within(|| attach(pass, &self.inside).and_then(|()| attach(pass, OUTSIDE)))?;
        self.pass = Some(object);
        for device in [self.inside.as_str(), OUTSIDE] {
            self.balancer.run(&format!("ethtool -K {device} gro off"))?;
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
            (None, _) => Ok(None),
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
