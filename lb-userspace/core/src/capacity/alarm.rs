//! When something is told: once when it begins and once when it ends, and not with every wave between.

use std::time::{Duration, Instant};

/// Between two events about the same fill, at least.
const PAUSE: Duration = Duration::from_secs(60);

/// A count that has not grown for so long is at rest.
const QUIET: Duration = Duration::from_secs(30);

/// Where an alarm begins, and where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Begins at this many percent.
    pub(super) from: u64,
    /// Ends below this many.
    pub(super) below: u64,
}

/// A fill that is high or not. What it is follows at once; what is told of it follows with pauses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    pub(super) high: bool,
    told: bool,
    told_at: Option<Instant>,
}

impl Level {
    /// Looks at the fill.
    pub(super) fn look(&mut self, percent: u64, bounds: Bounds) {
        self.high = if self.high { percent >= bounds.below } else { percent >= bounds.from };
    }

    /// What is to be told now: whether it has become high.
    pub(super) fn news(&mut self, now: Instant) -> Option<bool> {
        let rested = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE);
        if self.high == self.told || !rested {
            return None;
        }
        (self.told, self.told_at) = (self.high, Some(now));
        Some(self.high)
    }
}

/// A count that should stay as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    /// As it was last; `None`: nobody has looked.
    last: Option<u64>,
    /// Since when it has grown: when it last did, and what it was before.
    growing: Option<(Instant, u64)>,
}

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has begun to grow.
    Begins,
    /// It has not grown for a while; by so much it had.
    Ends(u64),
}

impl Growth {
    /// Looks at the count. What it was before anybody looked is no growth, and a count that fell was begun
    /// again.
    pub(super) fn look(&mut self, count: u64, now: Instant) -> Option<Turn> {
        let before = self.last.replace(count).unwrap_or(count);
        match self.growing {
            None if count > before => {
                self.growing = Some((now, before));
                Some(Turn::Begins)
            }
            Some((_, begin)) if count > before => {
                self.growing = Some((now, begin));
                None
            }
            Some((at, begin)) if now.saturating_duration_since(at) >= QUIET => {
                self.growing = None;
                Some(Turn::Ends(count.saturating_sub(begin)))
            }
            Some(_) | None => None,
        }
    }

    /// By how much it has grown, while it grows.
    pub(super) fn by(&self) -> Option<u64> {
        let (_, begin) = self.growing?;
        Some(self.last?.saturating_sub(begin))
    }
}
