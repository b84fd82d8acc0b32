//! What goes into a compilation beside the configuration, and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::abi::{
    Address, PortRanges, PortRangesKey, Server, ServerId, ServerState, Service, ServiceId, ServiceMode, ServicePortKey,
    Settings,
};

use super::ids::ServerIdentity;

/// Names a real server of a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey {
    /// Name of the virtual service.
    pub service: String,
    /// Name of the real server; [`super::FALLBACK`] for the fallback server.
    pub server: String,
}

/// What is known of a real server beside its configuration. The default, for a server that has no
/// input: online, not yet checked, next hop not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerInput {
    /// What the administrator ordered.
    pub admin: Admin,
    /// What its check says.
    pub health: Health,
    /// Where its frames go; `None`: not resolved yet.
    pub next_hop: Option<NextHop>,
    /// Instead of the configured weight.
    pub weight: Option<u16>,
    /// It has as many connections as it may have: new flows go to others while there are any.
    pub full: bool,
}

/// What the administrator ordered for a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admin {
    /// Nothing.
    #[default]
    Online,
    /// No new clients; flows and persistent clients stay.
    Drained,
    /// Nothing at all.
    Halted,
}

/// What the check of a real server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It works, or it is not checked.
    Up,
    /// It does not.
    Down,
    /// Not decided yet; nothing is sent there.
    #[default]
    Checking,
}

/// How a frame gets to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Device to transmit on; not 0.
    pub ifindex: u32,
    /// MAC address of the device.
    pub source_mac: [u8; 6],
    /// MAC address of the next hop.
    pub destination_mac: [u8; 6],
    /// VLAN of the outer tag; 0: untagged.
    pub outer_vlan: u16,
    /// VLAN of the inner tag; 0: at most one tag.
    pub inner_vlan: u16,
    /// The address of this machine that the kernel prefers on this way.
    pub source: Option<Address>,
}

/// What each kernel table should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `settings`.
    pub settings: Settings,
    /// `vip_filter`: words that are not zero.
    pub filter: BTreeMap<u32, u64>,
    /// `reply_filter`: words that are not zero.
    pub reply_filter: BTreeMap<u32, u64>,
    /// `sources`.
    pub sources: BTreeMap<u32, Address>,
    /// `service_ports`.
    pub service_ports: BTreeMap<ServicePortKey, ServiceId>,
    /// `port_ranges`.
    pub port_ranges: BTreeMap<PortRangesKey, PortRanges>,
    /// `services`; sizes of ring and turns are right, bases are 0 until [`super::plan()`] places them.
    pub services: BTreeMap<ServiceId, Service>,
    /// What `schedule` holds for each service.
    pub schedules: BTreeMap<ServiceId, Arc<Schedule>>,
    /// `servers`; numbers that were in use and are not now are down, the rest of their entry is zero.
    pub servers: BTreeMap<ServerId, Server>,
    /// Backup and fallback servers that are not asked now. They are active, so that their flows may
    /// end in peace; but their persistence records must go, or clients would stay with them for as
    /// long as they come back.
    pub off_duty: BTreeSet<ServerId>,
    /// Numbers by name, for whoever reads counters and flows.
    pub service_numbers: BTreeMap<String, ServiceId>,
    /// Numbers by name, for whoever reads counters and flows.
    pub server_numbers: BTreeMap<ServerKey, ServerId>,
    /// Numbers of those that the configuration names no longer.
    pub leaving: BTreeMap<ServerIdentity, ServerId>,
}

/// The lists of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The consistent-hash ring; empty: no server can be had.
    pub ring: Vec<ServerId>,
    /// The turn list; empty for schedulers that take none.
    pub turns: Vec<ServerId>,
}

/// Whether a ring or turn list may name this server: it is active, has a weight, its next hop is known,
/// and in `l4-snat` its source address.
#[must_use]
pub fn schedulable(server: &Server) -> bool {
    ServerState::from_u8(server.state) == ServerState::Active
        && server.weight > 0
        && server.ifindex != 0
        && (server.source != 0 || ServiceMode::from_u8(server.mode) != ServiceMode::SourceNat)
}
