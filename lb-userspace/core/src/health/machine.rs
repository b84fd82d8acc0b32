//! The health machine: when each real server is probed, and what that changes.
//!
//! In: [`Input`] and `now`. Out: [`Action`]s, in order. Absent: how a probe is made, and what a
//! transition does to the tables.
//!
//! A target has at most one timer: the start of its next probe, or the deadline of the one under
//! way. Probes that are due while `limit` others are under way wait in line, first come first served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contract::{Action, Input, Transition};
use super::outcome::{Failure, Outcome};
use super::record::{Change, HealthView, Record};
use super::target::{Endpoint, Target, TargetId};
use crate::config::model::{HealthCheck, Probe};

/// How many probes are under way at most, unless the caller says otherwise.
///
/// No timeout is longer than its interval, so that up to so many targets never wait for one another, even if all
/// of them hang.
pub const DEFAULT_LIMIT: usize = 4096;

/// Checks all real servers; see the [module](super).
#[derive(Debug)]
pub struct Health {
    seed: u64,
    limit: usize,
    targets: BTreeMap<TargetId, Entry>,
    timers: BTreeSet<(Instant, TargetId)>,
    line: VecDeque<TargetId>,
    under_way: usize,
    generation: u32,
    latest_start: Duration,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    check: Arc<HealthCheck>,
    subject: Option<(IpAddr, u16)>,
    record: Record,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Never probed.
    Unchecked,
    /// The next probe starts then; in `timers`.
    Idle { start: Instant },
    /// Due since then, and in `line`.
    Queued { due: Instant },
    /// Counted in `under_way`; the deadline is in `timers`.
    Probing { generation: u32, started: Instant, deadline: Instant },
}

impl Health {
    /// No targets, and at most [`DEFAULT_LIMIT`] probes at a time. `seed` shifts the start of the
    /// probes, so that two balancers do not probe in step.
    pub fn new(seed: u64) -> Self {
        Self::with_limit(seed, DEFAULT_LIMIT)
    }

    /// The same with at most `limit` probes at a time, and at least one.
    pub fn with_limit(seed: u64, limit: usize) -> Self {
        Self {
            seed,
            limit: limit.max(1),
            targets: BTreeMap::new(),
            timers: BTreeSet::new(),
            line: VecDeque::new(),
            under_way: 0,
            generation: 0,
            latest_start: Duration::ZERO,
            actions: VecDeque::new(),
        }
    }

