//! Reads the ring buffer of a trace until it is over: events in, lines out, and what found no room counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use lb_common::abi::TraceEvent;
use lb_core::trace::{self, Names};
use lb_core::view::{TraceEnd, TraceLine, TraceRequest};
use nix::net::if_::if_indextoname;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::super::happenings::milliseconds;
use crate::dataplane::Following;

/// Events that are taken at once.
const BATCH: usize = 256;

/// Between looks at what the program could not tell.
const LOOK: Duration = Duration::from_secs(1);

/// Interfaces whose names are remembered.
const INTERFACES: usize = 256;

/// Reads until the trace is over.
pub(super) struct Reader {
    following: Following,
    lines: mpsc::Sender<TraceLine>,
    names: watch::Receiver<Names>,
    until: Instant,
    count: Option<u64>,
    interfaces: BTreeMap<u32, String>,
    frames: u64,
    /// Frames that the lines had no room for.
    dropped: u64,
    /// Frames that could not be told by the program.
    missed: u64,
    /// Frames not shown that were told of.
    told: u64,
}

/// What came of it.
pub(in crate::daemon) struct Read {
    /// For the last line.
    pub lines: mpsc::Sender<TraceLine>,
    pub why: TraceEnd,
    pub frames: u64,
    pub not_shown: u64,
}

impl Reader {
    pub(super) fn new(
        following: Following,
        lines: mpsc::Sender<TraceLine>,
        names: watch::Receiver<Names>,
        request: &TraceRequest,
    ) -> Self {
        Self {
            following,
            lines,
            names,
            until: Instant::now() + Duration::from_secs(request.seconds.into()),
            count: request.count,
            interfaces: BTreeMap::new(),
            frames: 0,
            dropped: 0,
            missed: 0,
            told: 0,
        }
    }

    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Read {
        let why = self.read(&mut stop).await;
        self.look();
        Read { why, frames: self.frames, not_shown: self.missed + self.dropped, lines: self.lines }
    }

    async fn read(&mut self, stop: &mut oneshot::Receiver<()>) -> TraceEnd {
        let mut next_look = Instant::now() + LOOK;
        loop {
            tokio::select! {
                biased;
                _ = &mut *stop => return TraceEnd::Stopping,
                () = self.lines.closed() => return TraceEnd::Reader,
                () = tokio::time::sleep_until(self.until.into()) => return TraceEnd::Time,
                () = tokio::time::sleep_until(next_look.into()) => {
                    next_look = Instant::now() + LOOK;
                    self.look();
                }
                events = self.following.next(BATCH) => match events {
                    Ok(events) => if let Some(end) = self.tell(&events) { return end },
                    Err(error) => {
                        warn!(%error, "the ring buffer of the trace cannot be read");
                        return TraceEnd::Failed;
                    }
                },
            }
        }
    }

    fn tell(&mut self, events: &[TraceEvent]) -> Option<TraceEnd> {
        let (now, now_ns) = (milliseconds(SystemTime::now()), monotonic_ns());
        for event in events {
            for ifindex in [event.ingress, event.egress] {
                self.name(ifindex);
            }
            let ago_ms = now_ns.saturating_sub(event.at_ns) / 1_000_000;
            let names = self.names.borrow();
            let interface = |ifindex| self.interfaces.get(&ifindex).cloned().unwrap_or_else(|| nameless(ifindex));
            let traced = trace::traced(event, now.saturating_sub(ago_ms), &names, interface);
            drop(names);
            match self.lines.try_send(TraceLine::Frame(Box::new(traced))) {
                Ok(()) => self.frames += 1,
                Err(mpsc::error::TrySendError::Full(_)) => self.dropped += 1,
                Err(mpsc::error::TrySendError::Closed(_)) => return Some(TraceEnd::Reader),
            }
            if self.count.is_some_and(|count| self.frames >= count) {
                return Some(TraceEnd::Count);
            }
        }
        None
    }

    /// Says how many frames were not shown since the last time, if there is room to say so.
    fn look(&mut self) {
        match self.following.missed() {
            Ok(missed) => self.missed = missed,
            Err(error) => warn!(%error, "what the trace missed cannot be read"),
        }
        let all = self.missed + self.dropped;
        let frames = all - self.told;
        if frames > 0 && self.lines.try_send(TraceLine::NotShown { frames }).is_ok() {
            self.told = all;
        }
    }

    /// Remembers an interface's name.
    fn name(&mut self, ifindex: u32) {
        if ifindex == 0 || self.interfaces.contains_key(&ifindex) || self.interfaces.len() >= INTERFACES {
            return;
        }
        let name = if_indextoname(ifindex).map(|name| name.to_string_lossy().into_owned());
        self.interfaces.insert(ifindex, name.unwrap_or_else(|_| nameless(ifindex)));
    }
}

fn nameless(ifindex: u32) -> String {
    format!("interface {ifindex}")
}

/// As the program notes it.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
