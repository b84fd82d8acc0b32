//! Entries of the tables.
//!
//! Closed sets (states, modes, schedulers) are stored as `u8` and read through enums here: the
//! bytes come from a map, so any value may be found, and an unknown one must be harmless.

use super::{Address, MAX_PORT_RANGES, Plain, ServerId, ServiceId, Ticks};

/// What the datapath remembers of a flow. One cache line holds it and its key's tail.
///
/// Fields that are zero in a new flow stand apart, so that the kernel program stores them and does
/// not call a function that clears a block. Those for translation are zero in `l4-dr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Its virtual service.
    pub service: ServiceId,
    /// `l4-snat`: number of the source address that the real server sees, see `sources`.
    pub source: u32,
    /// Its real server.
    pub server: ServerId,
    /// `l4-snat`: the source port that the real server sees, host order.
    pub source_port: u16,
    /// A [`FlowState`].
    pub state: u8,
    /// Who knows this flow: 0 only this unit, 1 mirrored to the peer, 2 received from the peer.
    pub origin: u8,
    /// The server's generation when the flow was scheduled; another one now means: forget it.
    pub generation: u32,
    /// Last packet from the client.
    pub last_seen: Ticks,
    /// First packet from the client.
    pub created: Ticks,
    /// Translation: a digest of where the client's packets come from, so that a change is noticed
    /// without a look at the [`Reply`].
    pub last_hop: u32,
}

/// What the datapath remembers for the packets of a real server that answers a translated flow: what
/// they become, and the last hop, by which the client's packets came and these leave.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Destination that the packets get: the client.
    pub client: Address,
    /// Source that they get: the VIP.
    pub vip: Address,
    /// Destination port that they get, host order.
    pub client_port: u16,
    /// Source port that they get, host order.
    pub vip_port: u16,
    /// The real server.
    pub server: ServerId,
    /// Its generation when the flow was scheduled; another one now means: forget it.
    pub generation: u32,
    /// Last packet from the real server.
    pub last_seen: Ticks,
    /// Device of the last hop.
    pub ifindex: u32,
    /// MAC address of the last hop.
    pub destination_mac: [u8; 6],
    /// MAC address of the device.
    pub source_mac: [u8; 6],
    /// VLAN of the outer tag; 0: untagged.
    pub outer_vlan: u16,
    /// VLAN of the inner tag; 0: at most one tag.
    pub inner_vlan: u16,
    /// `l4-snat`: the pool that the source port belongs to, see `source_ports`.
    pub pool: u32,
    /// Which sides have sent FIN: [`Reply::CLIENT_FIN`], [`Reply::SERVER_FIN`]; a reset ends both.
    pub ended: u32,
}

impl Reply {
    /// The client has sent FIN.
    pub const CLIENT_FIN: u32 = 1;
    /// The real server has sent FIN.
    pub const SERVER_FIN: u32 = 2;
    /// Both have.
    pub const BOTH_FIN: u32 = Self::CLIENT_FIN | Self::SERVER_FIN;
}

/// How far a flow has come, as far as the client's packets show.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// One packet seen; may be spoofed.
    Pending = 0,
    /// The client has answered the server.
    Established = 1,
    /// Over: RST seen, or FIN from both sides; in `l4-dr`, where the real server's packets are not
    /// seen, from the client.
    Closing = 2,
    /// FIN seen from the client, and not yet from the real server.
    HalfClosed = 3,
}

impl FlowState {
    /// Anything unknown counts as pending, the state with the fewest rights.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Established,
            2 => Self::Closing,
            3 => Self::HalfClosed,
            _ => Self::Pending,
        }
    }
}

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

/// What the first fragment of a datagram said, and the later ones do not say.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The server it goes to; 0: it came from a real server, and goes to a client.
    pub server: ServerId,
    /// The server's generation.
    pub generation: u32,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
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
    assert!(size_of::<Flow>() == 6 * 4 + 2 + 1 + 1 + 4);
    assert!(size_of::<Service>() == 16 + 5 * 4 + 1 + 1 + 2 + 4);
    assert!(size_of::<Server>() == 4 + 4 + 6 + 6 + 3 * 2 + 1 + 1 + 6 * 4 + 16);
    assert!(size_of::<Reply>() == 2 * 16 + 2 * 2 + 4 * 4 + 2 * 6 + 2 * 2 + 2 * 4);
    assert!(size_of::<PortRanges>() == 4 + 8 * MAX_PORT_RANGES);
    assert!(size_of::<Persistence>() == 16);
    assert!(size_of::<Fragment>() == 12);
    assert!(size_of::<Opened>() == 16);
    assert!(size_of::<Admission>() == 16);
    assert!(size_of::<ServerCounters>() == 40);
    assert!(size_of::<VerdictCounters>() == 16);
    assert!(size_of::<Settings>() == 24);
};

impl Plain for Flow {}
impl Plain for Reply {}
impl Plain for Service {}
impl Plain for Server {}
impl Plain for PortRanges {}
impl Plain for Persistence {}
impl Plain for Fragment {}
impl Plain for Opened {}
impl Plain for Admission {}
impl Plain for ServerCounters {}
impl Plain for VerdictCounters {}
impl Plain for Settings {}
