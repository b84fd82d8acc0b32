//! What a new flow of `l4-snat` costs two CPUs that share one pool of source ports, by how much of it is in
//! use, and how many find none. Each CPU opens a few flows at the same moment; then they are forgotten, so
//! that the pool stays as full as it was.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use aya::programs::ProgramFd;
use lb_common::abi::{Address, Flow, FlowKey, PORT_WORDS, Reply, Server};
use lb_common::datapath::replies;
use lb_common::wire::tcp;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::peers::{VIP, varied_flow};
use lb_datapath_tests::replay::{self, Replay};
use lb_userspace::dataplane::Table;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::rows::ENDLESS;
use super::translated::{Mode, from_client, one};
use crate::progress;

/// Percent of the pool.
const LEVELS: [u32; 4] = [25, 74, 93, 99];

/// Ports of the pool: from 1024 to 32767.
const PORTS: u32 = 32_768 - 1024;

/// Flows that each CPU opens at a time: together one percent of the pool, half of it before the level and
/// half beyond.
const BATCH: u32 = PORTS / 200;

/// Batches at each level in each round.
const BATCHES: u32 = 24;

/// Of the only real server, for TCP.
const POOL: u32 = 64;

const CPUS: usize = 2;

/// What came out at one level.
#[derive(Default)]
pub(super) struct Level {
    percent: u32,
    /// Nanoseconds of a new flow, by batch and CPU.
    times: Vec<f64>,
    opened: u32,
    failed: u32,
}

impl Level {
    fn cost(&self) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn failures(&self) -> f64 {
        100.0 * f64::from(self.failed) / f64::from((self.opened + self.failed).max(1))
    }
}

/// The pool and what opens flows.
struct Pool {
    /// What keeps the tables.
    _rig: Rig,
    program: ProgramFd,
    replays: Vec<Replay>,
    flows: Table<FlowKey, Flow>,
    replies: Table<FlowKey, Reply>,
    ports: Table<u32, u64>,
    server: Server,
    source: Address,
    used: u32,
}

/// Measures all levels, `rounds` times.
pub(super) fn measure(rounds: u32) -> Result<Vec<Level>> {
    let mut levels: Vec<_> = LEVELS.iter().map(|&percent| Level { percent, ..Level::default() }).collect();
    for round in 1..=rounds {
        let mut pool = Pool::new(round)?;
        for level in &mut levels {
            progress(&format!("round {round} of {rounds}: pool at {} %", level.percent));
            pool.fill(PORTS * level.percent / 100 - BATCH)?;
            for _ in 0..BATCHES {
                pool.batch(level)?;
            }
        }
    }
    progress("");
    Ok(levels)
}

impl Pool {
    fn new(round: u32) -> Result<Self> {
        let tables = one(Mode::SourceNat, 1);
        let mut rig = Rig::load(&format!("bench-pool{round}"), Limits::default())?;
        rig.fill(&tables)?;
        let program = rig.xdp()?.fd()?.try_clone()?;
        // Clients of each CPU, and of each round: none comes twice.
        let first = |cpu: usize| u64::from(round * 2) << 18 | u64::from(cpu > 0) << 18;
        let replays = (0..CPUS).map(|cpu| Ok(Replay::load()?.from_turn(first(cpu)))).collect::<Result<_>>()?;
        Ok(Self {
            flows: rig.table("flows")?,
            replies: rig.table("replies")?,
            ports: rig.table("source_ports")?,
            program,
            replays,
            server: *tables.servers.get(&1).context("no server")?,
            source: *tables.sources.get(&1).context("no source address")?,
            _rig: rig,
            used: 0,
        })
    }

    /// Opens flows until so many ports are in use. Near the end some find none.
    fn fill(&mut self, ports: u32) -> Result<()> {
        let frame = from_client(80, tcp::SYN);
        for _ in 0..64 {
            let missing = ports.saturating_sub(self.used);
            if missing == 0 {
                return Ok(());
            }
            self.replays[0].play(replay::CLIENTS, &self.program, &frame, ENDLESS, missing)?;
            self.used = self.in_use()?;
        }
        Err(anyhow!("only {} of {ports} ports could be brought to use", self.used))
    }

