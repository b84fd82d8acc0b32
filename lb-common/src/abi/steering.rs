//! What the program `lb_lookup` goes by, which steers connections to ranges of ports to one socket: the
//! key of its trie. Its tables belong to the daemon that loaded it, and to nobody after that one.

use super::{Address, Plain};

/// Sockets, one for each range; those that are wanted come before the others go.
pub const MAX_STEERED_RANGES: u32 = 4096;

/// Prefixes of the trie: a range takes at most 30, and those that are wanted come before the others go.
pub const MAX_STEERED_PREFIXES: u32 = 2 * 30 * MAX_STEERED_RANGES;

/// Where a client connects to. The trie compares it bit by bit from the first byte on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The VIP.
    pub vip: Address,
    /// The port, in network order, because only then are neighbouring ports below one prefix.
    pub port: [u8; 2],
    /// Zero; behind the longest prefix, so never compared.
    pub spare: u16,
}

impl Destination {
    /// Bits that are compared: the whole address and the whole port.
    pub const BITS: u32 = 128 + 16;

    /// From a port in host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: Address, port: u16) -> Self {
        Self { vip, port: port.to_be_bytes(), spare: 0 }
    }
}

/// Destinations that agree in their first bits: a key of the trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationPrefix {
    /// How many bits; the kernel expects it first.
    pub bits: u32,
    /// One of them.
    pub destination: Destination,
}

impl DestinationPrefix {
    /// The ports of one VIP that agree with `port` in their first `bits` bits.
    #[must_use]
    pub const fn ports(vip: Address, port: u16, bits: u8) -> Self {
        Self { bits: 128 + bits as u32, destination: Destination::new(vip, port) }
    }
}

const _: () = {
    assert!(size_of::<Destination>() == 16 + 2 + 2);
    assert!(size_of::<DestinationPrefix>() == 4 + 20);
};

impl Plain for DestinationPrefix {}
