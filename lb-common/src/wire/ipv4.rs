//! IPv4 (RFC 791 §3.1).

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Version and header length in 4-byte words.
pub const VERSION_LENGTH: usize = 0;
/// Total length in bytes, header included.
pub const TOTAL_LENGTH: usize = 2;
/// Identification, shared by the fragments of a datagram.
pub const IDENTIFICATION: usize = 4;
/// Flags and fragment offset in 8-byte units.
pub const FRAGMENT: usize = 6;
/// Protocol of the payload.
pub const PROTOCOL: usize = 9;
/// Source address.
pub const SOURCE: usize = 12;
/// Destination address.
pub const DESTINATION: usize = 16;

/// Flag: more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Bits of the fragment offset.
pub const OFFSET_MASK: u16 = 0x1fff;

/// Time to live, protocol and header checksum: one word.
pub const TIME_TO_LIVE: usize = 8;
