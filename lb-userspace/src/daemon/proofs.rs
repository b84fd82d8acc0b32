//! What the daemon owes: proofs of its work to the watchdog, a line of status to the service
//! manager, and to the daemon after it the names of the numbers in the tables.

use std::time::{Duration, Instant};

use lb_core::control::Measured;
use lb_core::watchdog::Work;
use tracing::{info, warn};

use super::{Daemon, Event, numbers};
use crate::api::Request;
use crate::service;

/// Between attempts to keep the names when the disk is full.
const KEEP_AGAIN: Duration = Duration::from_secs(5);

/// Names of numbers that are in the tables and not yet in the file.
#[derive(Default)]
pub(super) struct Unkept {
    /// The tables were written since the names were kept.
    pub is: bool,
    /// When to try again.
    pub retry: Option<Instant>,
}

impl Event {
    /// Whether it makes the daemon read its configuration again.
    pub(super) fn reloads(&self) -> bool {
        matches!(self, Self::Reload | Self::Request(Request::Reload { .. }))
    }
}

impl Daemon {
    /// Says what is owed while the loop waits for the next event.
    pub(super) fn owe(&self) {
        let now = Instant::now();
        let mut dog = self.service.watchdog();
        dog.proved(Work::Loop, self.deadline().max(now));
        match self.control.next_deadline() {
            Some(deadline) => dog.proved(Work::Deadlines, deadline),
            None => dog.settle(Work::Deadlines),
        }
        // One that is under way owes its end by the time it was to begin.
        if self.sweeping.is_none() {
            dog.proved(Work::Sweep, self.next_sweep);
        }
        match self.retry {
            Some(_) => dog.owe(Work::Plan, now),
            None => dog.settle(Work::Plan),
        }
        if self.inbox.requests.is_empty() {
            dog.settle(Work::Requests);
        } else {
            dog.owe(Work::Requests, now);
        }
    }

    /// An event has come, and the loop has to be done with it in time.
    pub(super) fn begin(&self, event: &Event) {
        self.service.begun(Work::Loop);
        if matches!(event, Event::Request(_)) {
            self.service.watchdog().settle(Work::Requests);
        }
    }

    /// Services and servers in one line.
    pub(super) fn status_line(&self) -> String {
        let services = self.control.status(&Measured::new(), Instant::now());
        service::status_line(&services, self.problems.len() + self.vips.problems.len())
    }

    /// Keeps the names of the numbers in use. When that fails forwarding goes on, the problem is told,
    /// and it is tried again.
    pub(super) fn keep_numbers(&mut self) {
        let now = Instant::now();
        if !self.unkept.is || self.unkept.retry.is_some_and(|retry| now < retry) {
            return;
        }
        let directory = self.options.runtime_dir();
        // No interface has a name with a slash, so this one is nobody else's.
        let name = directory.display().to_string();
        match numbers::keep(&directory, self.control.ids()) {
            Ok(()) => {
                self.unkept = Unkept::default();
                if self.problems.remove(&name).is_some() {
                    info!("the names of the numbers in the tables are kept again");
                }
            }
            Err(error) => {
                self.unkept.retry = Some(now + KEEP_AGAIN);
                let problem = format!("{error}; until then a restart of lbd cuts flows of servers that are new");
                if self.problems.get(&name) != Some(&problem) {
                    warn!("{problem}");
                }
                self.problems.insert(name, problem);
            }
        }
    }
}
