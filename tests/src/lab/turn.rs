//! Whose turn it is on this machine: labs share its CPUs, and deadlines are tested.
//!
//! In: the group that `.config/nextest.toml` puts the test into. Out: a turn, alone or beside one more lab, which ends
//! when it is dropped. Absent: which labs need the machine for themselves. Run by anything else, a lab is alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::{RUN_DIRECTORY, wait_until};

/// A lab waits this long for the labs of other tests to be over.
const DEADLINE: Duration = Duration::from_secs(900);
/// The group of labs that neither measure nor load the machine.
const LIGHT: &str = "light-lab";
/// So many of them at a time, of all runs on this machine.
const PLACES: usize = 2;

/// Held while a lab waits for its turn and is made: who waits alone is not overtaken, and nobody takes a lab that is
/// being made for one that was left.
#[derive(Debug)]
pub(super) struct Gate {
    _lock: Flock<File>,
}

/// A lab's turn.
#[derive(Debug)]
pub(super) struct Turn {
    _turn: Flock<File>,
    _place: Option<Flock<File>>,
}

impl Gate {
    pub(super) fn enter() -> Result<Self> {
        fs::create_dir_all(RUN_DIRECTORY).with_context(|| format!("cannot make {RUN_DIRECTORY}"))?;
        wait_until("the labs before this one have begun", DEADLINE, || {
            lock(&file("gate"), FlockArg::LockExclusiveNonblock)?
                .map(|_lock| Self { _lock })
                .context("another lab is at the gate")
        })
    }
}

impl Turn {
    /// For who is at the gate.
    pub(super) fn take(_: &Gate) -> Result<Self> {
        wait_until("the labs of other tests are over", DEADLINE, || {
            let group = std::env::var("NEXTEST_TEST_GROUP").unwrap_or_default();
            if group == LIGHT { beside_another() } else { alone() }
        })
    }
}

fn alone() -> Result<Turn> {
    let turn = lock(&file("turn"), FlockArg::LockExclusiveNonblock)?.context("another lab holds the turn")?;
    Ok(Turn { _turn: turn, _place: None })
}

fn beside_another() -> Result<Turn> {
    let turn = lock(&file("turn"), FlockArg::LockSharedNonblock)?.context("a lab is alone on this machine")?;
    for place in 0..PLACES {
        if let Some(place) = lock(&file(&format!("place-{place}")), FlockArg::LockExclusiveNonblock)? {
            return Ok(Turn { _turn: turn, _place: Some(place) });
        }
    }
    bail!("{PLACES} labs are on this machine")
}

fn file(name: &str) -> PathBuf {
    Path::new(RUN_DIRECTORY).join(name)
}

/// The lock, or `None` when another process holds it.
pub(super) fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
