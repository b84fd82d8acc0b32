//! Tables in memory that explain.

use std::cell::RefCell;

use super::{MemPacket, MemTables};
use crate::abi::{Explanation, ServiceId};
use crate::datapath::{Explaining, Job, Notes, Peek, Verdict};

impl Peek for MemTables {
    fn turn(&self, service: ServiceId) -> u32 {
        self.rotation.borrow().get(&service).copied().unwrap_or_default()
    }
}

#[derive(Default)]
struct MemNotes {
    explanation: RefCell<Explanation>,
    job: RefCell<Job>,
}

impl Notes for MemNotes {
    fn note(&self, write: impl FnOnce(&mut Explanation)) {
        write(&mut self.explanation.borrow_mut());
    }

    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        Some(work(&mut self.job.borrow_mut()))
    }
}

/// What would become of a frame that came in by interface `ingress`, and why.
#[must_use]
pub fn explain(tables: &MemTables, frame: &[u8], ingress: u32) -> (Verdict, Explanation) {
    let notes = MemNotes::default();
    let verdict = Explaining::new(tables, &notes).explain(&mut MemPacket::new(frame, ingress));
    (verdict, notes.explanation.into_inner())
}
