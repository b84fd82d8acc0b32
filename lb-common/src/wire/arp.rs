//! ARP for IPv4 over Ethernet (RFC 826).

/// Bytes of a packet.
pub const PACKET: usize = 28;
/// What is asked or answered.
pub const OPERATION: usize = 6;
/// IPv4 address of the sender.
pub const SENDER: usize = 14;
/// IPv4 address that is asked for.
pub const TARGET: usize = 24;

/// Operation: who has the target's address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has its address.
pub const REPLY: u16 = 2;
