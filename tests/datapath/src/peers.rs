//! The programs that the datapath is measured against, from the object `bench.o`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{Address, Flow, FlowKey, FlowState, Plain, Reply, ServerId, ServiceId};
use lb_common::wire::protocol;
use lb_userspace::dataplane::Table;

use crate::replay::Replay;
use crate::time;

/// The VIP of the bench.
pub const VIP: [u8; 4] = [192, 168, 94, 110];

/// Entries of the large tables.
pub const MILLION: u32 = 1 << 20;

/// The floor and the bare tables.
pub struct Peers {
    object: Ebpf,
    clients: Clients,
    replay: Replay,
    /// What `bare_inserts` fills.
    new: (Table<FlowKey, Flow>, Table<FlowKey, Reply>),
}

impl Peers {
    /// Loads them.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let mut object = load(&mut EbpfLoader::new())?;
        for name in PROGRAMS {
            program(&mut object, name)?.load()?;
        }
        let (keys, flows) = million(0);
        table::<FlowKey, Flow>(&object, "million")?.set_many(&keys, &flows)?;
        table::<FlowKey, Flow>(&object, "bare_flows")?.set_many(&keys, &flows)?;
        let replies: Vec<_> = keys.iter().map(|key| answered(key, SERVER)).collect();
        table::<FlowKey, Reply>(&object, "bare_replies")?.set_many(&replies, &vec![Reply::default(); replies.len()])?;
        let new = (table(&object, "new_flows")?, table(&object, "new_replies")?);
        Ok(Self { object, clients: Clients::load()?, replay: Replay::load()?, new })
    }

    /// Times one of the programs on a frame that is written anew each time, by a program of [`Replay`].
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn time_replayed(&mut self, name: &str, by: &str, frame: &[u8], clients: u64, repeat: u32) -> Result<Duration> {
        let target = program(&mut self.object, name)?.fd()?.try_clone()?;
        self.replay.play(by, &target, frame, clients, repeat)
    }

    /// The same for another program.
    pub fn replay(&mut self) -> &mut Replay {
        &mut self.replay
    }

    /// Forgets what `bare_inserts` has inserted: how many flows, and how many replies.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget_new(&self) -> Result<(usize, usize)> {
        Ok((empty(&self.new.0)?, empty(&self.new.1)?))
    }

    /// Times one of the programs on one frame.
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn time(&mut self, name: &str, frame: &[u8], repeat: u32) -> Result<Duration> {
        time(program(&mut self.object, name)?, frame, repeat)
    }

    /// Times one of the programs with a frame of another client each time.
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn time_varied(&mut self, name: &str, frame: &[u8], clients: u64, repeat: u32) -> Result<Duration> {
        let fd = program(&mut self.object, name)?.fd()?.try_clone()?;
        self.clients.time(&fd, frame, clients, repeat)
    }

    /// Times a loaded program with a frame of another client each time; see [`Clients::time`].
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn time_target(&mut self, target: &ProgramFd, frame: &[u8], clients: u64, repeat: u32) -> Result<Duration> {
        self.clients.time(target, frame, clients, repeat)
    }
}

/// Those that are measured.
const PROGRAMS: [&str; 10] = [
    "floor",
    "floor_called",
    "bare_lookup",
    "bare_insert",
    "bare_flow",
    "bare_reply",
    "bare_inserts",
    "miss_and_insert",
    "filter_and_insert",
    "set_presence",
];

/// The real server that the flows of the bare tables are answered by.
pub const SERVER: [u8; 4] = [10, 1, 0, 0];

/// The key of the packets by which `server` answers a flow, where the client's address is left as it is.
#[must_use]
pub fn answered(key: &FlowKey, server: [u8; 4]) -> FlowKey {
    FlowKey {
        client: Address::v4(server),
        vip: key.client,
        client_port: key.vip_port,
        vip_port: key.client_port,
        ..*key
    }
}

/// Removes all entries, and says how many there were.
///
/// # Errors
/// When the kernel refuses.
pub fn empty<V: Plain + Default>(table: &Table<FlowKey, V>) -> Result<usize> {
    let mut all = Vec::new();
    table.walk(|keys, _| {
        all.extend_from_slice(keys);
        true
    })?;
    Ok(table.remove_many(&all)?)
}

