//! The loaded datapath under test: the program of `lb-ebpf` in the kernel, over tables of its own
//! that are filled from [`MemTables`], fed with frames by `BPF_PROG_TEST_RUN`.
//!
//! Needs root. Everything is pinned in a directory of its own and gone when the [`Rig`] is dropped.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use aya::{TestRun, TestRunOptions};
use lb_common::abi::{
    Address, Explanation, Flow, FlowKey, Opened, Persistence, PersistenceKey, PortRanges, PortRangesKey, Server,
    ServerCounters, Service, ServicePortKey, Settings, Ticks, TraceFilter, VerdictCounters,
};
use lb_common::datapath::Reason;
use lb_common::testing::MemTables;
use lb_core::config::model::Limits;
use lb_userspace::dataplane::{Clock, Options, Program, Table, Tables, Trace, program};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, Uid};

pub mod balancer;
pub mod frames;
pub mod live;
pub mod peers;
pub mod replay;

/// The loaded program and its tables.
pub struct Rig {
    program: Program,
    clock: Clock,
    /// Bits of the daemon's clock below a tick of this one.
    slower: u8,
    pins: PathBuf,
    options: Options,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `enum xdp_action` of linux/bpf.h.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl Rig {
    /// Loads the program over empty tables; `name` keeps rigs apart.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses the program.
    pub fn load(name: &str, limits: Limits) -> Result<Self> {
        Self::load_slow(name, limits, 0)
    }

    /// The same with ticks that are longer by so many powers of two.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_slow(name: &str, limits: Limits, slower: u8) -> Result<Self> {
        ensure!(Uid::effective().is_root(), "this needs root: it loads a program into the kernel");
        pin_to_one_cpu()?;
        remove_orphans();
        let pins = PathBuf::from(format!("{PREFIX}{name}-{}", std::process::id()));
        let clock = Clock::start()?;
        let options = Options { pins: pins.clone(), limits, tick_shift: clock.shift() + slower, log_verdicts: false };
        let program = Program::load(&options)?;
        Ok(Self { program, clock, slower, pins, options })
    }

