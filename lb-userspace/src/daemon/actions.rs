//! What the machines want done: actions are performed, plans are written.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_core::control::Action;
use lb_core::view::{EventKind, Severity};
use tracing::{debug, error};

use super::Daemon;
use crate::dataplane::program;
use crate::health::Question;

/// How long the loop carries out actions before it looks for events again.
const TURN: Duration = Duration::from_millis(10);

/// A plan is followed by a pause of so many times its length, so that planning never takes more than a fifth of a
/// CPU. One alone takes a few milliseconds, and is never put off.
const PLAN_SHARE: u32 = 4;

/// Between attempts to write a plan that the kernel refused.
const RETRY: Duration = Duration::from_secs(1);

impl Daemon {
    /// Carries out what the machines want, until they want nothing more or a turn is over: very many questions at
    /// once must not hold up the probes.
    pub(super) async fn act(&mut self) {
        let end = Instant::now() + TURN;
        loop {
            while Instant::now() < end
                && let Some(action) = self.control.poll_action()
            {
                self.perform(action).await;
            }
            // Before the tables, as with the numbers: a daemon that dies now leaves a successor that knows who is down.
            self.keep_health(Instant::now());
            self.plan_in_turn();
            self.keep_numbers();
            self.replace_when_settled().await;
            self.announce().await;
            if !self.control.has_actions() || Instant::now() >= end {
                return;
            }
        }
    }

    /// Writes a plan, unless planning has had its share of the time: when very many servers change at once, their
    /// changes are planned together.
    fn plan_in_turn(&mut self) {
        if Instant::now() >= self.next_plan {
            self.plan();
        }
    }

    /// Writes a plan that waits for its turn: who is told of a state may count on it.
    pub(super) fn catch_up(&mut self) {
        // One that the kernel refused waits for its retry.
        if self.control.wants_plan() && self.retry.is_none() {
            self.plan();
        }
    }

    fn plan(&mut self) {
        let begun = Instant::now();
        if let Err(error) = self.write_plan() {
            error!("the tables could not be brought up to date, tried again in a second: {error:#}");
            self.retry = Some(Instant::now() + RETRY);
        }
        self.next_plan = Instant::now() + begun.elapsed() * PLAN_SHARE;
    }

    /// Puts the program with the new tables in place of the one whose tables were put aside.
    async fn replace_when_settled(&mut self) {
        let due = |by: &mut Instant| *by <= Instant::now() || self.control.is_settled();
        if self.attach_by.take_if(due).is_none() {
            return;
        }
        let replaced = match self.attach().await {
            Ok(()) => program::forget_aside(&self.options.pin_dir).map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        match replaced {
            Ok(()) => {
                let sentence = "the tables that were put aside are replaced";
                self.told(EventKind::Daemon, Severity::Info, None, sentence);
            }
            Err(error) => {
                let problem = format!("the tables that were put aside could not be replaced: {error:#}");
                self.told(EventKind::Daemon, Severity::Warning, None, problem.clone());
                self.problems.insert("aside".to_owned(), problem);
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Probe { id, generation, address, check, subject } => {
                self.prober.probe(id, generation, Question { address, check, subject });
            }
            Action::Cancel { id, generation } => self.prober.cancel(id, generation),
            Action::Ask(question) => {
                if let Some(answer) = self.netlink.perform(&question).await {
                    self.control.neighbour(answer, Instant::now());
                }
            }
            Action::Notice(notice) => self.notice(notice),
        }
    }

    /// Brings the kernel tables to where they should be.
    pub(super) fn write_plan(&mut self) -> Result<()> {
        self.tell_proxy();
        let operations = self.control.plan()?;
        self.retry = None;
        if !operations.is_empty() {
            debug!(operations = operations.len(), "writing the tables");
            self.unkept.is = true;
        }
        // Before the tables: a daemon that dies within the plan leaves names for all numbers it may have written.
        self.keep_numbers();
        for operation in &operations {
            self.tables.write(operation)?;
            self.control.applied(operation);
        }
        if !operations.is_empty() {
            self.control.settled();
            self.rename_traced();
        }
        Ok(())
    }
}
