//! Slow start: a real server that comes back gets its share of new flows in steps, so that it is not met by
//! all of them with cold caches.
//!
//! In: when it came back, how long it is to take, and `now`. Out: its part of a weight. Absent: why it came back.

use std::time::{Duration, Instant};

/// Steps from the return to the full share.
const STEPS: u32 = 10;

/// How far a real server has come; the default: all the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlowStart(Option<Climb>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Climb {
    began: Instant,
    takes: Duration,
    /// From 1 to `STEPS` - 1.
    step: u32,
}

impl SlowStart {
    /// It has come back; nothing happens when it is to take no time.
    pub(super) fn begin(&mut self, takes: Duration, now: Instant) {
        self.0 = (!takes.is_zero()).then_some(Climb { began: now, takes, step: 1 });
    }

    /// When [`Self::advance`] changes something; `None`: it has come all the way.
    pub(super) fn next_step(&self) -> Option<Instant> {
        self.0.map(|climb| climb.began + climb.takes * climb.step / STEPS)
    }

    /// Takes the steps that are due; whether there were any.
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        let before = *self;
        while self.next_step().is_some_and(|due| due <= now) {
            self.0 = self.0.map(|climb| Climb { step: climb.step + 1, ..climb }).filter(|climb| climb.step < STEPS);
        }
        *self != before
    }

    /// The share of a server with this weight: never 0, unless the weight is.
    pub(super) fn part_of(&self, weight: u16) -> u16 {
        let Some(climb) = self.0 else { return weight };
        let part = u32::from(weight) * climb.step / STEPS;
        u16::try_from(part).unwrap_or(weight).max(weight.min(1))
    }

    /// Percent of the full share; `None`: it has it.
    pub(super) fn percent(&self) -> Option<u32> {
        self.0.map(|climb| climb.step * 100 / STEPS)
    }
}
