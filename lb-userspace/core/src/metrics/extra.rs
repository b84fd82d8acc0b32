//! What is measured and stands neither in the overview nor among the health checks.

use std::time::Duration;

use crate::view::{EventKind, Severity};

/// What the shell adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// When all of it was gathered: seconds since 1970-01-01 UTC.
    pub at: u64,
    /// How reading the configuration went.
    pub reloads: Reloads,
    /// How long the last sweep over the tables took; `None`: none has ended yet.
    pub last_sweep: Option<Duration>,
    /// Events since the daemon started; a kind and severity that is not listed had none.
    pub events: Vec<EventCount>,
    /// The daemon as a process; `None`: the kernel does not say.
    pub process: Option<Process>,
}

/// How reading the configuration went. The start counts as a success, and not as a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Reloads that were carried out, or that found nothing to change.
    pub succeeded: u64,
    /// Reloads that were refused or not wholly carried out.
    pub failed: u64,
    /// Whether the last one failed.
    pub last_failed: bool,
    /// When the last one succeeded: seconds since 1970-01-01 UTC.
    pub last_success_at: u64,
}

/// How many events there were of one kind and severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// What they are about.
    pub kind: EventKind,
    /// Whether an administrator should look.
    pub severity: Severity,
    /// How many.
    pub count: u64,
}

/// The daemon as a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// When it started: milliseconds since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// Time that CPUs have spent on it, in user and kernel mode.
    pub cpu: Duration,
    /// Size of its address space.
    pub virtual_bytes: u64,
    /// Memory that it occupies.
    pub resident_bytes: u64,
    /// File descriptors that are open.
    pub open_files: u64,
    /// File descriptors that it may have open; `None`: any number.
    pub max_files: Option<u64>,
}
