//! Entries of the tables of flows: what is remembered of a conversation, in either direction and in
//! fragments.

use super::{Address, Plain, ServerId, ServiceId, Ticks};

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

const _: () = {
    assert!(size_of::<Flow>() == 6 * 4 + 2 + 1 + 1 + 4);
    assert!(size_of::<Reply>() == 2 * 16 + 2 * 2 + 4 * 4 + 2 * 6 + 2 * 2 + 2 * 4);
    assert!(size_of::<Fragment>() == 12);
};

impl Plain for Flow {}
impl Plain for Reply {}
impl Plain for Fragment {}
