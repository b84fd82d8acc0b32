//! ICMP (RFC 792) and ICMPv6 (RFC 4443): the errors that quote the packet they are about.

/// Bytes before the quoted packet.
pub const HEADER: usize = 8;
/// Bytes of the quoted transport header that are always there: both ports and four more.
pub const QUOTED: usize = 8;

/// ICMP: destination unreachable, with fragmentation needed among its codes.
pub const UNREACHABLE: u8 = 3;
/// ICMP: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// ICMP: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// ICMPv6: types below this are errors (RFC 4443 §2.1).
pub const V6_INFORMATIONAL: u8 = 128;

/// Whether an ICMP type is an error that quotes a packet.
#[inline(always)]
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
}
