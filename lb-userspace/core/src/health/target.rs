//! What is checked.

use std::fmt;
use std::net::IpAddr;

use crate::config::model::HealthCheck;

/// One real server of one virtual service. The caller gives the numbers and keeps them across
/// reloads, so that a target that stays keeps its state.
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
