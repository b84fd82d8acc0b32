//! UDP (RFC 768).

/// Bytes of the header: ports, length, checksum.
pub const HEADER: usize = 8;
/// Length in bytes, header included.
pub const LENGTH: usize = 4;
