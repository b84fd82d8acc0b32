//! What is known of one real server: its state, the checks in a row, the last good one.
//!
//! In: outcomes, one after the other. Out: a change of state with its reason, and the view that
//! `lbctl health` shows. Absent: when probes start and end.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::damping::{self, Falls};
use super::outcome::{Failure, Outcome};
use super::target::{Endpoint, Memory};
use super::words::{InARow, Roughly};
use crate::config::model::{HealthCheck, Probe};

/// Whether a real server takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No check has ended yet.
    Checking,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checking => "checking",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// The health of one real server, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthView {
    /// Now.
    pub state: State,
    /// How long it has been so.
    pub since: Duration,
    /// What the last check found, in one sentence without a full stop.
    pub reason: String,
    /// Age of the last check that succeeded; `None`: there was none.
    pub last_good: Option<Duration>,
    /// How long the last success took; `None`: there was none.
    pub last_latency: Option<Duration>,
    /// Successes in a row.
    pub successes: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Successes in a row that bring it up now: `rise`, or more while it is damped.
    pub rise: u32,
    /// The last probes, the latest first, at most [`HISTORY`].
    pub history: Vec<Sample>,
}

/// Probes that are remembered of each target.
pub const HISTORY: usize = 16;

/// One probe that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long ago.
    pub ago: Duration,
    /// As expected.
    pub good: bool,
    /// From its start to its end.
    pub took: Duration,
}

/// A change of state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: State,
    pub(super) to: State,
    pub(super) reason: String,
}

/// Everything that outcomes have told.
#[derive(Debug)]
pub(super) struct Record {
    state: State,
    since: Instant,
    /// Whether the present check has spoken; until then its first outcome decides.
    settled: bool,
    successes: u32,
    failures: u32,
    last_failure: Option<Failure>,
    last_good: Option<Instant>,
    last_latency: Option<Duration>,
    falls: Falls,
    /// End, success and length of the last probes, the latest last.
    history: VecDeque<(Instant, bool, Duration)>,
}

