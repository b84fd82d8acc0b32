//! Floods of clients that do not exist, and what must not suffer from them: established flows, the
//! memory of the tables, the servers' connection counts. The loaded program, over tables that the
//! control plane wrote and the sweep cleans.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lb_common::abi::{Flow, FlowKey, ServerId};
use lb_common::datapath::Reason;
use lb_common::testing::{DEVICE, PacketBuilder};
use lb_common::wire::{protocol, tcp};
use lb_core::config::model::{Config, Limits};
use lb_core::config::{self, Source};
use lb_core::control::{Action, Control, Past};
use lb_core::neighbour::{self, Link, NeighbourState, RouteAnswer};
use lb_datapath_tests::Rig;
use lb_datapath_tests::peers::{Clients, VIP};
use lb_userspace::dataplane::Tables;

/// Flows that must survive, each the work of two packets.
const ESTABLISHED: u32 = 10_000;

/// Clients of a flood; a power of two, as `Clients` plays them.
const MILLION: u32 = 1 << 20;

/// Clients that are opened before the first of them sends again: much less than are kept pending.
const WINDOW: u32 = 1 << 15;

const TICK: Duration = Duration::from_secs(1);

const UNLIMITED: Limits = Limits {
    flows: 1 << 20,
    pending_flows: 1 << 17,
    translated_flows: 1 << 18,
    persistence: 1 << 10,
    new_flows_per_second: u32::MAX,
};

const CONFIGURATION: &str = "
version: 1
node:
  interfaces: [{device: eth0}]
virtual_services:
  - name: web
    address: 192.168.94.110
    ports: [80]
    protocol: tcp+udp
    mode: l4-dr
    health_check: {type: none}
    real_servers:
      - {name: one, address: 192.168.94.115}
      - {name: two, address: 192.168.94.116}
      - {name: three, address: 192.168.94.117}
      - {name: four, address: 192.168.94.118}
";

/// A balancer as the daemon sets it up, and what it was sent.
struct Balancer {
    rig: Rig,
    tables: Tables,
    control: Control,
    clients: Clients,
    sent: u64,
}

impl Balancer {
    fn start(name: &str, limits: Limits) -> Result<Self> {
        let rig = Rig::load(name, limits)?;
        let tables = rig.tables()?;
        let mut control = control(limits)?;
        for operation in control.plan()? {
            tables.write(&operation)?;
            control.applied(&operation);
        }
        control.settled();
        Ok(Self { rig, tables, control, clients: Clients::load()?, sent: 0 })
    }

    /// Sends one frame; the MAC address that it leaves with.
    fn send(&mut self, frame: &[u8]) -> Result<[u8; 6]> {
        self.sent += 1;
        let outcome = self.rig.run(frame)?;
        match outcome.action {
            3 | 4 => Ok(outcome.frame[..6].try_into()?),
            other => bail!("a frame was not forwarded: XDP action {other}"),
        }
    }

    /// Opens the flows that must survive; their further packets, with the server of each.
    fn establish(&mut self) -> Result<Vec<(Vec<u8>, [u8; 6])>> {
        (0..ESTABLISHED).map(|client| self.open(client)).collect()
    }

    fn open(&mut self, client: u32) -> Result<(Vec<u8>, [u8; 6])> {
        let server = self.send(&segment(client, tcp::SYN))?;
        let further = segment(client, tcp::ACK);
        assert_eq!(self.send(&further)?, server, "a client's second packet goes elsewhere");
        Ok((further, server))
    }

    /// One frame of each of `count` clients that differ, the same for the same turns.
    fn flood(&mut self, frame: &[u8], first: u32, count: u32) -> Result<Duration> {
        self.sent += u64::from(count);
        let program = self.rig.xdp()?.fd()?.try_clone()?;
        self.clients.play(&program, frame, MILLION.into(), first.into(), count)
    }

    /// Two datagrams of each of `count` clients.
    fn converse(&mut self, count: u32) -> Result<()> {
        for first in (0..count).step_by(WINDOW as usize) {
            for _ in 0..2 {
                self.flood(&datagram(), first, WINDOW.min(count - first))?;
            }
        }
        Ok(())
    }

