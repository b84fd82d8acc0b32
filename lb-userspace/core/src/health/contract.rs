//! What the machine is told, and what it tells the shell to do.

use std::net::IpAddr;
use std::sync::Arc;

use super::outcome::Outcome;
use super::record::State;
use super::target::{Target, TargetId};
use crate::config::model::HealthCheck;

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The targets from now on; of two with one id, the later counts. A target that stays the same
    /// keeps its state, its counts and its schedule. One whose check has changed starts anew, and keeps
    /// its state until the new check has spoken. One whose address has changed is Checking again.
    Configure(Vec<Target>),
    /// A probe has ended.
    Outcome {
        /// Of this target.
        id: TargetId,
        /// As in [`Action::Probe`]; an outcome of an earlier probe is ignored.
        generation: u32,
        /// How it ended.
        outcome: Outcome,
    },
}

/// What the shell does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a probe, and report its outcome with the same id and generation.
    Probe {
        /// Of this target.
        id: TargetId,
        /// Tells this probe from the target's earlier ones.
        generation: u32,
        /// The real server.
        address: IpAddr,
        /// What to ask. The machine watches its `timeout`.
        check: Arc<HealthCheck>,
        /// As in [`Target::subject`].
        subject: Option<(IpAddr, u16)>,
    },
    /// Drop that probe: its outcome does not matter any more.
    Cancel {
        /// Of this target.
        id: TargetId,
        /// As in [`Action::Probe`].
        generation: u32,
    },
    /// A real server has changed its state.
    Transition(Transition),
}

/// A real server has changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which one.
    pub id: TargetId,
    /// What it was.
    pub from: State,
    /// What it is; only a change of address leads back to Checking.
    pub to: State,
    /// Why, in one sentence without a full stop.
    pub reason: String,
}
