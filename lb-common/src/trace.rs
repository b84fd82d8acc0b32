//! Whether a frame is a traced client's: [`concerns`].
//!
//! In: the first bytes of a frame, whose frames are traced. Out: yes or no. Absent: what the frame is;
//! `lb-core` says that to people. Runs in the kernel for every frame while a trace runs.

use crate::abi::{Address, TRACED_BYTES, TraceFilter};
use crate::wire::{arp, ethernet, icmp, ipv4, ipv6, protocol};

/// The first bytes of a frame. What lies beyond its end is whatever an earlier frame left there.
struct Bytes<'b> {
    bytes: &'b [u8; TRACED_BYTES],
    length: usize,
}

impl Bytes<'_> {
    /// Whether the frame reaches so far.
    #[inline(always)]
    fn reach(&self, end: usize) -> bool {
        end <= self.length && end <= TRACED_BYTES
    }

    /// Masked, so that the kernel sees that it is within: the caller asks [`Self::reach`].
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.bytes[at & (TRACED_BYTES - 1)]
    }

    #[inline(always)]
    fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.byte(at), self.byte(at + 1), self.byte(at + 2), self.byte(at + 3)])
    }

    #[inline(always)]
    fn v4(&self, at: usize) -> Address {
        Address::v4_word(self.word(at))
    }

    #[inline(always)]
    fn v6(&self, at: usize) -> Address {
        Address::from_words([self.word(at), self.word(at + 4), self.word(at + 8), self.word(at + 12)])
    }
}

/// Whether a frame that begins with these bytes, of which `length` are its own, comes from a traced
/// client, goes to one, asks for one by ARP, or is an ICMP error about one's packet.
#[inline(always)]
#[must_use]
pub fn concerns(bytes: &[u8; TRACED_BYTES], length: usize, filter: &TraceFilter) -> bool {
    let frame = Bytes { bytes, length };
    let (mut kind_at, mut tags) = (ethernet::ADDRESSES, 0);
    while tags < 2 && is_tag(frame.be16(kind_at)) {
        kind_at += ethernet::TAG;
        tags += 1;
    }
    let at = kind_at + (ethernet::HEADER - ethernet::ADDRESSES);
    match frame.be16(kind_at) {
        ethernet::TYPE_IPV4 => v4(&frame, at, filter),
        ethernet::TYPE_IPV6 => v6(&frame, at, filter),
        ethernet::TYPE_ARP => {
            frame.reach(at + arp::PACKET)
                && (is_in(filter, &frame.v4(at + arp::SENDER)) || is_in(filter, &frame.v4(at + arp::TARGET)))
        }
        _ => false,
    }
}

#[inline(always)]
const fn is_tag(kind: u16) -> bool {
    kind == ethernet::TYPE_VLAN || kind == ethernet::TYPE_SERVICE_VLAN
}

#[inline(always)]
fn is_in(filter: &TraceFilter, address: &Address) -> bool {
    let (a, m, c) = (address.words(), filter.mask.words(), filter.client.words());
    // One comparison of all bits: four would be four ways for the verifier.
    ((a[0] & m[0]) ^ c[0]) | ((a[1] & m[1]) ^ c[1]) | ((a[2] & m[2]) ^ c[2]) | ((a[3] & m[3]) ^ c[3]) == 0
}

#[inline(always)]
fn v4_ends(frame: &Bytes<'_>, at: usize, filter: &TraceFilter) -> bool {
    frame.reach(at + ipv4::HEADER)
        && (is_in(filter, &frame.v4(at + ipv4::SOURCE)) || is_in(filter, &frame.v4(at + ipv4::DESTINATION)))
}

#[inline(always)]
fn v6_ends(frame: &Bytes<'_>, at: usize, filter: &TraceFilter) -> bool {
    frame.reach(at + ipv6::HEADER)
        && (is_in(filter, &frame.v6(at + ipv6::SOURCE)) || is_in(filter, &frame.v6(at + ipv6::DESTINATION)))
}

#[inline(always)]
fn v4(frame: &Bytes<'_>, at: usize, filter: &TraceFilter) -> bool {
    if v4_ends(frame, at, filter) {
        return true;
    }
    if frame.byte(at + ipv4::PROTOCOL) != protocol::ICMP {
        return false;
    }
    let error = at + 4 * (frame.byte(at + ipv4::VERSION_LENGTH) & 0x0f) as usize;
    frame.reach(error + icmp::HEADER)
        && icmp::is_error(frame.byte(error))
        && v4_ends(frame, error + icmp::HEADER, filter)
}

