//! What passed an interface, frame by frame, for comparison byte by byte.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{PacketSocket, wait_until};

/// Frames kept; later ones are not.
const LIMIT: usize = 100_000;
const DEADLINE: Duration = Duration::from_secs(5);

/// Which way a frame went, seen from the interface that is captured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A frame that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Which way it went.
    pub direction: Direction,
    /// The frame from its destination MAC on.
    pub frame: Vec<u8>,
}

/// A capture that runs until it is dropped.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Captured>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    pub(super) fn start(socket: PacketSocket, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Self> {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&frames), Arc::clone(&stop));
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some((direction, frame)) = socket.receive()? else { continue };
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if wanted(&frame) && kept.len() < LIMIT {
                    kept.push(Captured { direction, frame });
                }
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { frames, stop, thread: Some(thread) })
    }

    /// The frames so far.
    pub fn frames(&self) -> Vec<Captured> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many frames so far are as asked.
    pub fn count(&self, is_one: impl Fn(&Captured) -> bool) -> usize {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|frame| is_one(frame)).count()
    }

    /// Waits for a frame as asked, and returns the first.
    ///
    /// # Errors
    /// When none has passed within five seconds.
    pub fn wait_for(&self, what: &str, is_one: impl Fn(&Captured) -> bool) -> Result<Captured> {
        wait_until(what, DEADLINE, || {
            let frames = self.frames();
            let seen = frames.len();
            let found = frames.into_iter().find(&is_one);
            found.with_context(|| format!("{seen} frames were captured, none of them this one"))
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("a capture ended early: {error:#}");
        }
    }
}
