//! TCP (RFC 9293 §3.1).

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Header length in 4-byte words in the high four bits; the flags are the low byte.
pub const DATA_OFFSET: usize = 12;

/// The sender has finished.
pub const FIN: u8 = 0x01;
/// Synchronise: opens a connection.
pub const SYN: u8 = 0x02;
/// The connection is void.
pub const RST: u8 = 0x04;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

/// Checksum, with the urgent pointer in the same word.
pub const CHECKSUM: usize = 16;
