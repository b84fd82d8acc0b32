//! Health of real servers: which are checked when, and what the outcomes mean.
//!
//! In: the targets, outcomes of probes, and `now`. Out: probes to start and to cancel, and
//! transitions between up and down with the reason in one sentence. Absent: sockets, tasks, a
//! clock; what a probe says on the wire is the shell's.
//!
//! The first outcome of a target decides at once, and so does the first good one of a check that has changed.
//! Otherwise a real server goes down when `fall`
//! checks in a row have failed, and comes up when `rise` checks in a row have succeeded. One that went
//! down several times in a short while is damped: it needs more successes with each fall.

mod contract;
mod damping;
mod expect;
mod machine;
mod outcome;
mod record;
mod target;
mod words;

pub use contract::{Action, Input, Transition};
pub use expect::{Expectation, MOST_PAGE_BYTES, Patterns};
pub use machine::{DEFAULT_LIMIT, Health};
pub use outcome::{Detail, Ended, Failure, Outcome};
pub use record::{HISTORY, HealthView, Sample, State};
pub use target::{Endpoint, Memory, Target, TargetId};
pub(crate) use words::Exactly;

#[cfg(test)]
mod damping_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod tests;
