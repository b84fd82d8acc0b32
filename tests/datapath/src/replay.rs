//! Frames that are written anew before each run of a program: one that translates leaves another frame
//! behind than it was given.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::ProgramFd;
use lb_common::testing::PacketBuilder;

use crate::peers::{load_small, program};
use crate::time;

/// Length of a replayed frame: `REPLAYED` of `bench.rs`.
pub const LENGTH: usize = 14 + 4 * REST;

/// Words behind the type.
const REST: usize = 16;

/// The frame, how many clients less one, turn; as `Replayed` of `bench.rs`.
type Replayed = [u32; 4 + REST + 4];

/// The programs that write the frame and hand it on.
pub struct Replay {
    object: Ebpf,
    next: ProgramArray<MapData>,
    replayed: Array<MapData, Replayed>,
    turn: u64,
}

/// The same frame each time.
pub const SAME: &str = "replay";
/// From another client each time.
pub const CLIENTS: &str = "replay_clients";
/// To another client each time.
pub const TO_CLIENTS: &str = "replay_to_clients";
/// To another port each time, from as many servers as that needs.
pub const TO_PORTS: &str = "replay_to_ports";

impl Replay {
    /// Loads them, without the large tables of the object.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let mut object = load_small()?;
        for name in [SAME, CLIENTS, TO_CLIENTS, TO_PORTS] {
            program(&mut object, name)?.load()?;
        }
        let next = ProgramArray::try_from(object.take_map("next").context("no map `next`")?)?;
        let replayed = Array::try_from(object.take_map("replayed").context("no map `replayed`")?)?;
        Ok(Self { object, next, replayed, turn: 0 })
    }

    /// Begins with another turn.
    #[must_use]
    pub fn from_turn(self, turn: u64) -> Self {
        Self { turn, ..self }
    }

    /// The number of the client of each of the next turns.
    pub fn upcoming(&self, clients: u64, count: u32) -> impl Iterator<Item = u32> + use<> {
        let turns = self.turn + 1..=self.turn + u64::from(count);
        turns.map(move |turn| u32::try_from(turn.wrapping_mul(0x9e37_79b1) & (clients - 1)).unwrap_or(0))
    }

    /// Gives `target` the frame `repeat` times; `clients`, a power of two, take turns where the program `by`
    /// changes the frame. Returns the time of one, in which writing the frame is included.
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn play(&mut self, by: &str, target: &ProgramFd, frame: &[u8], clients: u64, repeat: u32) -> Result<Duration> {
        ensure!(frame.len() == LENGTH, "a frame to be replayed has {LENGTH} bytes, not {}", frame.len());
        self.next.set(0, target, 0)?;
        self.replayed.set(0, replayed(frame, clients, self.turn), 0)?;
        self.turn += u64::from(repeat);
        time(program(&mut self.object, by)?, frame, repeat)
    }
}

fn replayed(frame: &[u8], clients: u64, turn: u64) -> Replayed {
    let word = |at: usize| u32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let mut words = Replayed::default();
    for (i, to) in words[..3].iter_mut().enumerate() {
        *to = word(4 * i);
    }
    words[3] = u16::from_ne_bytes([frame[12], frame[13]]).into();
    for (i, to) in words[4..4 + REST].iter_mut().enumerate() {
        *to = word(14 + 4 * i);
    }
    for (to, number) in words[4 + REST..].chunks_exact_mut(2).zip([clients - 1, turn]) {
        let bytes = number.to_ne_bytes();
        to[0] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        to[1] = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    }
    words
}

/// Builds a frame of the length of replayed ones; `build` is given the bytes that are carried.
#[must_use]
pub fn padded(build: impl Fn(&[u8]) -> PacketBuilder) -> Vec<u8> {
    let short = build(&[]).build().len();
    build(&vec![0; LENGTH.saturating_sub(short)]).build()
}
