//! A balancer as the daemon sets it up: the loaded program, over tables that the control plane wrote
//! and the sweep cleans; and floods of clients that do not exist.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_common::abi::{Flow, FlowKey, ServerId};
use lb_common::datapath::Reason;
use lb_common::testing::{DEVICE, PacketBuilder};
use lb_common::wire::tcp;
use lb_core::config::model::{Config, Limits};
use lb_core::config::{self, Source};
use lb_core::control::{Action, Control, Past};
use lb_core::neighbour::{self, Link, NeighbourState, RouteAnswer};
use lb_userspace::dataplane::Tables;

use crate::Rig;
use crate::peers::{Clients, VIP};

/// Clients of a flood; a power of two, as [`Clients`] plays them.
pub const MILLION: u32 = 1 << 20;

/// Clients that are opened before the first of them sends again: much less than are kept pending.
pub const WINDOW: u32 = 1 << 15;

/// A tick as the control plane takes it.
pub const TICK: Duration = Duration::from_secs(1);

/// The address by which the balancer reaches its servers.
pub const SOURCE: [u8; 4] = [192, 168, 94, 1];

/// A balancer as the daemon sets it up, and what it was sent.
pub struct Balancer {
    /// The program and its tables.
    pub rig: Rig,
    /// The tables as the daemon has them.
    pub tables: Tables,
    /// The control plane.
    pub control: Control,
    /// Who sends the floods.
    pub clients: Clients,
    /// Frames sent.
    pub sent: u64,
}

impl Balancer {
    /// With this configuration, whose servers are all reached by one interface.
    ///
    /// # Errors
    /// When the configuration is wrong, or the kernel refuses.
    pub fn start(name: &str, configuration: &str, limits: Limits) -> Result<Self> {
        let rig = Rig::load(name, limits)?;
        let tables = rig.tables()?;
        let mut control = control(configuration, limits)?;
        for operation in control.plan()? {
            tables.write(&operation)?;
            control.applied(&operation);
        }
        control.settled();
        Ok(Self { rig, tables, control, clients: Clients::load()?, sent: 0 })
    }

    /// Sends one frame; the MAC address that it leaves with.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send(&mut self, frame: &[u8]) -> Result<[u8; 6]> {
        self.sent += 1;
        let outcome = self.rig.run(frame)?;
        match outcome.action {
            3 | 4 => Ok(outcome.frame[..6].try_into()?),
            other => bail!("a frame was not forwarded: XDP action {other}"),
        }
    }

    /// One frame of each of `count` clients that differ, the same for the same turns.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flood(&mut self, frame: &[u8], first: u32, count: u32) -> Result<Duration> {
        self.sent += u64::from(count);
        let program = self.rig.xdp()?.fd()?.try_clone()?;
        self.clients.play(&program, frame, MILLION.into(), first.into(), count)
    }

    /// Frames by verdict. All that were sent have one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn verdicts(&self) -> Result<BTreeMap<&'static str, u64>> {
        let all: BTreeMap<_, _> = self.rig.verdicts()?.into_iter().map(|(reason, n)| (reason.name(), n)).collect();
        assert_eq!(all.values().sum::<u64>(), self.sent, "frames without a verdict: {all:?}");
        Ok(all)
    }

    /// Frames with this verdict.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn count(&self, reason: Reason) -> Result<u64> {
        Ok(self.verdicts()?[reason.name()])
    }

    /// The flow table, without times.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flows(&self) -> Result<BTreeMap<FlowKey, (ServerId, u32, u8)>> {
        let timeless = |(key, flow): (FlowKey, Flow)| (key, (flow.server, flow.generation, flow.state));
        Ok(self.rig.flows()?.into_iter().map(timeless).collect())
    }

    /// Numbers of the real servers.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerId> {
        self.control.roster().servers().collect()
    }

    /// Connections by server, as the scheduler sees them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn connections(&self) -> Result<BTreeMap<ServerId, u64>> {
        self.servers().into_iter().map(|server| Ok((server, self.tables.connections(server)?))).collect()
    }

    /// Opens the flows that must survive; their further packets, with the server of each.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn establish(&mut self, count: u32) -> Result<Vec<(Vec<u8>, [u8; 6])>> {
        (0..count).map(|client| self.open(client)).collect()
    }

    /// Opens the flow of one of them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(&mut self, client: u32) -> Result<(Vec<u8>, [u8; 6])> {
        let server = self.send(&segment(client, tcp::SYN))?;
        let further = segment(client, tcp::ACK);
        assert_eq!(self.send(&further)?, server, "a client's second packet goes elsewhere");
        Ok((further, server))
    }

    /// Two datagrams of each of `count` clients.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn converse(&mut self, count: u32) -> Result<()> {
        for first in (0..count).step_by(WINDOW as usize) {
            for _ in 0..2 {
                self.flood(&datagram(), first, WINDOW.min(count - first))?;
            }
        }
        Ok(())
    }

    /// Every established flow is there and goes where it went.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn still_served(&mut self, established: &[(Vec<u8>, [u8; 6])]) -> Result<()> {
        let before = self.count(Reason::Established)?;
        for (frame, server) in established {
            assert_eq!(&self.send(frame)?, server, "an established flow was moved");
        }
        assert_eq!(self.count(Reason::Established)? - before, established.len() as u64);
        Ok(())
    }

    /// The table of pending flows.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pending(&self) -> Result<Vec<(FlowKey, Flow)>> {
        self.rig.entries("pending_flows")
    }

    /// Flows in the tables by server, counted one by one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn recount(&self) -> Result<BTreeMap<ServerId, u64>> {
        let mut live: BTreeMap<_, _> = self.servers().into_iter().map(|server| (server, 0)).collect();
        self.tables.for_each_flow(|_, flow| *live.entry(flow.server).or_default() += 1)?;
        Ok(live)
    }
}

/// The control plane, told by this kernel's stand-in where the servers are.
fn control(configuration: &str, limits: Limits) -> Result<Control> {
    let source = Source { path: "lb.yaml".to_owned(), text: configuration.to_owned() };
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
            let route = RouteAnswer { ifindex: DEVICE, gateway: None, source: Some(SOURCE.into()) };
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
#[must_use]
pub fn segment(client: u32, flags: u8) -> Vec<u8> {
    let [_, _, high, low] = client.to_be_bytes();
    PacketBuilder::tcp(([172, 20, high, low].into(), 30_000), (VIP.into(), 80), flags, &[0; 6]).build()
}

/// The first packet of a client of a flood, over TCP.
#[must_use]
pub fn syn() -> Vec<u8> {
    PacketBuilder::tcp(([10, 0, 0, 1].into(), 40_000), (VIP.into(), 80), tcp::SYN, &[]).build()
}

/// The same over UDP.
#[must_use]
pub fn datagram() -> Vec<u8> {
    PacketBuilder::udp(([10, 0, 0, 1].into(), 40_000), (VIP.into(), 80), &[0; 18]).build()
}