    /// Frames by verdict. All that were sent have one.
    fn verdicts(&self) -> Result<BTreeMap<&'static str, u64>> {
        let all: BTreeMap<_, _> = self.rig.verdicts()?.into_iter().map(|(reason, n)| (reason.name(), n)).collect();
        assert_eq!(all.values().sum::<u64>(), self.sent, "frames without a verdict: {all:?}");
        Ok(all)
    }

    fn count(&self, reason: Reason) -> Result<u64> {
        Ok(self.verdicts()?[reason.name()])
    }

    /// The flow table, without times.
    fn flows(&self) -> Result<BTreeMap<FlowKey, (ServerId, u32, u8)>> {
        let timeless = |(key, flow): (FlowKey, Flow)| (key, (flow.server, flow.generation, flow.state));
        Ok(self.rig.flows()?.into_iter().map(timeless).collect())
    }

    fn pending(&self) -> Result<Vec<(FlowKey, Flow)>> {
        self.rig.entries("pending_flows")
    }

    fn servers(&self) -> Vec<ServerId> {
        self.control.roster().servers().collect()
    }

    /// Connections by server, as the scheduler sees them.
    fn connections(&self) -> Result<BTreeMap<ServerId, u64>> {
        self.servers().into_iter().map(|server| Ok((server, self.tables.connections(server)?))).collect()
    }

    /// Flows in the tables by server, counted one by one.
    fn recount(&self) -> Result<BTreeMap<ServerId, u64>> {
        let mut live: BTreeMap<_, _> = self.servers().into_iter().map(|server| (server, 0)).collect();
        self.tables.for_each_flow(|_, flow| *live.entry(flow.server).or_default() += 1)?;
        Ok(live)
    }

    /// Every established flow is there and goes where it went.
    fn still_served(&mut self, established: &[(Vec<u8>, [u8; 6])]) -> Result<()> {
        let before = self.count(Reason::Established)?;
        for (frame, server) in established {
            assert_eq!(&self.send(frame)?, server, "an established flow was moved");
        }
        assert_eq!(self.count(Reason::Established)? - before, established.len() as u64);
        Ok(())
    }
}

/// The control plane, told by this kernel's stand-in where the servers are.
fn control(limits: Limits) -> Result<Control> {
    let source = Source { path: "lb.yaml".to_owned(), text: CONFIGURATION.to_owned() };
    let loaded = config::load(&[source], &|_| None).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let node = lb_core::config::model::Node { limits, ..loaded.config.node };
    let config = Config { node, ..loaded.config };
    let now = Instant::now();
    let mut control = Control::new(config, Past::default(), TICK, 7, now)?;
    let link = Link { ifindex: DEVICE, device: "eth0".to_owned(), mac: Some([2, 0, 0, 0, 0, 1]), up: true, vlan: None };
    control.neighbour(neighbour::Input::Resync(vec![link]), now);
    while let Some(action) = control.poll_action() {
        let Action::Ask(question) = action else { continue };
        answer(&mut control, &question, now);
    }
    Ok(control)
}

fn answer(control: &mut Control, question: &neighbour::Action, now: Instant) {
    let input = match *question {
        neighbour::Action::AskRoute(destination) => {
            let route = RouteAnswer { ifindex: DEVICE, gateway: None, source: None };
            neighbour::Input::Route { destination, result: Ok(route) }
        }
        neighbour::Action::AskNeighbour { ifindex, address: IpAddr::V4(address) } => {
            let mac = Some([6, 0, 0, 0, 0, address.octets()[3]]);
            let (address, state) = (address.into(), NeighbourState::Reachable);
            neighbour::Input::Neighbour { ifindex, address, mac, state }
        }
        _ => return,
    };
    control.neighbour(input, now);
}

/// A packet of one of the established clients, who are not among those of a flood.
fn segment(client: u32, flags: u8) -> Vec<u8> {
    let [_, _, high, low] = client.to_be_bytes();
    PacketBuilder::tcp(([172, 20, high, low].into(), 30_000), (VIP.into(), 80), flags, &[0; 6]).build()
}

fn syn() -> Vec<u8> {
    PacketBuilder::tcp(([10, 0, 0, 1].into(), 40_000), (VIP.into(), 80), tcp::SYN, &[]).build()
}

