//! Frames a second over virtual links, beside what else the kernel can forward with.
//!
//! In: how many flows, of which protocol, on one CPU or two. Out: frames that reached the real
//! servers. All ways of forwarding stand at the same time, each in a namespace of its own, and take
//! turns; what differs between them is the balancer alone.

pub mod lane;
pub mod netns;
mod nftables;
mod thread;
pub mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use lane::{Kind, Lane, SERVERS};
use netns::Namespace;
pub use thread::cpu_time_is_whole;
use thread::hurry;
pub use traffic::{Flows, Generator, Sink};

/// The whole set-up.
pub struct Live {
    lanes: Vec<Lane>,
    missing: Vec<(Kind, String)>,
    generator: Generator,
    sink: Sink,
    clients: Namespace,
    _servers: Namespace,
}

/// Flows are opened one after the other and then used in another order, as no cache likes it.
const STRIDE: u32 = 7919;

/// Frames sent before a measurement.
const WARM_UP: u32 = 1 << 17;

/// Rounds over all flows in which the balancer gets to know them.
const INTRODUCTIONS: u32 = 6;

impl Live {
    /// Builds it. A way of forwarding that the kernel lacks is left out and named by
    /// [`Self::missing`]; the datapath and its peer must be there.
    ///
    /// # Errors
    /// Without root, or when something is refused.
    pub fn build() -> Result<Self> {
        hurry(nix::unistd::getpid())?;
        let (clients, servers) = (Namespace::new()?, Namespace::new()?);
        let (generator, mut sink) = (Generator::load()?, Sink::load()?);
        let (mut lanes, mut missing) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            match Lane::build(kind, &clients, &servers, &mut sink) {
                Ok(lane) => lanes.push(lane),
                Err(error) if kind == Kind::Flowtable => missing.push((kind, format!("{error:#}"))),
                Err(error) => return Err(error).with_context(|| format!("building: {}", kind.name())),
            }
        }
        Ok(Self { lanes, missing, generator, sink, clients, _servers: servers })
    }

    /// The ways of forwarding that stand.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Those that this kernel lacks, and what it said.
    #[must_use]
    pub fn missing(&self) -> &[(Kind, String)] {
        &self.missing
    }

    /// Gives every balancer a CPU of its own, or the one that sends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn own_cpu(&mut self, own: bool) -> Result<()> {
        self.lanes.iter_mut().try_for_each(|lane| lane.own_cpu(own))
    }

    /// Opens the flows at a balancer: clients send and servers answer until all are known, which is
    /// checked, as is that every server has its share and no frame was lost.
    ///
    /// # Errors
    /// When the balancer does not forward as it should.
    pub fn introduce(&mut self, lane: usize, flows: Flows) -> Result<()> {
        traffic::check_stride(STRIDE, flows.count)?;
        let what = self.lanes[lane].describe(flows);
        let expected = self.lanes[lane].expect(flows);
        self.sink.answer(!self.lanes[lane].kind().is_ours())?;
        for _ in 0..INTRODUCTIONS {
            self.send(lane, flows, 1, flows.count)?;
            if self.lanes[lane].known_flows()?.is_some_and(|known| known >= expected) {
                break;
            }
        }
        self.sink.answer(false)?;
        if let Some(known) = self.lanes[lane].known_flows()? {
            ensure!(known == expected, "{what}: the balancer knows {known} flows, not {expected}");
        }
        self.check(lane, flows).context(what)
    }

    /// Every frame arrives, at the servers by turns.
    fn check(&mut self, lane: usize, flows: Flows) -> Result<()> {
        let arrived = self.send(lane, flows, STRIDE, flows.count)?;
        let total: u64 = arrived.iter().sum();
        ensure!(total == u64::from(flows.count), "{total} of {} frames arrived: {arrived:?}", flows.count);
        if self.lanes[lane].kind() == Kind::Bridge {
            return Ok(());
        }
        let fair = total / SERVERS as u64;
        for share in &arrived[..SERVERS] {
            ensure!(share.abs_diff(fair) <= fair / 10, "the servers' shares differ: {arrived:?}");
        }
        Ok(())
    }

    /// Sends and says what arrived.
    fn send(&mut self, lane: usize, flows: Flows, stride: u32, frames: u32) -> Result<[u64; 8]> {
        let before = self.sink.arrived()?;
        let lane = &self.lanes[lane];
        self.generator.prepare(flows, stride, lane.destination(), lane.client_ifindex)?;
        self.clients.within(|| self.generator.send(frames))?;
        let mut arrived = self.sink.arrived()?;
        arrived.iter_mut().zip(before).for_each(|(now, before)| *now -= before);
        Ok(arrived)
    }

    /// Frames that reach the servers in about `duration`, after a first go that tells how many to
    /// send.
    ///
    /// # Errors
    /// When the kernel refuses, or nothing arrives.
    pub fn measure(&mut self, lane: usize, flows: Flows, duration: Duration) -> Result<Measured> {
        let first = self.flood(lane, flows, WARM_UP)?;
        let goes = duration.as_secs_f64() / first.time.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within its bounds")]
        let frames = (goes * f64::from(WARM_UP)).clamp(f64::from(WARM_UP), 1e8) as u32;
        let measured = self.flood(lane, flows, frames)?;
        ensure!(measured.frames > 0, "{}: nothing arrived", self.lanes[lane].describe(flows));
        Ok(measured)
    }

    /// Sends so many in one go: at the end of each the kernel waits some milliseconds until nobody
    /// uses the frames' memory any more.
    fn flood(&mut self, lane: usize, flows: Flows, frames: u32) -> Result<Measured> {
        let lane = &self.lanes[lane];
        self.generator.prepare(flows, STRIDE, lane.destination(), lane.client_ifindex)?;
        let before: u64 = self.sink.arrived()?.iter().sum();
        let (begin, cpu_before) = (Instant::now(), lane.cpu_time()?);
        self.clients.within(|| self.generator.send(frames))?;
        let (time, cpu) = (begin.elapsed(), lane.cpu_time()? - cpu_before);
        let after: u64 = self.sink.arrived()?.iter().sum();
        Ok(Measured { frames: after - before, time, cpu })
    }
}

/// What came through.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Frames that reached the servers.
    pub frames: u64,
    /// How long it took.
    pub time: Duration,
    /// How long the thread in which the balancer works has had a CPU: all of it on one CPU, with a
    /// CPU of its own the balancer's part alone. What other programs take is not in it.
    pub cpu: Duration,
}

impl Measured {
    /// Frames a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.per(self.time)
    }

    /// Frames a second of CPU time.
    #[must_use]
    pub fn cpu_rate(&self) -> f64 {
        self.per(self.cpu)
    }

    #[expect(clippy::cast_precision_loss, reason = "some million frames")]
    fn per(&self, time: Duration) -> f64 {
        self.frames as f64 / time.as_secs_f64()
    }
}
