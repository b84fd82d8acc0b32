//! What is checked.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::model::HealthCheck;

/// One question to one real server, on behalf of whoever wants to know. The caller gives the numbers and
/// keeps them across reloads, so that a target that stays keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

/// A real server and how it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which one.
    pub id: TargetId,
    /// The real server's own address.
    pub address: IpAddr,
    /// What is asked, and how often.
    pub check: HealthCheck,
    /// VIP and its port, for a check that is told them (`script`); `None`: it is not.
    pub subject: Option<(IpAddr, u16)>,
    /// What an earlier daemon knew; counts only for a target that is new.
    pub memory: Option<Memory>,
}

/// What is known of a target from before a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Whether it was up; otherwise it was down.
    pub up: bool,
    /// For how long.
    pub since: Duration,
    /// Age of the last check that succeeded.
    pub last_good: Option<Duration>,
}

/// Where a probe goes, as an administrator writes it: `10.0.0.1`, `10.0.0.1:104`, `[2001:db8::1]:104`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The real server.
    pub address: IpAddr,
    /// Its port; `None` for probes that use none.
    pub port: Option<u16>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, None) => write!(f, "{address}"),
            (IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
        }
    }
}
