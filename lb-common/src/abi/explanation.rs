//! What the program `lb_explain` notes while it decides about a made-up packet.
//!
//! Written by one run of that program, read by whoever asked for it. It is no table: nothing is
//! looked up in it, and nothing outlives the daemon.

use super::{Address, Flow, Persistence, Plain, Reply, ServerId, ServiceId, Ticks};

/// Servers that are noted of one packet: its flow's, its records', those that the scheduler looked
/// at, and the one that it was given.
pub const MAX_CONSIDERED: usize = 16;

/// What was found on the way of one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The flow, with [`Self::FLOW`] or [`Self::PENDING_FLOW`].
    pub flow: Flow,
    /// The record of a client who answered, with [`Self::CONFIRMED`].
    pub confirmed: Persistence,
    /// The record of a client of whom one packet was seen, with [`Self::NEW_CLIENT`].
    pub new_client: Persistence,
    /// What the packets of a real server become, with [`Self::REPLY`].
    pub reply: Reply,
    /// The address that the real server sees, with [`Self::SOURCE`].
    pub source: Address,
    /// When this was.
    pub now: Ticks,
    /// The service, with [`Self::SERVICE`].
    pub service: ServiceId,
    /// The server that the packet was given to, with [`Self::DELIVERED`].
    pub server: ServerId,
    /// The turn that the scheduler began with, with [`Self::TURN`].
    pub turn: u32,
    /// What was found: the bits named here.
    pub found: u32,
    /// The end of the packet, a [`crate::datapath::Reason`].
    pub reason: u32,
    /// How many of `servers` are in use.
    pub considered: u32,
    /// As what the next server will be considered, a [`Role`].
    pub role: u8,
    /// Zero.
    pub spare8: u8,
    /// The port that the real server would see of a new flow, with [`Self::BOUND`]; host order.
    pub source_port: u16,
    /// Zero.
    pub spare32: u32,
    /// Servers in the order in which they were looked at.
    pub servers: [Considered; MAX_CONSIDERED],
}

impl Explanation {
    /// The flow is among those whose client has answered.
    pub const FLOW: u32 = 1;
    /// The flow is among those of which one packet was seen.
    pub const PENDING_FLOW: u32 = 1 << 1;
    /// There is such a service.
    pub const SERVICE: u32 = 1 << 2;
    /// The client has a record that was confirmed.
    pub const CONFIRMED: u32 = 1 << 3;
    /// The client has a record that was not.
    pub const NEW_CLIENT: u32 = 1 << 4;
    /// The scheduler took a turn.
    pub const TURN: u32 = 1 << 5;
    /// The packet was placed, because no flow says where it goes.
    pub const PLACED: u32 = 1 << 6;
    /// It was given to a server.
    pub const DELIVERED: u32 = 1 << 7;
    /// It comes from a real server, or a flow of the same ends at the real server is known.
    pub const REPLY: u32 = 1 << 8;
    /// The balancer's own address stands in the place of the client's.
    pub const SOURCE: u32 = 1 << 9;
    /// A translated flow was begun.
    pub const BOUND: u32 = 1 << 10;

    /// Whether this was found.
    #[must_use]
    pub const fn has(&self, what: u32) -> bool {
        self.found & what != 0
    }

    /// The servers in use.
    #[must_use]
    pub fn servers(&self) -> &[Considered] {
        let considered = (self.considered as usize).min(MAX_CONSIDERED);
        self.servers.get(..considered).unwrap_or_default()
    }
}

/// A server that was looked at, as it was at that moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Considered {
    /// Its live connections, where they were asked for.
    pub connections: u64,
    /// The server.
    pub server: ServerId,
    /// Its place in `schedule`, where one led to it.
    pub place: u32,
    /// Its generation.
    pub generation: u32,
    /// Its share of new flows.
    pub weight: u32,
    /// The device towards it; 0: the next hop is not known.
    pub ifindex: u32,
    /// Its maximum of connections; 0: none.
    pub max_connections: u32,
    /// As what it was looked at, a [`Role`].
    pub role: u8,
    /// A [`super::ServerState`]; of a number that no server has, down.
    pub state: u8,
    /// 1: passed over because it is at its maximum.
    pub full: u8,
    /// Zero.
    pub spare8: u8,
    /// Zero.
    pub spare32: u32,
}

/// As what a server is looked at.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody said.
    Unknown = 0,
    /// The flow is with it.
    Flow = 1,
    /// The client's confirmed record names it.
    Confirmed = 2,
    /// The client's other record names it.
    NewClient = 3,
    /// The schedule names it.
    Candidate = 4,
    /// The packet is placed there.
    Chosen = 5,
}

impl Role {
    /// Anything else is unknown.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Flow,
            2 => Self::Confirmed,
            3 => Self::NewClient,
            4 => Self::Candidate,
            5 => Self::Chosen,
            _ => Self::Unknown,
        }
    }
}

const _: () = {
    assert!(size_of::<Considered>() == 8 + 6 * 4 + 4 + 4);
    assert!(
        size_of::<Explanation>()
            == 32 + 16 + 16 + size_of::<Reply>() + 16 + 9 * 4 + MAX_CONSIDERED * size_of::<Considered>()
    );
};

impl Plain for Considered {}
impl Plain for Explanation {}
