//! What the machine wants done, and why it can refuse.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::model::HealthCheck;
use crate::health::TargetId;
use crate::neighbour;
use crate::tables::{CompileError, PlanError, ServerKey};
use crate::view::EventKind;

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a probe; its end comes back by [`super::Control::probed`].
    Probe {
        /// Of this target.
        id: TargetId,
        /// Belongs into the report.
        generation: u32,
        /// Whom to ask.
        address: IpAddr,
        /// What to ask.
        check: Arc<HealthCheck>,
        /// VIP and its port, for a check that is told them.
        subject: Option<(IpAddr, u16)>,
    },
    /// End a probe without a report.
    Cancel {
        /// Of this target.
        id: TargetId,
        /// As it was started with.
        generation: u32,
    },
    /// A question about next hops; its answer comes back by [`super::Control::neighbour`].
    Ask(neighbour::Action),
    /// Something happened to a real server: one line for the log, and an event.
    Notice(Notice),
}

/// Something happened to a real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which.
    pub server: ServerKey,
    /// What it is about.
    pub kind: EventKind,
    /// Whether an administrator should look.
    pub worse: bool,
    /// What and why, in one sentence.
    pub sentence: String,
    /// Who did it, if somebody did.
    pub by: Option<String>,
}

impl Notice {
    pub(super) fn new(server: &ServerKey, kind: EventKind, worse: bool, sentence: String) -> Self {
        Self { server: server.clone(), kind, worse, sentence, by: None }
    }
}

/// Why a configuration cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not fit the tables.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// There is no room for its schedules beside the present ones.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
