//! Tables in memory that explain.

use std::cell::RefCell;

use super::{MemPacket, MemTables};
use crate::abi::{Explanation, ServiceId};
use crate::datapath::{Explaining, Notes, Peek, Verdict};

impl Peek for MemTables {
    fn turn(&self, service: ServiceId) -> u32 {
        self.rotation.borrow().get(&service).copied().unwrap_or_default()
    }
}

impl Notes for RefCell<Explanation> {
    fn note(&self, write: impl FnOnce(&mut Explanation)) {
        write(&mut self.borrow_mut());
    }
}

/// What would become of a frame that came in by interface `ingress`, and why.
#[must_use]
pub fn explain(tables: &MemTables, frame: &[u8], ingress: u32) -> (Verdict, Explanation) {
    let notes = RefCell::default();
    let verdict = Explaining::new(tables, &notes).explain(&mut MemPacket::new(frame, ingress));
    (verdict, notes.into_inner())
}