#[inline(always)]
fn v6(frame: &Bytes<'_>, at: usize, filter: &TraceFilter) -> bool {
    if v6_ends(frame, at, filter) {
        return true;
    }
    // Behind extension headers an error is not looked for.
    let error = at + ipv6::HEADER;
    frame.byte(at + ipv6::NEXT_HEADER) == protocol::ICMPV6
        && frame.reach(error + icmp::HEADER)
        && frame.byte(error) < icmp::V6_INFORMATIONAL
        && v6_ends(frame, error + icmp::HEADER, filter)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::PacketBuilder;
    use crate::wire::tcp;

    fn of(client: &str) -> TraceFilter {
        let (address, prefix) = client.split_once('/').unwrap_or((client, "128"));
        let address = Address::from(address.parse::<IpAddr>().unwrap());
        let mask = Address::v6((u128::MAX << (128 - prefix.parse::<u32>().unwrap())).to_be_bytes());
        TraceFilter { client: address.masked(&mask), mask }
    }

    fn is_traced(frame: &[u8], client: &str) -> bool {
        // Beyond the frame lies one of the client's, as in the kernel.
        let mut bytes: [u8; TRACED_BYTES] = [0xa5; TRACED_BYTES];
        let kept = frame.len().min(TRACED_BYTES);
        bytes[..kept].copy_from_slice(&frame[..kept]);
        concerns(&bytes, kept, &of(client))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn frames_from_a_client_and_to_it_are_its_own_and_no_others() {
        let to_vip = PacketBuilder::udp((address("192.0.2.7"), 5000), (address("10.0.0.100"), 443), b"x");
        let reply = PacketBuilder::tcp((address("10.0.0.100"), 443), (address("192.0.2.7"), 5000), tcp::ACK, b"");
        for frame in [to_vip.build(), reply.build(), to_vip.clone().tag(ethernet::TYPE_VLAN, 20).build()] {
            assert!(is_traced(&frame, "192.0.2.7"));
            // 120 bits of ::ffff:192.0.2.0 are a /24.
            assert!(is_traced(&frame, "192.0.2.0/120"));
            assert!(!is_traced(&frame, "192.0.2.8"));
            assert!(!is_traced(&frame, "192.0.3.0/120"));
            assert!(!is_traced(&frame, "::c000:207"));
        }
        let double = to_vip.tag(ethernet::TYPE_SERVICE_VLAN, 30).tag(ethernet::TYPE_VLAN, 20).options(&[1; 40]);
        assert!(is_traced(&double.build(), "192.0.2.7"));
        let six = PacketBuilder::udp((address("fd00::7"), 5000), (address("fd00::100"), 443), b"x").build();
        assert!(is_traced(&six, "fd00::7") && is_traced(&six, "fd00::/64") && !is_traced(&six, "fd00::8"));
    }

    #[test]
    fn an_error_about_a_clients_packet_is_its_own_whoever_sends_it() {
        let sent = PacketBuilder::tcp((address("10.0.0.100"), 443), (address("192.0.2.7"), 5000), tcp::ACK, &[0; 9]);
        let error = PacketBuilder::icmp(address("203.0.113.1"), address("10.0.0.100"), 3, 4, 1280, &sent.packet());
        assert!(is_traced(&error.build(), "192.0.2.7") && !is_traced(&error.build(), "192.0.2.8"));
        assert!(is_traced(&error.clone().options(&[1; 40]).build(), "192.0.2.7"));
        let echo = PacketBuilder::icmp(address("203.0.113.1"), address("10.0.0.100"), 8, 0, 1, &sent.packet());
        assert!(!is_traced(&echo.build(), "192.0.2.7"), "a ping may carry anything");

        let sent = PacketBuilder::udp((address("fd00::100"), 443), (address("fd00::7"), 5000), &[0; 9]);
        let error = PacketBuilder::icmp(address("fd01::1"), address("fd00::100"), 2, 0, 1280, &sent.packet());
        assert!(is_traced(&error.build(), "fd00::7") && !is_traced(&error.build(), "fd00::8"));
    }

    #[test]
    fn whoever_asks_by_arp_for_an_address_or_has_it_is_named() {
        let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 192, 0, 2, 7]);
        frame.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 100]);
        assert!(is_traced(&frame, "192.0.2.7") && is_traced(&frame, "10.0.0.100") && !is_traced(&frame, "192.0.2.8"));
        assert!(!is_traced(&frame[..frame.len() - 1], "192.0.2.7"), "cut short");
    }

    proptest! {
        #[test]
        fn what_lies_beyond_the_end_of_a_frame_never_counts(
            length in 0..=TRACED_BYTES, start in any::<[u8; 32]>(), kind in 0..4_usize, rest in any::<[u8; 96]>(),
            other in any::<[u8; 96]>(), prefix in 0..=128_u32, client in any::<[u8; 16]>(),
        ) {
            let mask = Address::v6(u128::MAX.checked_shl(128 - prefix).unwrap_or(0).to_be_bytes());
            let filter = TraceFilter { client: Address::v6(client).masked(&mask), mask };
            let frame = |rest: [u8; 96]| {
                let mut bytes = [0; TRACED_BYTES];
                bytes[..32].copy_from_slice(&start);
                bytes[32..].copy_from_slice(&rest);
                let kinds = [ethernet::TYPE_IPV4, ethernet::TYPE_IPV6, ethernet::TYPE_ARP, ethernet::TYPE_VLAN];
                bytes[12..14].copy_from_slice(&kinds[kind].to_be_bytes());
                bytes
            };
            let mut dirty = frame(rest);
            let clean = concerns(&dirty, length, &filter);
            let from = length.max(32);
            dirty[from..].copy_from_slice(&frame(other)[from..]);
            prop_assert_eq!(concerns(&dirty, length, &filter), clean);
        }
    }
}
