//! The last hop: where a client's packets came from, which is where replies go.
//!
//! Replies need no route and no neighbour table: they leave by the interface, the VLAN and the MAC
//! address that the client's packets came from. A client behind another router from now on is
//! noticed by its next packet of another tick.

#![allow(clippy::cast_possible_truncation, reason = "fields are taken out of a number by their width")]

use super::select::mix;
use super::{Packet, Truncated};
use crate::abi::{Reply, Server};
use crate::wire::Words;
use crate::wire::ethernet::{ADDRESSES, TAG, TYPE_SERVICE_VLAN, TYPE_VLAN, VLAN_MASK};

/// Bytes of a tag, signed for distances.
const TAG_BYTES: i32 = 4;
const _: () = assert!(TAG == 4);

/// Bit of the first byte of a MAC address: many machines (IEEE 802 §8.2).
const GROUP: u8 = 1;

/// The tags of a frame as it came.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// How many: 0 to 2.
    pub count: u32,
    /// Control information of the outer tag above that of the inner one.
    pub control: u32,
}

impl Tags {
    /// As a number, to be handed to a function of the kernel program.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.count as u64) << 32 | self.control as u64
    }

    /// The inverse of [`Self::to_bits`]; any number is harmless.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { count: (bits >> 32) as u32 & 3, control: bits as u32 }
    }

    #[inline(always)]
    const fn outer(self) -> u16 {
        (self.control >> 16) as u16
    }

    #[inline(always)]
    const fn inner(self) -> u16 {
        self.control as u16
    }
}

/// Where a frame is sent: whose MAC addresses and tags it gets.
#[derive(Clone, Copy)]
pub(super) struct Hop {
    destination_mac: [u8; 6],
    source_mac: [u8; 6],
    outer_vlan: u16,
    inner_vlan: u16,
}

impl Hop {
    /// The next hop towards a real server.
    #[inline(always)]
    pub(super) const fn towards(server: &Server) -> Self {
        Self {
            destination_mac: server.destination_mac,
            source_mac: server.source_mac,
            outer_vlan: server.outer_vlan,
            inner_vlan: server.inner_vlan,
        }
    }

    /// The last hop of a client.
    #[inline(always)]
    pub(super) const fn back(reply: &Reply) -> Self {
        Self {
            destination_mac: reply.destination_mac,
            source_mac: reply.source_mac,
            outer_vlan: reply.outer_vlan,
            inner_vlan: reply.inner_vlan,
        }
    }

    /// How many tags it wants.
    #[inline(always)]
    const fn tags(&self) -> u32 {
        (self.outer_vlan != 0) as u32 + (self.inner_vlan != 0) as u32
    }
}

/// Writes into `reply` where this frame came from. Not from a frame to a group of machines: the
/// address it was sent to is nobody's.
#[inline(always)]
pub(super) fn learn<P: Packet>(packet: &P, tags: Tags, reply: &mut Reply) {
    let Ok(addresses) = packet.load::<{ ADDRESSES / 4 }>(0) else { return };
    let [a, b, c] = addresses.0.map(u32::to_ne_bytes);
    if a[0] & GROUP != 0 {
        return;
    }
    reply.ifindex = packet.ingress();
    reply.source_mac = [a[0], a[1], a[2], a[3], b[0], b[1]];
    reply.destination_mac = [b[2], b[3], c[0], c[1], c[2], c[3]];
    let (outer, inner) = (tags.outer() & VLAN_MASK, tags.inner() & VLAN_MASK);
    // A tag of VLAN 0 tells the priority and no VLAN (IEEE 802.1Q §9.6): around another tag it is left out.
    (reply.outer_vlan, reply.inner_vlan) = if outer == 0 { (inner, 0) } else { (outer, inner) };
}

/// A number that is another one when the frame comes from somewhere else; never 0.
#[inline(always)]
pub(super) fn digest<P: Packet>(packet: &P, tags: Tags) -> u32 {
    let Ok(Words([a, b, c])) = packet.load::<{ ADDRESSES / 4 }>(0) else { return 1 };
    let vlans = tags.control & (u32::from(VLAN_MASK) | u32::from(VLAN_MASK) << 16);
    // Each step multiplies, so that a change of one part does not undo that of another.
    let mixed = mix(mix(mix(0, a, b), c, vlans), packet.ingress(), 0);
    mixed as u32 | 1
}

/// Addresses the frame to a hop: MAC addresses and, where it is on another VLAN, the tags.
#[inline(always)]
pub(super) fn address<P: Packet>(packet: &mut P, tags: Tags, hop: &Hop) -> Result<(), Truncated> {
    let vlans = (tags.outer() & VLAN_MASK, tags.inner() & VLAN_MASK);
    if tags.count != hop.tags() || vlans != (hop.outer_vlan, hop.inner_vlan) {
        retag(packet, tags, hop)?;
    }
    let (to, from) = (hop.destination_mac, hop.source_mac);
    let words = Words([
        u32::from_ne_bytes([to[0], to[1], to[2], to[3]]),
        u32::from_ne_bytes([to[4], to[5], from[0], from[1]]),
        u32::from_ne_bytes([from[2], from[3], from[4], from[5]]),
    ]);
    packet.store::<{ ADDRESSES / 4 }>(0, words)
}

/// Adds, removes or changes tags. The type of the payload stays where it is, right before the IP
/// header; the frame begins earlier or later. Priority bits are kept (IEEE 802.1Q §6.9).
#[inline(always)]
fn retag<P: Packet>(packet: &mut P, tags: Tags, hop: &Hop) -> Result<(), Truncated> {
    let wanted = hop.tags();
    if wanted != tags.count {
        let surplus = tags.count.wrapping_sub(wanted).cast_signed();
        packet.move_start(surplus * TAG_BYTES)?;
    }
    let priority = tags.outer() & !VLAN_MASK;
    if wanted == 2 {
        packet.store(ADDRESSES, tag(TYPE_SERVICE_VLAN, priority | hop.outer_vlan))?;
        packet.store(ADDRESSES + TAG, tag(TYPE_VLAN, tags.inner() & !VLAN_MASK | hop.inner_vlan))?;
    } else if wanted == 1 {
        packet.store(ADDRESSES, tag(TYPE_VLAN, priority | hop.outer_vlan))?;
    }
    Ok(())
}

#[inline(always)]
const fn tag(kind: u16, control: u16) -> Words<{ TAG / 4 }> {
    Words([((kind as u32) << 16 | control as u32).to_be()])
}
