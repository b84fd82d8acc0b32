//! A signal that connections wait for beside their work: their real server was cut, their service goes.
//!
//! In: [`Signal::raise`]. Out: [`Signal::after`] returns for everybody who took the number before. Absent: who
//! raises it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// May be raised again and again; each time has a number.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: AtomicU64,
    notify: Notify,
}

impl Signal {
    /// How often it has been raised.
    pub(super) fn number(&self) -> u64 {
        self.raised.load(Ordering::Acquire)
    }

    /// Everybody who took the number before is told.
    pub(super) fn raise(&self) {
        self.raised.fetch_add(1, Ordering::AcqRel);
        self.notify.notify_waiters();
    }

    /// Returns once it was raised after `number` was taken.
    pub(super) async fn after(&self, number: u64) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Enabled before the number is looked at: what is raised in between wakes this.
            notified.as_mut().enable();
            if self.number() != number {
                return;
            }
            notified.await;
        }
    }
}