    /// The traced program over the same tables, attached to nothing, and what it tells of.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn trace(&self, filter: &TraceFilter) -> Result<(Program, Trace)> {
        Ok(Trace::load(&self.options, filter)?)
    }

    /// Where everything is pinned.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// A table by its name.
    ///
    /// # Errors
    /// When it is not there or has other types.
    pub fn table<K: lb_common::abi::Plain + Default, V: lb_common::abi::Plain + Default>(
        &self,
        name: &str,
    ) -> Result<Table<K, V>> {
        Ok(Table::open(&self.pins, name)?)
    }

    /// The tables as the daemon has them.
    ///
    /// # Errors
    /// Never with an object of this version.
    pub fn tables(&self) -> Result<Tables> {
        Ok(Tables::open(&self.pins)?)
    }

    /// Bytes that each table takes in the kernel.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn memory(&self) -> Result<Vec<(&'static str, u64)>> {
        let memory = |name| {
            let map = MapData::from_pin(self.pins.join(name)).with_context(|| format!("opening {name}"))?;
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
            let bytes = info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
            Ok((name, bytes.context("no memlock in fdinfo")?))
        };
        program::TABLES.into_iter().map(memory).collect()
    }

    /// Writes what the daemon would have written.
    ///
    /// # Errors
    /// When the kernel refuses an entry.
    pub fn fill(&self, tables: &MemTables) -> Result<()> {
        self.table::<u32, Settings>("settings")?.set(&0, &tables.settings)?;
        fill(&self.table::<u32, Server>("servers")?, tables.servers.iter())?;
        fill(&self.table::<u32, u64>("schedule")?, tables.schedule.iter())?;
        fill(&self.table::<u32, Service>("services")?, tables.services.iter())?;
        fill(&self.table::<ServicePortKey, u32>("service_ports")?, tables.service_ports.iter())?;
        fill(&self.table::<PortRangesKey, PortRanges>("port_ranges")?, tables.port_ranges.iter())?;
        fill(&self.table::<u32, u64>("closed")?, tables.closed.iter())?;
        fill(&self.table::<u32, u64>("reply_filter")?, tables.reply_filter.iter())?;
        fill(&self.table::<u32, Address>("sources")?, tables.sources.iter())?;
        fill(&self.table::<u32, u64>("vip_filter")?, tables.vip_filter.iter())
    }

    /// Now, as the program notes it.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn now(&mut self) -> Result<Ticks> {
        Ok(self.clock.now()? >> self.slower)
    }

    /// Now, once enough of the tick is left that nothing that follows at once falls into the next one.
    ///
    /// # Errors
    /// As [`Self::now`].
    pub fn steady_now(&mut self) -> Result<Ticks> {
        let last = (1 << self.slower) - 1;
        while self.clock.now()? & last == last {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.now()
    }

    /// Runs the program over one frame.
    ///
    /// # Errors
    /// When the kernel refuses the frame: shorter than an Ethernet header, longer than a page.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.program.xdp()?.test_run(options).context("running the program over a frame")?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { action: result.return_value, frame: out })
    }

    /// What would become of a frame, and why.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn explain(&mut self, frame: &[u8]) -> Result<Explanation> {
        Ok(self.program.explain(frame)?)
    }

    /// The program that explains, loaded.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn explainer(&mut self) -> Result<&mut aya::programs::Xdp> {
        Ok(self.program.explainer()?.0)
    }

    /// Runs the program `repeat` times over one frame; the time of one run.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn time(&mut self, frame: &[u8], repeat: u32) -> Result<Duration> {
        time(self.program.xdp()?, frame, repeat)
    }

    /// The program itself.
    ///
    /// # Errors
    /// Never with an object of this version.
    pub fn xdp(&mut self) -> Result<&mut aya::programs::Xdp> {
        Ok(self.program.xdp()?)
    }

    /// Frames by verdict, over all CPUs.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn verdicts(&self) -> Result<Vec<(Reason, u64)>> {
        let table = self.table::<u32, VerdictCounters>("verdicts")?;
        Reason::ALL
            .iter()
            .map(|&reason| {
                let counters = table.get_all(&u32::from(reason as u8))?.unwrap_or_default();
                Ok((reason, counters.iter().map(|c| c.packets).sum()))
            })
            .collect()
    }

    /// Traffic to a server, over all CPUs.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn server_counters(&self, server: u32) -> Result<ServerCounters> {
        let all = self.table::<u32, ServerCounters>("server_counters")?.get_all(&server)?.unwrap_or_default();
        Ok(all.iter().fold(ServerCounters::default(), |sum, c| ServerCounters {
            packets: sum.packets + c.packets,
            bytes: sum.bytes + c.bytes,
            flows: sum.flows + c.flows,
            reply_packets: sum.reply_packets + c.reply_packets,
            reply_bytes: sum.reply_bytes + c.reply_bytes,
        }))
    }

    /// All entries of a hash table, sorted by key.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn entries<K, V>(&self, name: &str) -> Result<Vec<(K, V)>>
    where
        K: lb_common::abi::Plain + Default + Ord,
        V: lb_common::abi::Plain + Default,
    {
        let mut all = Vec::new();
        self.table::<K, V>(name)?.walk(|keys, values| {
            all.extend(keys.iter().copied().zip(values.iter().copied()));
            true
        })?;
        all.sort_by_key(|(key, _)| *key);
        Ok(all)
    }

    /// The flow table.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn flows(&self) -> Result<Vec<(FlowKey, Flow)>> {
        self.entries("flows")
    }

    /// The persistence table.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn persistence(&self) -> Result<Vec<(PersistenceKey, Persistence)>> {
        self.entries("persistence")
    }

    /// Flows opened to a server.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn opened(&self, server: u32) -> Result<Opened> {
        Ok(self.table::<u32, Opened>("opened")?.get(&server)?.unwrap_or_default())
    }
}

/// What the directories of all rigs begin with; they end in the number of the process.
const PREFIX: &str = "/sys/fs/bpf/lb-rig-";

/// Removes what killed processes have left: hundreds of megabytes of kernel memory each.
fn remove_orphans() {
    let Ok(entries) = std::fs::read_dir("/sys/fs/bpf") else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.to_str().and_then(|path| path.strip_prefix(PREFIX)) else { continue };
        let Some(process) = name.rsplit('-').next().and_then(|last| last.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{process}")).exists() {
            // Another process may be at it too.
            let _ = program::remove(&path);
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Err(error) = program::remove(&self.pins) {
            eprintln!("cannot clean up: {error}");
        }
    }
}

/// Runs a program `repeat` times over one frame; the time of one run.
///
/// # Errors
/// When the kernel refuses the frame.
pub fn time(program: &mut aya::programs::Xdp, frame: &[u8], repeat: u32) -> Result<Duration> {
    let mut out = vec![0; frame.len() + 64];
    let options =
        TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), repeat, ..TestRunOptions::default() };
    Ok(program.test_run(options).context("timing the program")?.duration)
}

/// Counters per CPU are compared and tables of this thread's CPU are warm only if it stays there.
fn pin_to_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one CPU")
}

fn fill<'e, K, V>(table: &Table<K, V>, entries: impl Iterator<Item = (&'e K, &'e V)>) -> Result<()>
where
    K: lb_common::abi::Plain + Default,
    V: lb_common::abi::Plain + Default,
{
    let (keys, values): (Vec<K>, Vec<V>) = entries.map(|(key, value)| (*key, *value)).unzip();
    Ok(table.set_many(&keys, &values)?)
}