fn datagram() -> Vec<u8> {
    PacketBuilder::udp(([10, 0, 0, 1].into(), 40_000), (VIP.into(), 80), &[0; 18]).build()
}

#[test]
fn a_flood_of_new_clients_costs_no_established_flow_and_no_memory() -> Result<()> {
    let mut balancer = Balancer::start("flood", UNLIMITED)?;
    let established = balancer.establish()?;
    let (flows, memory) = (balancer.flows()?, balancer.rig.memory()?);
    assert_eq!(flows.len(), established.len());

    for frame in [syn(), datagram()] {
        let each = balancer.flood(&frame, 0, MILLION)?;
        println!("{each:?} for each new client");
    }

    let pending = balancer.pending()?.len();
    assert!(pending <= UNLIMITED.pending_flows as usize, "{pending} pending flows");
    assert!(pending > UNLIMITED.pending_flows as usize / 2, "the flood filled nothing: {pending} pending flows");
    assert_eq!(balancer.flows()?, flows);
    balancer.still_served(&established)?;
    assert_eq!(balancer.rig.memory()?, memory);
    let new = u64::from(ESTABLISHED) + 2 * u64::from(MILLION);
    assert_eq!(balancer.count(Reason::Scheduled)?, new);
    assert_eq!(balancer.count(Reason::Pending)?, u64::from(ESTABLISHED));
    let counters: Vec<_> =
        balancer.servers().into_iter().map(|server| balancer.rig.server_counters(server)).collect::<Result<_>>()?;
    assert_eq!(counters.iter().map(|c| c.flows).sum::<u64>(), new);
    assert_eq!(counters.iter().map(|c| c.packets).sum::<u64>(), balancer.sent);
    Ok(())
}

#[test]
fn above_the_limit_new_clients_are_forwarded_without_a_record() -> Result<()> {
    let limits = Limits::default();
    let mut balancer = Balancer::start("limit", limits)?;
    let established = balancer.establish()?;
    let flows = balancer.flows()?;
    let before = (balancer.count(Reason::Scheduled)?, balancer.rig.now()?);

    balancer.flood(&syn(), 0, MILLION)?;

    let ticks = u64::from(balancer.rig.now()?.wrapping_sub(before.1)) + 1;
    let recorded = balancer.count(Reason::Scheduled)? - before.0;
    let untracked = balancer.count(Reason::Untracked)?;
    assert_eq!(recorded + untracked, u64::from(MILLION));
    let most = ticks * u64::from(limits.new_flows_per_second) * TICK.as_secs();
    assert!(recorded <= most, "{recorded} new flows were recorded in {ticks} ticks, more than {most}");
    assert!(untracked > 0, "a million clients in {ticks} ticks are no flood");
    println!("{recorded} recorded, {untracked} not, within {ticks} ticks");
    assert_eq!(balancer.flows()?, flows);
    balancer.still_served(&established)
}

#[test]
fn a_sweep_removes_exactly_the_idle_flows() -> Result<()> {
    const TALKING: u32 = 30 * WINDOW;
    let mut balancer = Balancer::start("sweep", UNLIMITED)?;
    let established = balancer.establish()?;
    balancer.converse(TALKING)?;
    let now = balancer.rig.now()?;
    let mut flows = balancer.rig.flows()?;
    assert_eq!(flows.len(), (TALKING + ESTABLISHED) as usize);
    // A third has been quiet for as long as is allowed, a third for a tick longer.
    let roster = balancer.control.roster();
    for (number, (key, flow)) in flows.iter_mut().enumerate().filter(|(_, (key, _))| key.protocol == protocol::UDP) {
        let allowed = roster.flow_timeout(key, flow);
        flow.last_seen = match number % 3 {
            0 => now.wrapping_sub(allowed),
            1 => now.wrapping_sub(allowed + 1),
            _ => now,
        };
    }
    let (keys, entries): (Vec<_>, Vec<_>) = flows.iter().copied().unzip();
    balancer.rig.table("flows")?.set_many(&keys, &entries)?;
    let is_idle = |number: usize, key: &FlowKey| key.protocol == protocol::UDP && number % 3 == 1;
    let expected: Vec<_> =
        flows.iter().enumerate().filter(|(number, (key, _))| !is_idle(*number, key)).map(|(_, flow)| *flow).collect();

    let begin = Instant::now();
    let swept = balancer.tables.sweep(&roster, now)?;
    let time = begin.elapsed();

    println!("{:?} for a million flows", time * 1_000_000 / (TALKING + ESTABLISHED));
    assert_eq!(swept.flows_removed, (flows.len() - expected.len()) as u64);
    assert_eq!(balancer.rig.flows()?, expected);
    assert_eq!(balancer.connections()?, balancer.recount()?);
    balancer.still_served(&established)
}

