//! One neighbour that next hops need: what is known of it, and when to have it probed.
//!
//! In: neighbour entries as the kernel reports them, and `now`. Out: whether the knowledge changed,
//! and whether to solicit. Absent: which real servers use it.

use std::time::{Duration, Instant};

use super::NeighbourState;

/// A known neighbour is probed this often. Below the 30 to 45 seconds after which the kernel calls
/// an unused entry stale and a switch's or host's idle state becomes doubtful, and cheap: one small
/// packet each way.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// First wait of an unanswered neighbour; each next one doubles. The kernel's own three attempts,
/// one second apart, run within.
pub const BACKOFF_START: Duration = Duration::from_secs(1);
/// Longest wait between solicitations of an unanswered neighbour.
pub const BACKOFF_LIMIT: Duration = Duration::from_secs(30);

/// What is known of a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The last MAC it answered with.
    mac: Option<[u8; 6]>,
    /// It has a MAC and has stopped answering.
    silent: bool,
    /// Its entry is never probed.
    fixed: bool,
    /// Solicitations since it last answered.
    attempts: u32,
    /// It is certain that it does not answer; until then a missing MAC is only not known yet.
    given_up: bool,
    /// `None`: nothing to do for a fixed entry.
    next: Option<Instant>,
}

/// What a report did to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Effect {
    /// Next hops that use it have to be looked at again.
    pub(super) changed: bool,
    /// Have it solicited.
    pub(super) solicit: bool,
}

impl Target {
    /// A neighbour whose kernel entry is being asked for. If that answer is lost it is solicited anyway.
    pub(super) fn new(now: Instant) -> Self {
        let next = Some(now + BACKOFF_START);
        Self { mac: None, silent: false, fixed: false, attempts: 0, given_up: false, next }
    }

    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        self.mac
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The kernel's entry as it is now.
    pub(super) fn report(&mut self, mac: Option<[u8; 6]>, state: NeighbourState, now: Instant) -> Effect {
        // A device that resolves nothing may report zeros: no frame can be sent to that.
        let usable = mac.filter(|mac| state.is_usable() && *mac != [0; 6]);
        let Some(mac) = usable else {
            return match state {
                NeighbourState::Failed => self.failed(now),
                _ => self.unknown(now),
            };
        };
        let changed = self.mac != Some(mac) || self.silent;
        let awaited = self.mac.is_none() || self.silent || self.fixed != state.is_fixed();
        *self = Self {
            mac: Some(mac),
            silent: false,
            fixed: state.is_fixed(),
            attempts: 0,
            given_up: false,
            next: if awaited { Some(now + PROBE_INTERVAL) } else { self.next },
        };
        if self.fixed {
            self.next = None;
        }
        Effect { changed, solicit: false }
    }

    /// The kernel has no entry, or has only begun to resolve it. Entries nobody uses are collected
    /// now and then: no reason for doubt, but one to ask.
    pub(super) fn unknown(&mut self, now: Instant) -> Effect {
        if self.attempts > 0 {
            return Effect::default();
        }
        self.fixed = false;
        self.solicited(now);
        Effect { changed: false, solicit: true }
    }

    /// The kernel asked and nobody answered.
    fn failed(&mut self, now: Instant) -> Effect {
        // An entry that failed before this machine wanted it says nothing about today.
        if self.mac.is_none() && self.attempts == 0 {
            return self.unknown(now);
        }
        let before = (self.silent, self.given_up);
        self.silent = self.mac.is_some();
        self.given_up = self.mac.is_none();
        let solicit = self.attempts == 0;
        if solicit {
            self.fixed = false;
            self.solicited(now);
        }
        Effect { changed: before != (self.silent, self.given_up), solicit }
    }

    /// Its device came up, or the kernel's table is no longer known: ask at once.
    pub(super) fn ask_now(&mut self, now: Instant) {
        if !self.fixed {
            self.attempts = 0;
            self.next = Some(now);
        }
    }

    /// The wait is over. `reachable`: its device is up, so that asking makes sense.
    pub(super) fn expire(&mut self, reachable: bool, now: Instant) -> Effect {
        if self.next.is_none_or(|next| now < next) {
            return Effect::default();
        }
        if !reachable {
            self.next = Some(now + PROBE_INTERVAL);
            return Effect::default();
        }
        if self.mac.is_some() && self.attempts == 0 {
            self.next = Some(now + PROBE_INTERVAL);
            return Effect { changed: false, solicit: true };
        }
        // Asked a second ago and still nothing: say so. A known MAC waits for the kernel's verdict.
        let changed = self.attempts > 0 && self.mac.is_none() && !self.given_up;
        self.given_up |= changed;
        self.solicited(now);
        Effect { changed, solicit: true }
    }

    fn solicited(&mut self, now: Instant) {
        let wait = BACKOFF_START.saturating_mul(1 << self.attempts.min(5)).min(BACKOFF_LIMIT);
        self.attempts = self.attempts.saturating_add(1);
        self.next = Some(now + wait);
    }
}
