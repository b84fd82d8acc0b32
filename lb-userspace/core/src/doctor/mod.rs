//! What administrators lose days to, found on the live network.
//!
//! In: what the daemon knows ([`Known`]), what the kernel says of this machine ([`Machine`]), and what
//! others answered to the [`Question`]s that follow from both. Out: findings, each with what, where, why
//! and what to type. Absent: packets, sockets, clocks; the shell asks. Nothing is found on a suspicion:
//! where an answer may have more than one cause, it is said that nothing can be told.

mod facts;
mod gateway;
mod kernel;
mod next_hop;
mod question;
mod remedy;
mod target;
#[cfg(test)]
mod tests;
mod vip;
mod xdp;

pub use facts::{Acceptance, Answer, Asked, Attachment, Device, Facts, Heard, Known, Machine, Settings};
pub use kernel::settings;
pub use question::{Question, questions};

use crate::view::{Examination, Finding, FindingCode, Place, Remedy};

/// What the facts come to.
#[must_use]
pub fn examine(known: &Known, facts: &Facts) -> Examination {
    let mut findings = Vec::new();
    next_hop::examine(known, facts, &mut findings);
    vip::examine(known, facts, &mut findings);
    gateway::examine(known, facts, &mut findings);
    xdp::examine(known, facts, &mut findings);
    kernel::examine(known, facts, &mut findings);
    let mut untold = facts.untold.clone();
    untold.extend(facts.asked.iter().filter_map(Asked::untold));
    untold.extend(gateway::untold(known, facts));
    untold.dedup();
    Examination { findings: merged(findings), untold, asked: facts.asked.len() as u64 }
}

fn finding(code: FindingCode, place: Place, what: String, why: impl Into<String>, fix: Vec<Remedy>) -> Finding {
    Finding { code, severity: code.severity(), what, place, why: why.into(), fix }
}

/// One finding for what is the same in several services; problems first.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|other| other.code == finding.code && other.what == finding.what) {
            Some(same) => {
                for service in finding.place.services {
                    if !same.place.services.contains(&service) {
                        same.place.services.push(service);
                    }
                }
            }
            None => merged.push(finding),
        }
    }
    // Stable: within a severity they stay in the order in which a cause comes before its effects.
    merged.sort_by_key(|finding| finding.severity as u8);
    merged
}