    /// Takes `input` in.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Configure(targets) => self.configure(targets, now),
            Input::Outcome { id, generation, outcome } => self.outcome(id, generation, outcome, now),
        }
        self.start_waiting(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            self.expire(id, now);
        }
        self.start_waiting(now);
    }

    /// When [`Self::handle_timeout`] is to be called; later than its last `now`.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next thing to do; `None`: nothing until the next input or deadline.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Probes under way now.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// The longest that a probe has started after its time.
    pub fn latest_start(&self) -> Duration {
        self.latest_start
    }

    /// What is known of a target; `None`: there is no such target.
    pub fn view(&self, id: TargetId, now: Instant) -> Option<HealthView> {
        self.targets.get(&id).map(|entry| entry.record.view(&entry.check, entry.endpoint(), now))
    }

    fn configure(&mut self, targets: Vec<Target>, now: Instant) {
        let wanted: BTreeMap<TargetId, Target> = targets.into_iter().map(|target| (target.id, target)).collect();
        let mut before = std::mem::take(&mut self.targets);
        let mut fresh = Vec::new();
        for (id, target) in wanted {
            let entry = match before.remove(&id) {
                Some(entry) if entry.is(&target) => entry,
                Some(entry) => {
                    fresh.push(id);
                    self.change(id, entry, target, now)
                }
                None => {
                    fresh.push(id);
                    let record = Record::remembered(target.memory.as_ref(), now);
                    Entry::new(target, record)
                }
            };
            self.targets.insert(id, entry);
        }
        for (id, entry) in &before {
            self.stop(*id, entry.phase);
        }
        let targets = &self.targets;
        self.line.retain(|id| targets.get(id).is_some_and(|entry| matches!(entry.phase, Phase::Queued { .. })));
        self.begin(&fresh, now);
    }

    fn change(&mut self, id: TargetId, entry: Entry, target: Target, now: Instant) -> Entry {
        self.stop(id, entry.phase);
        let mut record = entry.record;
        if entry.address == target.address {
            record.restart();
        } else {
            let reason = format!("the address has changed from {} to {}", entry.address, target.address);
            self.report(id, record.forget(reason, now));
        }
        Entry::new(target, record)
    }

    /// Gives up the timer or the probe of a target that leaves or changes.
    fn stop(&mut self, id: TargetId, phase: Phase) {
        match phase {
            Phase::Unchecked | Phase::Queued { .. } => {}
            Phase::Idle { start } => {
                self.timers.remove(&(start, id));
            }
            Phase::Probing { generation, deadline, .. } => {
                self.timers.remove(&(deadline, id));
                self.under_way -= 1;
                self.actions.push_back(Action::Cancel { id, generation });
            }
        }
    }

    /// First probes: spread out when they are many, without delay when they are few.
    fn begin(&mut self, fresh: &[TargetId], now: Instant) {
        let window = SPREAD.saturating_mul(u32::try_from(fresh.len()).unwrap_or(u32::MAX));
        for &id in fresh {
            let Some(entry) = self.targets.get_mut(&id) else { continue };
            if entry.check.probe == Probe::None {
                let change = entry.record.uncheck(now);
                self.report(id, change);
                continue;
            }
            let start = now + shift(self.seed, id, window.min(entry.check.interval));
            entry.phase = Phase::Idle { start };
            self.timers.insert((start, id));
        }
    }

    fn outcome(&mut self, id: TargetId, generation: u32, outcome: Outcome, now: Instant) {
        let Some(entry) = self.targets.get(&id) else { return };
        let Phase::Probing { generation: current, deadline, .. } = entry.phase else { return };
        if generation != current {
            return;
        }
        self.timers.remove(&(deadline, id));
        // What counts is how long the real server took, and not when somebody found the time to look.
        let timeout = entry.check.timeout.max(SHORTEST);
        let outcome = match outcome {
            Outcome::Success { latency } if latency > timeout => {
                Outcome::Failure(Failure::Timeout { after: entry.check.timeout })
            }
            outcome => outcome,
        };
        self.conclude(id, outcome, now);
    }

    fn expire(&mut self, id: TargetId, now: Instant) {
        let Some(entry) = self.targets.get_mut(&id) else { return };
        match entry.phase {
            Phase::Unchecked | Phase::Queued { .. } => debug_assert!(false, "{:?} has no timer", entry.phase),
            Phase::Idle { start } => {
                entry.phase = Phase::Queued { due: start };
                self.line.push_back(id);
            }
            Phase::Probing { generation, .. } => {
                let after = entry.check.timeout;
                self.actions.push_back(Action::Cancel { id, generation });
                self.conclude(id, Outcome::Failure(Failure::Timeout { after }), now);
            }
        }
    }

    /// A probe under way is over; its timer is gone already.
    fn conclude(&mut self, id: TargetId, outcome: Outcome, now: Instant) {
        let Some(entry) = self.targets.get_mut(&id) else { return };
        let Phase::Probing { started, .. } = entry.phase else { return };
        self.under_way -= 1;
        // A probe may take longer than the interval: then the next one starts right after it.
        let start = (started + entry.check.interval.max(SHORTEST)).max(now);
        entry.phase = Phase::Idle { start };
        self.timers.insert((start, id));
        let took = now.saturating_duration_since(started);
        let change = entry.record.apply(outcome, took, &entry.check, entry.endpoint(), now);
        self.report(id, change);
    }

    fn start_waiting(&mut self, now: Instant) {
        while self.under_way < self.limit {
            let Some(id) = self.line.pop_front() else { break };
            let Some(entry) = self.targets.get_mut(&id) else { continue };
            if let Phase::Queued { due } = entry.phase {
                self.latest_start = self.latest_start.max(now.saturating_duration_since(due));
            }
            self.generation = self.generation.wrapping_add(1);
            let deadline = now + entry.check.timeout.max(SHORTEST);
            entry.phase = Phase::Probing { generation: self.generation, started: now, deadline };
            self.timers.insert((deadline, id));
            self.under_way += 1;
            self.actions.push_back(Action::Probe {
                id,
                generation: self.generation,
                address: entry.address,
                check: Arc::clone(&entry.check),
                subject: entry.subject,
            });
        }
        debug_assert!(self.under_way <= self.limit);
    }

    fn report(&mut self, id: TargetId, change: Option<Change>) {
        if let Some(Change { from, to, reason }) = change {
            self.actions.push_back(Action::Transition(Transition { id, from, to, reason }));
        }
    }
}

impl Entry {
    fn new(target: Target, record: Record) -> Self {
        let Target { address, check, subject, .. } = target;
        Self { address, check: Arc::new(check), subject, record, phase: Phase::Unchecked }
    }

    fn is(&self, target: &Target) -> bool {
        self.address == target.address && *self.check == target.check && self.subject == target.subject
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, port: self.check.port }
    }
}

/// A part of `window` that depends on nothing but the seed and the target (SplitMix64's finalizer).
fn shift(seed: u64, id: TargetId, window: Duration) -> Duration {
    let mut x = seed.wrapping_add(u64::from(id.0).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let parts = u32::try_from((x ^ (x >> 31)) & 0xffff).unwrap_or(0);
    window * parts / 0x1_0000
}

/// First probes are this far apart, on average, unless the interval is too short for it.
const SPREAD: Duration = Duration::from_millis(2);

/// The shortest interval and timeout: time has to pass between one probe and the next.
const SHORTEST: Duration = Duration::from_millis(1);
