//! Entries of the tables.
//!
//! Closed sets (states, modes, schedulers) are stored as `u8` and read through enums here: the
//! bytes come from a map, so any value may be found, and an unknown one must be harmless.

use super::{Address, MAX_PORT_RANGES, Plain, ServerId, ServiceId, Ticks};

/// A virtual service, as the datapath needs it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Clients are remembered under this mask.
    pub client_mask: Address,
    /// First place of the consistent-hash ring in `schedule`.
    pub ring_base: u32,
    /// Places of the ring; 0: no server can be had.
    pub ring_size: u32,
    /// First place of the turn list in `schedule`.
    pub turns_base: u32,
    /// Places of the turn list.
    pub turns_size: u32,
    /// Idle time of a persistence record; 0: no persistence.
    pub persistence_timeout: Ticks,
    /// A [`ServiceMode`]; 0: there is no such service.
    pub mode: u8,
    /// A [`Scheduler`].
    pub scheduler: u8,
    /// Zero.
    pub spare: u16,
    /// New flows that one CPU records for it within a tick.
    pub new_flows_per_tick: u32,
}

/// How packets get to the real servers of a service.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceMode {
    /// No such service.
    None = 0,
    /// Direct routing.
    DirectRouting = 1,
    /// The destination is rewritten.
    Nat = 2,
    /// Source and destination are rewritten.
    SourceNat = 3,
}

impl ServiceMode {
    /// Anything unknown is no service.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::DirectRouting,
            2 => Self::Nat,
            3 => Self::SourceNat,
            _ => Self::None,
        }
    }
}

/// Picks a real server for a new flow.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Fewest connections for its weight, over a window of the turn list.
    WeightedLeastConnection = 0,
    /// The next of the turn list.
    WeightedRoundRobin = 1,
    /// The ring at the hash of the client's address.
    SourceHash = 2,
    /// The ring at the hash of the flow.
    Maglev = 3,
}

impl Scheduler {
    /// Anything unknown is the default.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::WeightedRoundRobin,
            2 => Self::SourceHash,
            3 => Self::Maglev,
            _ => Self::WeightedLeastConnection,
        }
    }
}

/// A real server of one virtual service, with the next hop towards it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Changes whenever flows and persistence records of this number must be forgotten.
    pub generation: u32,
    /// Device to transmit on; 0: the next hop is not known.
    pub ifindex: u32,
    /// MAC address of the next hop.
    pub destination_mac: [u8; 6],
    /// MAC address of the device.
    pub source_mac: [u8; 6],
    /// VLAN of the outer tag; 0: untagged.
    pub outer_vlan: u16,
    /// VLAN of the inner tag; 0: at most one tag.
    pub inner_vlan: u16,
    /// Port of the real server, host order; 0: the port the client used.
    pub port: u16,
    /// A [`ServerState`].
    pub state: u8,
    /// A [`ServiceMode`], that of its service.
    pub mode: u8,
    /// Share of new flows.
    pub weight: u32,
    /// Takes no new flow at this many connections; 0: no limit.
    pub max_connections: u32,
    /// Once full, takes new flows again below this; 0: below the maximum.
    pub min_connections: u32,
    /// Its service.
    pub service: ServiceId,
    /// `l4-snat`: number of the source address of new flows, see `sources`; 0: there is none.
    pub source: u32,
    /// `l4-snat`: the pool of source ports for TCP; the next one is for UDP. See `source_ports`.
    pub pool: u32,
    /// Its own address.
    pub address: Address,
}

/// What a real server may be given.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Nothing: failed its check, halted, or no such server. Its flows are cut.
    Down = 0,
    /// Everything.
    Active = 1,
    /// Its flows and its persistent clients, nobody new.
    Draining = 2,
}

impl ServerState {
    /// Anything unknown is down.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Active,
            2 => Self::Draining,
            _ => Self::Down,
        }
    }
}

/// A range of ports of one service; both ends included, host order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The service.
    pub service: ServiceId,
}

/// The port ranges of a (VIP, protocol); they do not overlap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRanges {
    /// How many of `ranges` are in use.
    pub count: u32,
    /// Sorted by first port.
    pub ranges: [PortRange; MAX_PORT_RANGES],
}

/// Which server a client keeps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    /// The server.
    pub server: ServerId,
    /// Its generation when the record was made.
    pub generation: u32,
    /// Last time a flow used the record.
    pub last_used: Ticks,
    /// When it was made.
    pub created: Ticks,
}

/// Flows given to a server since the table was made. Live connections are `opened - closed`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Counts up.
    pub flows: u64,
    /// 1 while the server is full, see [`Server::min_connections`].
    pub full: u32,
    /// Zero.
    pub spare: u32,
}

/// How many new flows this CPU has recorded within the current tick, over all services (number 0)
/// or for one of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The tick.
    pub tick: Ticks,
    /// New flows within it.
    pub flows: u32,
    /// New flows beyond the limit, counting up.
    pub beyond: u64,
}

/// Traffic to and from one server, counted by each CPU for itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// Frames to it.
    pub packets: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// New flows.
    pub flows: u64,
    /// Frames from it, which `l4-dr` does not see.
    pub reply_packets: u64,
    /// Bytes of these frames.
    pub reply_bytes: u64,
}

/// Frames that ended with one verdict, counted by each CPU for itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerdictCounters {
    /// Frames.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
}

/// What the whole datapath goes by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`super::ABI_VERSION`] of whoever made the tables.
    pub abi_version: u32,
    /// New flows one CPU records within a tick; beyond it they are forwarded without a record.
    pub new_flows_per_tick: u32,
    /// Length of a tick in nanoseconds.
    pub tick_ns: u64,
    /// First source port of `l4-snat`, host order.
    pub first_source_port: u16,
    /// Last one, included.
    pub last_source_port: u16,
    /// Zero.
    pub spare: u32,
}

const _: () = {
    assert!(size_of::<Address>() == 16);
    assert!(size_of::<Service>() == 16 + 5 * 4 + 1 + 1 + 2 + 4);
    assert!(size_of::<Server>() == 4 + 4 + 6 + 6 + 3 * 2 + 1 + 1 + 6 * 4 + 16);
    assert!(size_of::<PortRanges>() == 4 + 8 * MAX_PORT_RANGES);
    assert!(size_of::<Persistence>() == 16);
    assert!(size_of::<Opened>() == 16);
    assert!(size_of::<Admission>() == 16);
    assert!(size_of::<ServerCounters>() == 40);
    assert!(size_of::<VerdictCounters>() == 16);
    assert!(size_of::<Settings>() == 24);
};

impl Plain for Service {}
impl Plain for Server {}
impl Plain for PortRanges {}
impl Plain for Persistence {}
impl Plain for Opened {}
impl Plain for Admission {}
impl Plain for ServerCounters {}
impl Plain for VerdictCounters {}
impl Plain for Settings {}
