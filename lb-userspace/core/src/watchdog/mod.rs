//! Whether the daemon does its work: who owes a proof of it, and until when.
//!
//! In: what each piece of [`Work`] owes, as the daemon goes. Out: when the service manager may be
//! told that all is well, and which work is stuck when it may not ([`Action`]). Absent: the service
//! manager, threads and clocks.
//!
//! A time alone proves nothing: the dog is fed only when no work is late, so a daemon that turns in
//! a circle without checking a server is ended and started again like one that hangs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// What the daemon has to do to be of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Handling events, one after the other.
    Loop,
    /// Health checks and the other deadlines of the machines.
    Deadlines,
    /// Removing flows that are over, and counting connections.
    Sweep,
    /// Writing the tables.
    Plan,
    /// Answering the API.
    Requests,
}

impl Work {
    const ALL: [Self; 5] = [Self::Loop, Self::Deadlines, Self::Sweep, Self::Plan, Self::Requests];

    /// How late it may be before it counts as stuck.
    #[must_use]
    pub const fn patience(self) -> Duration {
        match self {
            Self::Loop | Self::Deadlines | Self::Requests => Duration::from_secs(30),
            // A table that the kernel has no memory for now may fit when a flood is over.
            Self::Plan => Duration::from_secs(60),
            // Tables of the largest size, on a machine whose CPUs are all busy forwarding.
            Self::Sweep => Duration::from_secs(300),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loop => "the control loop",
            Self::Deadlines => "the deadlines of health checks and next hops",
            Self::Sweep => "the sweep over the tables",
            Self::Plan => "the writing of the tables",
            Self::Requests => "the answering of lbctl",
        })
    }
}

/// What the machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the service manager that all is well.
    Feed,
    /// This work should have been done so long ago: for the log, once.
    Stuck(Work, Duration),
    /// It is done again: for the log.
    Recovered(Work),
}

/// The machine.
#[derive(Debug)]
pub struct Watchdog {
    interval: Duration,
    next: Instant,
    due: BTreeMap<Work, Instant>,
    stuck: BTreeSet<Work>,
    actions: VecDeque<Action>,
}

impl Watchdog {
    /// Looks every `interval`, the first time at once: well within the patience of the service
    /// manager, so that one late look is no reason to end the daemon.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now, due: BTreeMap::new(), stuck: BTreeSet::new(), actions: VecDeque::new() }
    }

    /// The work is on time, and its next proof comes by `due`.
    pub fn proved(&mut self, work: Work, due: Instant) {
        self.due.insert(work, due);
    }

    /// There is work, and it is to be done by `due`; one that is owed already stays owed as it was.
    pub fn owe(&mut self, work: Work, due: Instant) {
        self.due.entry(work).or_insert(due);
    }

    /// The work is done, and none of it is to be done now.
    pub fn settle(&mut self, work: Work) {
        self.due.remove(&work);
    }

    /// Looks whether something is late.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + self.interval;
        for work in Work::ALL {
            let late = self.due.get(&work).map(|due| now.saturating_duration_since(*due));
            match late.filter(|late| *late > work.patience()) {
                Some(late) if self.stuck.insert(work) => self.actions.push_back(Action::Stuck(work, late)),
                None if self.stuck.remove(&work) => self.actions.push_back(Action::Recovered(work)),
                _ => {}
            }
        }
        if self.stuck.is_empty() {
            self.actions.push_back(Action::Feed);
        }
    }

    /// When it looks next.
    #[must_use]
    pub const fn next_deadline(&self) -> Instant {
        self.next
    }

    /// What is to be done, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

#[cfg(test)]
mod tests;
