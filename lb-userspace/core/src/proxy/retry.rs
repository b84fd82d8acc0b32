//! How many requests may be tried a second time: a part of those of the last seconds, so that retries do not bury real
//! servers that have too much to do.
//!
//! In: requests, wishes to retry, `now`. Out: whether a retry is granted. Absent: which requests may be repeated at all.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Retries of one virtual service: at most so many percent of the requests of the last ten seconds; but ten within a
/// second are always granted. Many threads ask at once.
#[derive(Debug)]
pub struct RetryBudget {
    began: Instant,
    percent: AtomicU8,
    requests: Window,
    retries: Window,
}

impl RetryBudget {
    /// `percent`: 100 is one retry for each request.
    #[must_use]
    pub fn new(percent: u8, now: Instant) -> Self {
        Self { began: now, percent: AtomicU8::new(percent), requests: Window::default(), retries: Window::default() }
    }

    /// After a reload.
    pub fn set_percent(&self, percent: u8) {
        self.percent.store(percent, Relaxed);
    }

    /// A request has come; retries do not count.
    pub fn request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// Whether a request may be tried once more now. A yes is counted as a retry.
    pub fn may_retry(&self, now: Instant) -> bool {
        let second = self.second(now);
        let requests = self.requests.sum(second);
        let granted = requests * u64::from(self.percent.load(Relaxed)) / 100;
        let of_others = |second| self.retries.sum_of_others(second);
        self.retries.add_if(second, |second, count| count < ALWAYS || of_others(second) + count < granted)
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u32::MAX)
    }
}

/// Counts of the last seconds. Each word has its second in the upper half and the count in the lower.
#[derive(Debug, Default)]
struct Window([AtomicU64; SECONDS as usize]);

impl Window {
    fn add(&self, second: u32) {
        self.add_if(second, |_, _| true);
    }

    /// Adds one if `may` says so of the second and its count.
    fn add_if(&self, second: u32, may: impl Fn(u32, u64) -> bool) -> bool {
        let counted = self.0[(second % SECONDS) as usize].fetch_update(Relaxed, Relaxed, |before| {
            // What is there is of this second, or ten or more ago. Should it be later, it counts there.
            let (second, count) = match unpack(before) {
                (of, count) if of >= second => (of, count),
                _ => (second, 0),
            };
            may(second, count.into()).then(|| pack(second, count.saturating_add(1)))
        });
        counted.is_ok()
    }

    /// Of this second and those before it.
    fn sum(&self, second: u32) -> u64 {
        let (of, count) = unpack(self.0[(second % SECONDS) as usize].load(Relaxed));
        self.sum_of_others(second) + if of == second { u64::from(count) } else { 0 }
    }

    fn sum_of_others(&self, second: u32) -> u64 {
        let counts = self.0.iter().map(|word| unpack(word.load(Relaxed)));
        counts
            .filter(|(of, _)| *of != second && second.abs_diff(*of) < SECONDS)
            .map(|(_, count)| u64::from(count))
            .sum()
    }
}

fn pack(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Within one second.
const ALWAYS: u64 = 10;

const SECONDS: u32 = 10;

#[cfg(test)]
mod tests;
