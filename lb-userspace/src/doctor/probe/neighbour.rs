//! Who has an address on the segment: the question in a frame, and the answers to it. Pure.
//!
//! In: our MAC, the address, and from where it is asked; later, received frames. Out: frames, and the
//! MAC addresses that answer. Absent: sockets, and whether somebody may answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::wire::{be16, ethernet, ipv6, protocol};

use super::filter::{self, Field, LAST_WORD};
use super::packet::{self, Ends, Frame, field};
use crate::netlink::announce::{
    ALL_NODES, ARP_ETHERNET_IPV4, ARP_REPLY, ARP_REQUEST, ETHERTYPE_ARP, NEIGHBOUR_ADVERTISEMENT, TARGET_MAC_OPTION,
    arp,
};

/// The question. Without a source it is one of a machine that has no address yet, and nobody learns
/// anything from it: an ARP probe (RFC 5227 section 1.1), or a solicitation as for duplicate address
/// detection (RFC 4862 section 5.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WhoHas {
    mac: [u8; 6],
    /// From the source, or the unspecified address.
    ends: Ends,
}

impl WhoHas {
    /// `None`: the addresses are of different families.
    pub(super) fn new(mac: [u8; 6], address: IpAddr, source: Option<IpAddr>) -> Option<Self> {
        let unspecified = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Some(Self { mac, ends: Ends::new(source.unwrap_or(unspecified), address)? })
    }

    /// The frame that asks everyone.
    pub(super) fn frame(&self) -> Vec<u8> {
        match self.ends {
            Ends::V4 { from, to } => arp(ARP_REQUEST, (self.mac, from), ([0; 6], to)).to_vec(),
            Ends::V6 { from, to } => {
                let [.., high, middle, low] = to.octets();
                let (group, group_mac) = solicited_node(high, middle, low);
                let mut message = [&[NEIGHBOUR_SOLICITATION, 0, 0, 0][..], &[0; 4], &to.octets()].concat();
                // RFC 4861 section 4.3: not with the unspecified address.
                if !from.is_unspecified() {
                    message.extend(SOURCE_MAC_OPTION);
                    message.extend(self.mac);
                }
                let packet = Ends::V6 { from, to: group }.packet(ON_LINK, protocol::ICMPV6, &message);
                packet::frame((group_mac, self.mac), (0, 0), ethernet::TYPE_IPV6, &packet)
            }
        }
    }

    /// What every answer has, for the socket's filter.
    pub(super) fn fields(&self) -> Vec<Field> {
        let (at, address) = match self.ends {
            Ends::V4 { to, .. } => (ethernet::HEADER + ARP_SENDER, u32::from(to)),
            Ends::V6 { to, .. } => {
                (ethernet::HEADER + ipv6::HEADER + ADVERTISED_TARGET + LAST_WORD, filter::last_word(to))
            }
        };
        vec![Field { at, value: address }]
    }

    /// The MAC address of somebody else that the frame names for the address, if it answers this question.
    pub(super) fn answer(&self, frame: &[u8]) -> Option<[u8; 6]> {
        let frame = Frame::parse(frame)?;
        let mac = match self.ends {
            Ends::V4 { from, to } => self.arp_reply(&frame, from, to),
            Ends::V6 { from, to } => advertisement(&frame, from, to),
        }?;
        (mac != self.mac).then_some(mac)
    }

    /// RFC 826: the sender is who answers, the target is who asked.
    fn arp_reply(&self, frame: &Frame<'_>, from: Ipv4Addr, to: Ipv4Addr) -> Option<[u8; 6]> {
        let (head, rest) = frame.payload.split_first_chunk::<6>()?;
        let operation: [u8; 2] = field(rest, 0)?;
        let sender_mac: [u8; 6] = field(rest, 2)?;
        let sender: [u8; 4] = field(rest, 8)?;
        let target_mac: [u8; 6] = field(rest, 12)?;
        let target: [u8; 4] = field(rest, 18)?;
        let is_answer = frame.ether_type == be16(ETHERTYPE_ARP)
            && (*head, operation) == (ARP_ETHERNET_IPV4, ARP_REPLY)
            && sender == to.octets()
            && target_mac == self.mac
            && target == from.octets();
        is_answer.then_some(sender_mac)
    }
}

/// RFC 4861 section 7.2.4: to who asked, or to everyone when who asked has no address.
fn advertisement(frame: &Frame<'_>, from: Ipv6Addr, to: Ipv6Addr) -> Option<[u8; 6]> {
    let packet = frame.packet()?;
    let Ends::V6 { to: receiver, .. } = packet.ends else { return None };
    let asked = if from.is_unspecified() { ALL_NODES } else { from };
    let head: [u8; 2] = field(packet.transport, 0)?;
    let target: [u8; 16] = field(packet.transport, ADVERTISED_TARGET)?;
    let is_answer = (packet.protocol, packet.hop_limit) == (protocol::ICMPV6, ON_LINK)
        && head == [NEIGHBOUR_ADVERTISEMENT, 0]
        && target == to.octets()
        && receiver == asked;
    is_answer.then(|| target_mac(packet.transport.get(ADVERTISEMENT..).unwrap_or_default()).unwrap_or(frame.source))
}

/// Of the options of an advertisement (RFC 4861 section 4.6.1).
fn target_mac(mut options: &[u8]) -> Option<[u8; 6]> {
    loop {
        let head: [u8; 2] = field(options, 0)?;
        if head == TARGET_MAC_OPTION {
            return field(options, 2);
        }
        // RFC 4861 section 4.6: an option of length 0 makes the packet invalid; what follows says nothing.
        let length = usize::from(head[1]) * 8;
        options = options.get(length..).filter(|_| length > 0)?;
    }
}

/// RFC 4291 section 2.7.1: the group that who has an address is in; RFC 2464 section 7: its MAC.
fn solicited_node(high: u8, middle: u8, low: u8) -> (Ipv6Addr, [u8; 6]) {
    let group = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, high, middle, low];
    (group.into(), [0x33, 0x33, 0xff, high, middle, low])
}

const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Source Link-Layer Address option (RFC 4861 section 4.6.1), its length in units of 8 bytes.
const SOURCE_MAC_OPTION: [u8; 2] = [1, 1];
/// Of an ARP packet: the address of who sends it.
const ARP_SENDER: usize = 14;
/// Of an advertisement: the address that it is about.
const ADVERTISED_TARGET: usize = 8;
/// Of an advertisement, before its options.
const ADVERTISEMENT: usize = 24;
/// RFC 4861 section 7.1: a hop limit of 255 proves that no router passed it on.
const ON_LINK: u8 = 255;
