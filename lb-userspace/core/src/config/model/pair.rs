//! The pair of balancers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::Secret;

/// The pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HighAvailability {
    /// Where the configuration is edited.
    pub role: HaRole,
    /// The other unit.
    pub peer: IpAddr,
    /// VRRP.
    pub vrrp: Vrrp,
    /// Mirroring of flows and states.
    pub sync: Sync,
}

/// Which of a pair this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HaRole {
    /// The configuration is edited here.
    Primary,
    /// The configuration follows the Primary's.
    Secondary,
}

/// VRRP (RFC 9568).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vrrp {
    /// Interface that advertisements use.
    pub interface: String,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// 1 to 254.
    pub priority: u8,
    /// Between advertisements; whole centiseconds.
    pub advertisement_interval: Duration,
    /// Whether a unit of higher priority takes over from a lower one.
    pub preempt: bool,
}

/// Mirroring of flows and states to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sync {
    /// Address and port to listen on; `None`: any address, port 7778.
    pub listen: Option<SocketAddr>,
    /// TCP port of the peer.
    pub port: u16,
    /// Key shared by the pair.
    pub key: Secret,
}
