//! What is measured of the things that run out.

use lb_common::abi::ServiceId;

use crate::view::Transport;

/// How much of everything is in use, as the last sweep found it and the counters say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Tables that turn new entries away when they are full.
    pub tables: Vec<Table>,
    /// Pools of source ports.
    pub pools: Vec<Pool>,
    /// New flows that found no source port, counting up.
    pub ports_refused: u64,
    /// New flows beyond limits.
    pub limits: Vec<Limit>,
}

/// A table of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What of `node.limits` is its size.
    pub limit: &'static str,
    /// Entries in it.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
    /// Whether half-open flows take its room, so that forgetting them makes some.
    pub half_open: bool,
    /// What happens when it is full.
    pub when_full: &'static str,
}

/// A pool of source ports, see `source_ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its number.
    pub number: u32,
    /// A virtual service that uses it.
    pub service: String,
    /// Its real server.
    pub server: String,
    /// Another virtual service that uses it too.
    pub shared_with: Option<String>,
    /// Which ports.
    pub protocol: Transport,
    /// Ports in use.
    pub in_use: u64,
    /// Ports there are.
    pub size: u64,
}

/// A limit of new flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Number of the service; 0: the limit is that of the machine.
    pub number: ServiceId,
    /// Name of the service; `None`: the limit is that of the machine.
    pub service: Option<String>,
    /// New flows that one CPU records per second.
    pub per_second: u32,
    /// Whether flows beyond it are refused; else they are forwarded without a record.
    pub refuses: bool,
    /// New flows beyond it, counting up.
    pub beyond: u64,
}

impl Table {
    pub(super) fn percent(&self) -> u64 {
        percent(self.entries, self.capacity)
    }
}

impl Pool {
    pub(super) fn percent(&self) -> u64 {
        percent(self.in_use, self.size)
    }
}

/// Rounded down; of nothing everything is in use only when something is.
fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}
