//! What clients meet at one real server tells whether it is suspect.
//!
//! In: connections that were opened or not, statuses of answers, `now`. Out: whether others are asked before it, and each
//! change once. Absent: health checks, the choice itself ([`super::balance`]).
//!
//! A suspect rests. Then one client is let through: if that works out, the suspicion is over, else the suspect rests
//! again. A trial of which nothing is heard is over when it has lasted as long as a rest. Who was down and is found well
//! by its health check is no suspect either.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::model::PassiveHealth;
use crate::health::Exactly;

/// What is suspected of one real server. Many threads report at once; each change is told to one of them.
#[derive(Debug)]
pub struct Passive {
    began: Instant,
    /// See [`State`].
    state: AtomicU64,
    connect_failures: AtomicU32,
    server_errors: AtomicU32,
    limits: Limits,
}

/// [`PassiveHealth`], which a reload may change.
#[derive(Debug)]
struct Limits {
    connect_failures: AtomicU32,
    server_errors: AtomicU32,
    rest_ms: AtomicU64,
}

/// What an administrator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Others are asked before it from now on; the sentence says why.
    BecameSuspect(String),
    /// It is asked like the others again.
    Recovered,
}

/// Why somebody is suspect, which decides what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Connect,
    Answers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trusted,
    /// Until then (milliseconds since it began) nobody is let through.
    Resting(Cause, u64),
    /// One client is let through, and until then no other.
    Trial(Cause, u64),
}

impl Passive {
    /// `None`: it is never suspect.
    #[must_use]
    pub fn new(config: Option<PassiveHealth>, now: Instant) -> Self {
        let limits = Limits {
            connect_failures: AtomicU32::new(0),
            server_errors: AtomicU32::new(0),
            rest_ms: AtomicU64::new(0),
        };
        limits.set(config);
        Self {
            began: now,
            state: AtomicU64::new(State::Trusted.to_bits()),
            connect_failures: AtomicU32::new(0),
            server_errors: AtomicU32::new(0),
            limits,
        }
    }

    /// After a reload. What does not count any more is no cause either.
    pub fn configure(&self, config: Option<PassiveHealth>) -> Option<Change> {
        self.limits.set(config);
        self.recover(|state| state.cause().is_some_and(|cause| self.limits.of(cause) == 0))
    }

    /// Whether others are asked before it. After its rest it is not, until a client has [claimed](Self::claim) the trial.
    pub fn is_suspect(&self, now: Instant) -> bool {
        match self.state() {
            State::Trusted => false,
            State::Resting(_, until) | State::Trial(_, until) => self.at(now) < until,
        }
    }

    /// A client is to be sent there because it is not suspect. False: it is, another client has claimed the trial.
    pub fn claim(&self, now: Instant) -> bool {
        if self.state() == State::Trusted {
            return true;
        }
        let (at, until) = (self.at(now), self.rested(now));
        let claimed = self.change(|state| match state {
            State::Resting(cause, rested) | State::Trial(cause, rested) if rested <= at => {
                Some(State::Trial(cause, until))
            }
            State::Trusted | State::Resting(..) | State::Trial(..) => None,
        });
        claimed.is_some() || self.state() == State::Trusted
    }

    /// Its health check has found it well after it was down: what was met before says nothing of it any more.
    pub fn returned(&self) -> Option<Change> {
        clear(&self.connect_failures);
        clear(&self.server_errors);
        self.recover(|state| state != State::Trusted)
    }

    /// A connection could not be opened.
    pub fn connect_failed(&self, now: Instant) -> Option<Change> {
        let limit = self.limits.of(Cause::Connect);
        if limit == 0 {
            return None;
        }
        let failures = count(&self.connect_failures);
        self.failed(Cause::Connect, failures >= limit, now).then(|| {
            let rest = Exactly(self.limits.rest());
            let what = if failures == 1 {
                "a connection to it could not be opened".to_owned()
            } else {
                format!("{failures} connections in a row to it could not be opened")
            };
            Change::BecameSuspect(format!("{what}; it is asked last for {rest}"))
        })
    }

    /// A connection was opened. During a rest it may be one that was begun long before, so that tells nothing.
    pub fn connected(&self) -> Option<Change> {
        clear(&self.connect_failures);
        self.recover(|state| matches!(state, State::Trial(Cause::Connect, _)))
    }

    /// An answer with this status has come. A trial by any answer ends the suspicion that there is no connection to be
    /// had: it may have come by one that was kept.
    pub fn answered(&self, status: u16, now: Instant) -> Option<Change> {
        if !(500..600).contains(&status) {
            clear(&self.server_errors);
            return self.recover(|state| matches!(state, State::Trial(..)));
        }
        let recovered = self.recover(|state| matches!(state, State::Trial(Cause::Connect, _)));
        recovered.or_else(|| self.server_error(status, now))
    }

