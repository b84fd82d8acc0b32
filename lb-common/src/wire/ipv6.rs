//! IPv6 (RFC 8200 §3) and its extension headers (§4).

/// Bytes of the fixed header.
pub const HEADER: usize = 40;
/// Length in bytes of what follows the fixed header.
pub const PAYLOAD_LENGTH: usize = 4;
/// Protocol of what follows.
pub const NEXT_HEADER: usize = 6;
/// Source address.
pub const SOURCE: usize = 8;
/// Destination address.
pub const DESTINATION: usize = 24;

/// Hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Routing header.
pub const ROUTING: u8 = 43;
/// Fragment header.
pub const FRAGMENT: u8 = 44;
/// Destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers followed before a packet is refused; RFC 8200 §4.1 names six kinds, and more
/// than four in front of a payload is not seen outside attacks.
pub const MAX_EXTENSIONS: usize = 4;

/// Bytes of a fragment header.
pub const FRAGMENT_HEADER: usize = 8;
/// Fragment header: flag of the offset field, more fragments follow.
pub const MORE_FRAGMENTS: u16 = 1;
/// Fragment header: bits of the offset, in bytes once the low three are cleared.
pub const OFFSET_MASK: u16 = 0xfff8;

/// Offset of the word that ends with the hop limit: payload length, next header, hop limit.
pub const HOP_LIMIT_WORD: usize = 4;
/// The hop limit within that word.
pub const HOP_LIMIT_BYTE: usize = 3;