    fn words() -> Vec<u32> {
        (POOL * PORT_WORDS..(POOL + 1) * PORT_WORDS).collect()
    }

    fn bits(&self) -> Result<Vec<u64>> {
        Ok(self.ports.places(POOL * PORT_WORDS..(POOL + 1) * PORT_WORDS)?)
    }

    fn in_use(&self) -> Result<u32> {
        Ok(self.bits()?.iter().map(|word| word.count_ones()).sum())
    }

    /// A few flows on each CPU at once, forgotten afterwards.
    fn batch(&mut self, level: &mut Level) -> Result<()> {
        let bits = self.bits()?;
        let clients: Vec<u32> = self.replays.iter().flat_map(|replay| replay.upcoming(ENDLESS, BATCH)).collect();
        level.times.extend(together(&mut self.replays, &self.program)?);
        let before = level.opened;
        for client in clients {
            let key = varied_flow(client, VIP, 80);
            let Some(flow) = self.flows.get(&key)? else {
                level.failed += 1;
                continue;
            };
            let replies = replies(&key, &self.server, Some((&self.source, flow.source_port)));
            ensure!(self.flows.remove(&key)? && self.replies.remove(&replies)?, "a flow without replies");
            level.opened += 1;
        }
        let claimed = self.in_use()? - self.used;
        ensure!(claimed == level.opened - before, "{} flows have {claimed} ports", level.opened - before);
        Ok(self.ports.set_many(&Self::words(), &bits)?)
    }
}

/// The time of a new flow on each CPU while the other opens some too.
fn together(replays: &mut [Replay], program: &ProgramFd) -> Result<Vec<f64>> {
    let waiting = AtomicUsize::new(replays.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(replays)
            .map(|(cpu, replay)| {
                let waiting = &waiting;
                scope.spawn(move || {
                    let mut cpus = CpuSet::new();
                    cpus.set(cpu)?;
                    let placed = sched_setaffinity(Pid::from_raw(0), &cpus);
                    let frame = from_client(80, tcp::SYN);
                    // Awake, so that both begin at once.
                    waiting.fetch_sub(1, Ordering::AcqRel);
                    while waiting.load(Ordering::Acquire) > 0 {
                        std::hint::spin_loop();
                    }
                    placed.context("moving to a CPU")?;
                    let time = replay.play(replay::CLIENTS, program, &frame, ENDLESS, BATCH)?;
                    Ok::<_, anyhow::Error>(time.as_secs_f64() * 1e9)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread has failed"))?).collect()
    })
}

/// The figures, for people.
pub(super) fn print(levels: &[Level]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let first = levels.first().map_or(f64::NAN, Level::cost);
    writeln!(out, "\nnew flow of l4-snat, two CPUs on one pool of {PORTS} ports")?;
    writeln!(out, "{:>7}  {:>8}  {:>6}  {:>12}", "in use", "ns", "ratio", "without port")?;
    for level in levels {
        let ratio = level.cost() / first;
        write!(out, "{:>5} %  {:>8.0}  {ratio:>6.2}  {:>10.2} %", level.percent, level.cost(), level.failures())?;
        let missed = if level.failed > 0 || ratio > 2.0 { "  (missed)" } else { "" };
        writeln!(out, "{}", if level.percent == 93 { format!("  none, <= 2{missed}") } else { String::new() })?;
    }
    Ok(())
}

/// The same, for programs.
pub(super) fn json(levels: &[Level]) -> serde_json::Value {
    let level = |level: &Level| serde_json::json!({"percent": level.percent, "nanoseconds": level.cost(), "failures": level.failures() / 100.0});
    levels.iter().map(level).collect()
}