    fn server_error(&self, status: u16, now: Instant) -> Option<Change> {
        let limit = self.limits.of(Cause::Answers);
        if limit == 0 {
            return None;
        }
        let errors = count(&self.server_errors);
        self.failed(Cause::Answers, errors >= limit, now).then(|| {
            let rest = Exactly(self.limits.rest());
            let what = if errors == 1 {
                format!("it answered with status {status}")
            } else {
                format!("{errors} of its answers in a row had a status of 500 to 599, the last one {status}")
            };
            Change::BecameSuspect(format!("{what}; it is asked last for {rest}"))
        })
    }

    /// A failure, and whether it has made the difference. It begins a rest when there were enough in a row, and at once
    /// when the rest is over: whoever is let through then is the trial.
    fn failed(&self, cause: Cause, enough: bool, now: Instant) -> bool {
        let (at, until) = (self.at(now), self.rested(now));
        let before = self.change(|state| match state {
            State::Trusted => enough.then_some(State::Resting(cause, until)),
            State::Resting(_, rested) if at < rested => None,
            State::Resting(first, _) | State::Trial(first, _) => Some(State::Resting(first, until)),
        });
        before == Some(State::Trusted)
    }

    /// The suspicion is over, if it is one of those.
    fn recover(&self, over: impl Fn(State) -> bool) -> Option<Change> {
        self.change(|state| over(state).then_some(State::Trusted))?;
        clear(&self.connect_failures);
        clear(&self.server_errors);
        Some(Change::Recovered)
    }

    fn state(&self) -> State {
        State::from_bits(self.state.load(Ordering::Relaxed))
    }

    /// What it was, if it is something else now; of several threads that see the same, one changes it.
    fn change(&self, to: impl Fn(State) -> Option<State>) -> Option<State> {
        let to = |bits| to(State::from_bits(bits)).map(State::to_bits);
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, to).ok().map(State::from_bits)
    }

    fn at(&self, now: Instant) -> u64 {
        milliseconds(now.saturating_duration_since(self.began))
    }

    fn rested(&self, now: Instant) -> u64 {
        self.at(now).saturating_add(self.limits.rest_ms.load(Ordering::Relaxed))
    }
}

impl Limits {
    fn set(&self, config: Option<PassiveHealth>) {
        let (connect, answers) = config.map_or((0, 0), |config| (config.connect_failures, config.server_errors));
        self.connect_failures.store(connect, Ordering::Relaxed);
        self.server_errors.store(answers, Ordering::Relaxed);
        self.rest_ms.store(config.map_or(0, |config| milliseconds(config.rest)), Ordering::Relaxed);
    }

    fn of(&self, cause: Cause) -> u32 {
        match cause {
            Cause::Connect => self.connect_failures.load(Ordering::Relaxed),
            Cause::Answers => self.server_errors.load(Ordering::Relaxed),
        }
    }

    fn rest(&self) -> Duration {
        Duration::from_millis(self.rest_ms.load(Ordering::Relaxed))
    }
}

/// One word, so that threads change it as a whole: the time above two bits.
impl State {
    const TRUSTED: u64 = u64::MAX;

    fn to_bits(self) -> u64 {
        let word =
            |until: u64, cause, trial| (until.min(LATEST) << 2) | (u64::from(cause == Cause::Answers) << 1) | trial;
        match self {
            Self::Trusted => Self::TRUSTED,
            Self::Resting(cause, until) => word(until, cause, 0),
            Self::Trial(cause, until) => word(until, cause, 1),
        }
    }

    fn from_bits(bits: u64) -> Self {
        let cause = if bits & 2 == 0 { Cause::Connect } else { Cause::Answers };
        match bits {
            Self::TRUSTED => Self::Trusted,
            _ if bits & 1 == 0 => Self::Resting(cause, bits >> 2),
            _ => Self::Trial(cause, bits >> 2),
        }
    }

    fn cause(self) -> Option<Cause> {
        match self {
            Self::Trusted => None,
            Self::Resting(cause, _) | Self::Trial(cause, _) => Some(cause),
        }
    }
}

/// One more, and how many that is.
fn count(counter: &AtomicU32) -> u32 {
    counter.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

/// Written only if it changes: every client of every thread comes by.
fn clear(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The latest time that a state can tell.
const LATEST: u64 = (u64::MAX >> 2) - 1;

#[cfg(test)]
mod tests;
