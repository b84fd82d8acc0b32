//! Packet formats: offsets from the start of each header, and the small values in them, with the
//! documents that define them. Multi-byte fields are in network byte order on the wire.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

use crate::abi::Address;

/// IP protocol numbers that the datapath knows (IANA protocol-numbers).
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// A big-endian 16-bit number.
#[inline(always)]
#[must_use]
pub const fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}

/// The two 16-bit fields of a word in memory order, each in memory order.
#[inline(always)]
#[must_use]
pub const fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

/// The inverse of [`halves`].
#[inline(always)]
#[must_use]
pub const fn from_halves(halves: [u16; 2]) -> u32 {
    let ([a, b], [c, d]) = (halves[0].to_ne_bytes(), halves[1].to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Source and destination port, in host order, as the word with which a transport header begins.
#[inline(always)]
#[must_use]
pub const fn ports(source: u16, destination: u16) -> u32 {
    from_halves([source.to_be(), destination.to_be()])
}

/// A header as words in memory order: fields are picked out of words, and addresses stay whole.
#[derive(Clone, Copy, Debug)]
pub struct Words<const N: usize>(pub [u32; N]);

impl<const N: usize> Words<N> {
    /// The byte at `at`.
    #[inline(always)]
    #[must_use]
    pub const fn byte(&self, at: usize) -> u8 {
        self.0[at / 4].to_ne_bytes()[at % 4]
    }

    /// The big-endian 16-bit field at `at`, an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn be16(&self, at: usize) -> u16 {
        let bytes = self.0[at / 4].to_ne_bytes();
        be16([bytes[at % 4], bytes[at % 4 + 1]])
    }

    /// The big-endian 32-bit field at `at`, a multiple of four.
    #[inline(always)]
    #[must_use]
    pub const fn be32(&self, at: usize) -> u32 {
        u32::from_be(self.0[at / 4])
    }

    /// The IPv4 address at `at`, a multiple of four.
    #[inline(always)]
    #[must_use]
    pub fn v4(&self, at: usize) -> Address {
        Address::v4_word(self.0[at / 4])
    }

    /// The IPv6 address at `at`, a multiple of four.
    #[inline(always)]
    #[must_use]
    pub fn v6(&self, at: usize) -> Address {
        let i = at / 4;
        Address::from_words([self.0[i], self.0[i + 1], self.0[i + 2], self.0[i + 3]])
    }
}
