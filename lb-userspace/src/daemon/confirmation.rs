//! A configuration on trial: unless it is confirmed in time, the one before comes back.

use std::time::{Duration, Instant};

use lb_core::config::model::Config;
use lb_core::control::Orders;
use lb_core::view::{ConfirmReport, EventKind, Severity};

use super::Daemon;
use crate::api::ReloadRefused;

/// What comes back, and when.
pub(super) struct Trial {
    before: Config,
    orders: Orders,
    until: Instant,
}

impl Trial {
    pub(super) fn new(before: Config, orders: Orders, within: Duration, now: Instant) -> Self {
        Self { before, orders, until: now + within }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn seconds_left(&self, now: Instant) -> u64 {
        // Rounded up: as long as it can be confirmed, at least one is left.
        self.until.saturating_duration_since(now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }
}

impl Daemon {
    /// Keeps the configuration that is on trial.
    pub(super) fn confirm(&mut self) -> Result<ConfirmReport, ReloadRefused> {
        self.trial.take().ok_or_else(nothing_on_trial)?;
        let sentence = "the configuration is confirmed and stays";
        self.told(EventKind::Configuration, Severity::Info, None, sentence);
        Ok(ConfirmReport { sentence: sentence.to_owned() })
    }

    /// Goes back now.
    pub(super) async fn rollback(&mut self) -> Result<ConfirmReport, ReloadRefused> {
        let trial = self.trial.take().ok_or_else(nothing_on_trial)?;
        let sentence = self.go_back(trial, "by order").await;
        Ok(ConfirmReport { sentence })
    }

    /// Goes back when nobody has confirmed in time.
    pub(super) async fn end_trial(&mut self, now: Instant) {
        if let Some(trial) = self.trial.take_if(|trial| trial.until <= now) {
            self.go_back(trial, "because nobody confirmed it").await;
        }
    }

    async fn go_back(&mut self, trial: Trial, why: &str) -> String {
        let Trial { before, orders, .. } = trial;
        let sentence = match self.put_in_force(before, Some(orders)).await {
            Ok(()) => format!("the configuration is rolled back {why}"),
            Err(ReloadRefused::Failed(error)) => format!("the configuration cannot be rolled back {why}: {error}"),
            Err(ReloadRefused::Invalid(_)) => format!("the configuration cannot be rolled back {why}"),
        };
        self.told(EventKind::Configuration, Severity::Warning, None, sentence.clone());
        self.problems.insert(
            ROLLED_BACK.to_owned(),
            format!("{sentence}: the file says something else than what is in force; mend it, then `lbctl reload`"),
        );
        sentence
    }
}

/// Under this name the problem of a file that is not in force is kept.
pub(super) const ROLLED_BACK: &str = "rolled back";

fn nothing_on_trial() -> ReloadRefused {
    ReloadRefused::Failed("no configuration waits for confirmation".to_owned())
}
