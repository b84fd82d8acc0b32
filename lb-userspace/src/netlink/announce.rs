//! The frames that tell a network segment where a VIP is. Pure.
//!
//! In: a MAC and the VIP. Out: whole Ethernet frames, ready for a packet socket.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const BROADCAST: [u8; 6] = [0xff; 6];
/// RFC 2464 section 7: the MAC of ff02::1.
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 826: Ethernet, IPv4, address lengths 6 and 4.
pub(crate) const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
pub(crate) const ARP_REQUEST: [u8; 2] = [0, 1];
pub(crate) const ARP_REPLY: [u8; 2] = [0, 2];
/// Gratuitous ARP: 14 bytes of Ethernet, 28 of ARP, and zeros up to the shortest Ethernet frame.
const ARP_FRAME: usize = 60;

const ICMPV6: u8 = 58;
pub(crate) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
/// Target Link-Layer Address option (RFC 4861 section 4.6.1), its length in units of 8 bytes.
pub(crate) const TARGET_MAC_OPTION: [u8; 2] = [2, 1];
const ICMPV6_LENGTH: u8 = 32;
const ETHERNET: usize = 14;
const IPV6: usize = 40;
const ADVERTISEMENT_FRAME: usize = ETHERNET + IPV6 + ICMPV6_LENGTH as usize;

/// Gratuitous ARP in both forms, request and reply: RFC 5227 section 3 asks for the request, and
/// hosts and switches exist that heed only the other one.
#[must_use]
pub fn gratuitous_arp(mac: [u8; 6], vip: Ipv4Addr) -> [[u8; ARP_FRAME]; 2] {
    // The target MAC is ignored in a request; a reply names the receiver, here everyone.
    [arp(ARP_REQUEST, (mac, vip), ([0; 6], vip)), arp(ARP_REPLY, (mac, vip), (BROADCAST, vip))]
}

/// An ARP packet for everyone on the segment.
pub(crate) fn arp(
    operation: [u8; 2],
    (mac, sender): ([u8; 6], Ipv4Addr),
    (target_mac, target): ([u8; 6], Ipv4Addr),
) -> [u8; ARP_FRAME] {
    let (sender, target) = (sender.octets(), target.octets());
    let parts: [&[u8]; 9] =
        [&BROADCAST, &mac, &ETHERTYPE_ARP, &ARP_ETHERNET_IPV4, &operation, &mac, &sender, &target_mac, &target];
    concat(&parts)
}

/// An unsolicited neighbour advertisement to all nodes, with the override flag (RFC 4861 section
/// 7.2.6). `router`: this machine forwards IPv6 there; a host that uses the VIP as its gateway drops it
/// when an advertisement denies that (section 7.2.5).
#[must_use]
pub fn unsolicited_advertisement(mac: [u8; 6], vip: Ipv6Addr, router: bool) -> [u8; ADVERTISEMENT_FRAME] {
    let flags = if router { FLAG_ROUTER | FLAG_OVERRIDE } else { FLAG_OVERRIDE };
    let (source, destination) = (vip.octets(), ALL_NODES.octets());
    let message = |checksum: [u8; 2]| -> [u8; ICMPV6_LENGTH as usize] {
        concat(&[&[NEIGHBOUR_ADVERTISEMENT, 0], &checksum, &[flags, 0, 0, 0], &source, &TARGET_MAC_OPTION, &mac])
    };
    // RFC 8200 section 8.1: the checksum covers a header of addresses, length and protocol.
    let pseudo: [u8; 40] = concat(&[&source, &destination, &[0, 0, 0, ICMPV6_LENGTH], &[0, 0, 0, ICMPV6]]);
    let checksum = internet_checksum(pseudo.iter().chain(&message([0; 2])).copied());
    // Version 6; hop limit 255 proves that no router passed it on (RFC 4861 section 7.1.2).
    let header = [0x60, 0, 0, 0, 0, ICMPV6_LENGTH, ICMPV6, 255];
    let message = message(checksum.to_be_bytes());
    concat(&[&ALL_NODES_MAC, &mac, &ETHERTYPE_IPV6, &header, &source, &destination, &message])
}

/// RFC 1071; a last odd byte counts as if a zero followed. Of up to 64 KiB.
pub(crate) fn internet_checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let mut sum: u32 = 0;
    for (at, byte) in bytes.enumerate() {
        sum += if at % 2 == 0 { u32::from(byte) << 8 } else { u32::from(byte) };
    }
    let folded = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = ((folded & 0xffff) + (folded >> 16)).to_be_bytes();
    !u16::from_be_bytes([high, low])
}

/// The parts one after the other, then zeros.
fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    for (slot, byte) in out.iter_mut().zip(parts.iter().flat_map(|part| part.iter())) {
        *slot = *byte;
    }
    out
}
