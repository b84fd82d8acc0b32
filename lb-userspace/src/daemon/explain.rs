//! Where a client's packet would go: the datapath is asked, and what it found is told.

use std::time::Instant;

use lb_core::explain::{ask, explained};
use lb_core::view::{ExplainQuery, Explained, Step, StepKind};

use super::Daemon;

impl Daemon {
    /// The answer, or why there is none, in a sentence.
    pub(super) fn explain(&mut self, query: &ExplainQuery) -> Result<Explained, String> {
        let asked = ask(query, self.control.config(), |frame| self.program.explain(frame));
        let asked = asked.map_err(|error| format!("the datapath cannot be asked: {error}"))?;
        let mut told = explained(&self.control, query, &asked, Instant::now());
        if self.attach_by.is_some() {
            let sentence =
                "this is what the new tables say; until they are filled, the ones that were put aside decide";
            told.steps.insert(0, Step { about: StepKind::Service, sentence: sentence.to_owned() });
        }
        Ok(told)
    }
}