/// The program that plays many clients: it changes the client of a frame and hands it on.
pub struct Clients {
    object: Ebpf,
    next: ProgramArray<MapData>,
    clients: Array<MapData, [u64; 2]>,
}

impl Clients {
    /// Loads it, without the large tables of the object.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let mut object = load_small()?;
        program(&mut object, "vary")?.load()?;
        let next = ProgramArray::try_from(object.take_map("next").context("no map `next`")?)?;
        let clients = Array::try_from(object.take_map("clients").context("no map `clients`")?)?;
        Ok(Self { object, next, clients })
    }

    /// Gives `target` the frame of `count` clients, of the turns from `first` on: the same turns
    /// are the same clients. `clients` is a power of two; so many turns in a row are all different.
    /// Returns the time of one frame.
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn play(&mut self, target: &ProgramFd, frame: &[u8], clients: u64, first: u64, count: u32) -> Result<Duration> {
        self.next.set(0, target, 0)?;
        self.clients.set(0, [clients - 1, first], 0)?;
        time(program(&mut self.object, "vary")?, frame, count)
    }

    /// Goes on from the last turn. The time includes making the frame: the floor measured the same
    /// way tells how much.
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn time(&mut self, target: &ProgramFd, frame: &[u8], clients: u64, repeat: u32) -> Result<Duration> {
        let turn = self.clients.get(&0, 0)?[1];
        self.play(target, frame, clients, turn, repeat)
    }
}

/// Loads the object with the large tables at one entry, for who does not use them.
pub(crate) fn load_small() -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for table in ["million", "pending", "bare_flows", "bare_replies", "new_flows", "new_replies"] {
        loader.map_max_entries(table, 1);
    }
    load(&mut loader)
}

fn load(loader: &mut EbpfLoader<'_>) -> Result<Ebpf> {
    let directory = std::env::var_os("LB_BPF_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bpf")), PathBuf::from);
    let path = directory.join("bench.o");
    loader.load_file(&path).with_context(|| format!("loading {}; `cargo xtask build-ebpf` makes it", path.display()))
}

/// As many flows as the tables hold, less a few that a bench opens itself.
#[must_use]
pub fn million(now: u32) -> (Vec<FlowKey>, Vec<Flow>) {
    let keys: Vec<_> = (0..MILLION - 16).map(|client| varied_flow(client, VIP, 80)).collect();
    let flows = vec![established(1, 1, now); keys.len()];
    (keys, flows)
}

fn table<K: Plain + Default, V: Plain + Default>(object: &Ebpf, name: &str) -> Result<Table<K, V>> {
    let id = match object.map(name).with_context(|| format!("no map `{name}`"))? {
        aya::maps::Map::LruHashMap(map) | aya::maps::Map::HashMap(map) => map.info()?.id(),
        _ => anyhow::bail!("map `{name}` is of another kind"),
    };
    Ok(Table::new(MapData::from_id(id)?, name.into())?)
}

pub(crate) fn program<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp> {
    Ok(object.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?)
}

/// The flow of client number `client` as `vary` makes its frames, to the VIP and port given.
#[must_use]
pub fn varied_flow(client: u32, vip: [u8; 4], vip_port: u16) -> FlowKey {
    let [low, middle, high, _] = client.to_le_bytes();
    let port = 0x4000 | u16::try_from(client >> 4 & 0x3fff).unwrap_or(0);
    FlowKey {
        client: Address::v4([10, high, low, middle]),
        vip: Address::v4(vip),
        client_port: port,
        vip_port,
        protocol: protocol::TCP,
        spare8: 0,
        spare16: 0,
    }
}

/// An established flow.
#[must_use]
pub fn established(service: ServiceId, server: ServerId, now: u32) -> Flow {
    Flow {
        service,
        server,
        generation: 1,
        last_seen: now,
        created: now,
        state: FlowState::Established as u8,
        ..Flow::default()
    }
}