#[test]
fn connection_counts_are_right_after_every_sweep_of_any_flood() -> Result<()> {
    const TALKING: u32 = 4 * WINDOW;
    let mut balancer = Balancer::start("drift", UNLIMITED)?;
    let established = balancer.establish()?;
    let roster = balancer.control.roster();
    for _ in 0..3 {
        // Most of these are pushed out before anybody counts them.
        balancer.flood(&syn(), 0, MILLION)?;
        balancer.converse(TALKING)?;
        let now = balancer.rig.now()?;
        let swept = balancer.tables.sweep(&roster, now)?;
        assert_eq!(balancer.connections()?, balancer.recount()?);
        let half_open = swept.counts.half_open.values().sum::<u64>();
        assert_eq!(half_open, balancer.pending()?.len() as u64, "a flood is seen by its half-open flows");
        assert!(half_open > 0, "nobody is left of a million");

        // As if all had been quiet for an hour: what is left is what was established.
        let swept = balancer.tables.sweep(&roster, now.wrapping_add(3600))?;
        assert_eq!(swept.entries[..2], [u64::from(ESTABLISHED), 0]);
        assert_eq!(balancer.connections()?, balancer.recount()?);
        assert_eq!(balancer.connections()?.values().sum::<u64>(), u64::from(ESTABLISHED));
    }
    balancer.still_served(&established)
}

#[test]
fn under_pressure_a_sweep_forgets_half_open_flows_early_and_no_others() -> Result<()> {
    let mut balancer = Balancer::start("pressed", UNLIMITED)?;
    let established = balancer.establish()?;
    balancer.flood(&syn(), 0, WINDOW)?;
    let (flows, pending, now) = (balancer.flows()?, balancer.pending()?.len(), balancer.rig.now()?);
    assert_eq!(pending, WINDOW as usize);
    let roster = balancer.control.roster();
    let in_a_while = now.wrapping_add(5);

    balancer.tables.sweep(&roster, in_a_while)?;
    assert_eq!(balancer.pending()?.len(), pending, "there is time to answer");
    let swept = balancer.tables.sweep(&roster.pressed(), in_a_while)?;

    assert_eq!((swept.flows_removed, swept.counts.half_open.len()), (u64::from(WINDOW), 0));
    assert_eq!((balancer.pending()?.len(), balancer.flows()?), (0, flows));
    balancer.still_served(&established)
}

#[test]
fn a_full_flow_table_turns_nobody_away() -> Result<()> {
    const ROOM: u32 = 6_000;
    const CLIENTS: u32 = 10_000;
    let mut balancer = Balancer::start("full", Limits { flows: ESTABLISHED + ROOM, ..UNLIMITED })?;
    let established = balancer.establish()?;
    balancer.converse(CLIENTS)?;
    let flows = balancer.flows()?;
    assert_eq!(flows.len(), (ESTABLISHED + ROOM) as usize);
    let left_out = u64::from(CLIENTS - ROOM);
    assert_eq!(balancer.count(Reason::FlowTableFull)?, left_out);
    assert_eq!(balancer.pending()?.len() as u64, left_out);

    let (further, server) = balancer.open(ESTABLISHED)?;
    for _ in 0..3 {
        assert_eq!(balancer.send(&further)?, server, "a flow without room was moved");
    }
    balancer.flood(&datagram(), 0, CLIENTS)?;

    assert_eq!(balancer.count(Reason::FlowTableFull)?, 2 * left_out + 4);
    assert_eq!(balancer.count(Reason::Established)?, u64::from(ROOM));
    assert_eq!(balancer.flows()?, flows);
    assert_eq!(balancer.pending()?.len() as u64, left_out + 1);
    balancer.still_served(&established).context("in the full table")
}
