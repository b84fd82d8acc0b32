//! Flap damping: a real server that keeps going up and down has to show for longer each time that it is well.
//!
//! In: when it went down. Out: how many checks in a row bring it up. Absent: the checks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A fall longer ago than this is forgotten.
pub(super) const WINDOW: Duration = Duration::from_secs(600);

/// So many falls within the window cost nothing: servers are rebooted, and updates take two tries.
const FREE_FALLS: usize = 2;

/// `rise` is never multiplied by more than 2 to the power of this.
const MOST_DOUBLINGS: usize = 4;

/// Falls that are remembered; more change nothing.
pub(super) const REMEMBERED: usize = FREE_FALLS + MOST_DOUBLINGS;

/// When a real server went down.
#[derive(Clone, Debug, Default)]
pub(super) struct Falls(VecDeque<Instant>);

impl Falls {
    /// It goes down.
    pub(super) fn note(&mut self, now: Instant) {
        self.0.push_back(now);
        while self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// How often it went down lately, at most [`REMEMBERED`].
    pub(super) fn lately(&self, now: Instant) -> usize {
        self.0.iter().filter(|then| now.saturating_duration_since(**then) < WINDOW).count()
    }

    /// Checks in a row that bring it up: `rise`, doubled for each fall lately beyond the free ones.
    pub(super) fn rise(&self, rise: u32, now: Instant) -> u32 {
        let doublings = self.lately(now).saturating_sub(FREE_FALLS).min(MOST_DOUBLINGS);
        rise.max(1).saturating_mul(1 << doublings)
    }
}
