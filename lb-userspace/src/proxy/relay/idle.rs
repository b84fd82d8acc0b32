//! Who has been silent for too long. Knows no clock.
//!
//! The meaning is HAProxy's: a side's timer runs while that side is to send or to receive, and begins anew with
//! every byte in either direction. A side of which nothing is expected has no timer: a client whose bytes cannot be
//! taken because the real server does not read; one that has closed its direction, as long as it takes what comes.
//!
//! A connection that lasts is told from a short one, once.

use std::time::{Duration, Instant};

/// How long each side may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The client.
    pub client: Duration,
    /// The real server.
    pub server: Duration,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opened the connection.
    Client,
    /// Who was chosen to answer.
    Server,
}

#[derive(Debug)]
pub(super) struct Timers {
    client: Timer,
    server: Timer,
    /// Where next to look when nothing is expected of anybody.
    far: Instant,
    /// From here on the connection is long; `None`: that is known.
    long: Option<Instant>,
}

#[derive(Debug)]
struct Timer {
    limit: Duration,
    /// `None`: nothing is expected.
    since: Option<Instant>,
}

impl Timers {
    pub(super) fn new(idle: Idle, now: Instant) -> Self {
        let timer = |limit: Duration| Timer { limit: limit.min(FAR), since: Some(now) };
        Self { client: timer(idle.client), server: timer(idle.server), far: now + FAR, long: Some(now + SHORT) }
    }

    /// Of each side: whether it was active, and whether something is expected of it now. The clock is asked only
    /// when that changes anything.
    pub(super) fn note(&mut self, client: (bool, bool), server: (bool, bool), now: impl FnOnce() -> Instant) {
        let now = (self.client.wants_clock(client) || self.server.wants_clock(server)).then(now);
        self.client.note(client, now);
        self.server.note(server, now);
    }

    pub(super) fn expired(&self, now: Instant) -> Option<Side> {
        let is_over = |timer: &Timer| timer.deadline().is_some_and(|deadline| deadline <= now);
        if is_over(&self.client) {
            return Some(Side::Client);
        }
        is_over(&self.server).then_some(Side::Server)
    }

    /// Whether the connection has lasted long enough to be called long: said once.
    pub(super) fn has_become_long(&mut self, now: Instant) -> bool {
        self.long.take_if(|long| *long <= now).is_some()
    }

    /// No side's time is over before this, nor is the connection long.
    pub(super) fn next_check(&self) -> Instant {
        [self.client.deadline(), self.server.deadline(), self.long].into_iter().flatten().min().unwrap_or(self.far)
    }
}

impl Timer {
    fn wants_clock(&self, (active, expected): (bool, bool)) -> bool {
        expected && (active || self.since.is_none())
    }

    fn note(&mut self, (active, expected): (bool, bool), now: Option<Instant>) {
        match (expected, active || self.since.is_none()) {
            (true, true) => self.since = now,
            (true, false) => {}
            (false, _) => self.since = None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.limit)
    }
}

/// A connection that is over before this was short.
const SHORT: Duration = Duration::from_secs(30);

/// Longer limits mean this one, so that no sum overflows: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