impl Record {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Checking,
            since: now,
            settled: false,
            successes: 0,
            failures: 0,
            last_failure: None,
            last_good: None,
            last_latency: None,
            falls: Falls::default(),
            history: VecDeque::new(),
        }
    }

    /// Goes on from before a restart: what was decided then stands until `rise` or `fall` checks say otherwise.
    pub(super) fn remembered(memory: Option<&Memory>, now: Instant) -> Self {
        let Some(memory) = memory else { return Self::new(now) };
        // The clock of a machine that has just booted may not reach that far back.
        let before = |ago: Duration| now.checked_sub(ago).unwrap_or(now);
        Self {
            state: if memory.up { State::Up } else { State::Down },
            since: before(memory.since),
            settled: true,
            last_good: memory.last_good.map(before),
            ..Self::new(now)
        }
    }

    /// Another check asks from now on: what the old one decided stands until the new one has spoken.
    pub(super) fn restart(&mut self) {
        self.settled = false;
        self.successes = 0;
        self.failures = 0;
        self.last_failure = None;
    }

    /// Another machine answers from now on: nothing is known of it.
    pub(super) fn forget(&mut self, reason: String, now: Instant) -> Option<Change> {
        let change = self.turn(State::Checking, reason, now);
        *self = Self::new(now);
        change
    }

    /// No check: up, and it stays so.
    pub(super) fn uncheck(&mut self, now: Instant) -> Option<Change> {
        self.restart();
        self.settled = true;
        self.turn(State::Up, UNCHECKED.to_owned(), now)
    }

    pub(super) fn apply(
        &mut self,
        outcome: Outcome,
        took: Duration,
        check: &HealthCheck,
        who: Endpoint,
        now: Instant,
    ) -> Option<Change> {
        let first = !self.settled;
        self.settled = true;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((now, matches!(outcome, Outcome::Success { .. }), took));
        match outcome {
            Outcome::Success { latency } => self.succeed(latency, first, check, who, now),
            Outcome::Failure(failure) => self.fail(failure, first, check, who, now),
        }
    }

    fn succeed(
        &mut self,
        latency: Duration,
        first: bool,
        check: &HealthCheck,
        who: Endpoint,
        now: Instant,
    ) -> Option<Change> {
        self.successes = self.successes.saturating_add(1);
        self.failures = 0;
        self.last_good = Some(now);
        self.last_latency = Some(latency);
        if self.state == State::Up || !(first || self.successes >= self.rise(check, now)) {
            return None;
        }
        self.last_failure = None;
        let mut reason = format!("{who} answered in {} ({} succeeded)", Roughly(latency), InARow(self.successes));
        if self.state == State::Down {
            reason += &format!("; it was down for {}", Roughly(now.saturating_duration_since(self.since)));
        }
        self.turn(State::Up, reason, now)
    }

    fn fail(
        &mut self,
        failure: Failure,
        first: bool,
        check: &HealthCheck,
        who: Endpoint,
        now: Instant,
    ) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        let sentence = failure.about(who);
        self.last_failure = Some(failure);
        // A first failure decides only where nothing else is known: flows of a server that was up are not cut
        // because of one check that is new.
        let decides = (first && self.state == State::Checking) || self.failures >= u32::from(check.fall);
        if self.state == State::Down || !decides {
            return None;
        }
        let last_good = self.last_good.map_or_else(
            || "never good so far".to_owned(),
            |then| format!("last good {} ago", Roughly(now.saturating_duration_since(then))),
        );
        if self.state == State::Up {
            self.falls.note(now);
        }
        self.turn(State::Down, format!("{sentence} ({} failed); {last_good}", InARow(self.failures)), now)
    }

    fn turn(&mut self, to: State, reason: String, now: Instant) -> Option<Change> {
        let from = self.state;
        if from == to {
            return None;
        }
        self.state = to;
        self.since = now;
        Some(Change { from, to, reason })
    }

    pub(super) fn view(&self, check: &HealthCheck, who: Endpoint, now: Instant) -> HealthView {
        HealthView {
            state: self.state,
            since: now.saturating_duration_since(self.since),
            reason: self.reason(check, who, now),
            last_good: self.last_good.map(|then| now.saturating_duration_since(then)),
            last_latency: self.last_latency,
            successes: self.successes,
            failures: self.failures,
            rise: self.rise(check, now),
            history: self.history(now),
        }
    }

    fn history(&self, now: Instant) -> Vec<Sample> {
        let sample = |(then, good, took): &(Instant, bool, Duration)| Sample {
            ago: now.saturating_duration_since(*then),
            good: *good,
            took: *took,
        };
        self.history.iter().rev().map(sample).collect()
    }

    fn rise(&self, check: &HealthCheck, now: Instant) -> u32 {
        if check.flap_damping { self.falls.rise(u32::from(check.rise), now) } else { u32::from(check.rise) }
    }

    fn reason(&self, check: &HealthCheck, who: Endpoint, now: Instant) -> String {
        if check.probe == Probe::None {
            return UNCHECKED.to_owned();
        }
        match (self.state, &self.last_failure) {
            (State::Checking, _) => format!("the first check of {who} has not ended yet"),
            (State::Up | State::Down, _) if !self.settled => {
                format!("the health check of {who} has changed, and the new one has not ended yet")
            }
            (State::Up, Some(failure)) if self.failures > 0 => format!(
                "{} ({} failed; it goes down at {})",
                failure.about(who),
                InARow(self.failures),
                check.fall.max(1)
            ),
            (State::Down, Some(failure)) if self.failures > 0 => {
                format!("{} ({} failed)", failure.about(who), InARow(self.failures))
            }
            (State::Down, _) if self.successes == 0 => format!("{who} was down before lbd started"),
            (State::Down, _) => self.returning(check, who, now),
            (State::Up, _) => match self.last_latency {
                Some(latency) => format!("{who} answered in {}", Roughly(latency)),
                None => format!("{who} was up before lbd started"),
            },
        }
    }

    fn returning(&self, check: &HealthCheck, who: Endpoint, now: Instant) -> String {
        let rise = self.rise(check, now);
        let damped = if rise > u32::from(check.rise) {
            let (falls, window) = (self.falls.lately(now), Roughly(damping::WINDOW));
            let more = if falls < damping::REMEMBERED { "" } else { " or more" };
            format!(" and not {}, because it went down {falls} times{more} within {window}", check.rise)
        } else {
            String::new()
        };
        format!("{who} answers again ({} succeeded; it comes up at {rise}{damped})", InARow(self.successes))
    }
}

const UNCHECKED: &str = "no health check is configured, so the real server counts as up";
