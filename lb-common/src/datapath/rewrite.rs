//! Changes a frame so that it reaches a server. `l4-dr`: the MAC addresses and, where the next hop
//! is on another VLAN than the client, the tags. Everything from the IP header on stays as it is.

use super::parse::Link;
use super::{Packet, Reason, Truncated, Verdict};
use crate::abi::Server;
use crate::wire::Words;
use crate::wire::ethernet::{ADDRESSES, TAG, TYPE_SERVICE_VLAN, TYPE_VLAN, VLAN_MASK};

/// Bytes of a tag, signed for distances.
const TAG_BYTES: i32 = 4;
const _: () = assert!(TAG == 4);

/// Direct routing: addresses the frame to the next hop.
#[inline(always)]
pub(super) fn direct<P: Packet>(packet: &mut P, link: &Link, server: &Server) -> Result<(), Verdict> {
    if link.tags != tags(server) || vlans(link) != (server.outer_vlan, server.inner_vlan) {
        retag(packet, link, server).map_err(|Truncated| Verdict::drop(Reason::NoHeadroom))?;
    }
    let (to, from) = (server.destination_mac, server.source_mac);
    let words = Words([
        u32::from_ne_bytes([to[0], to[1], to[2], to[3]]),
        u32::from_ne_bytes([to[4], to[5], from[0], from[1]]),
        u32::from_ne_bytes([from[2], from[3], from[4], from[5]]),
    ]);
    packet.store::<{ ADDRESSES / 4 }>(0, words).map_err(|Truncated| Verdict::drop(Reason::NoHeadroom))
}

/// How many tags the next hop wants.
#[inline(always)]
const fn tags(server: &Server) -> u32 {
    (server.outer_vlan != 0) as u32 + (server.inner_vlan != 0) as u32
}

#[inline(always)]
const fn vlans(link: &Link) -> (u16, u16) {
    (link.outer & VLAN_MASK, link.inner & VLAN_MASK)
}

/// Adds, removes or changes tags. The type of the payload stays where it is, right before the IP
/// header; the frame begins earlier or later. Priority bits are kept (IEEE 802.1Q §6.9).
#[inline(always)]
fn retag<P: Packet>(packet: &mut P, link: &Link, server: &Server) -> Result<(), Truncated> {
    let wanted = tags(server);
    if wanted != link.tags {
        let surplus = link.tags.wrapping_sub(wanted).cast_signed();
        packet.move_start(surplus * TAG_BYTES)?;
    }
    let priority = link.outer & !VLAN_MASK;
    if wanted == 2 {
        packet.store(ADDRESSES, tag(TYPE_SERVICE_VLAN, priority | server.outer_vlan))?;
        packet.store(ADDRESSES + TAG, tag(TYPE_VLAN, link.inner & !VLAN_MASK | server.inner_vlan))?;
    } else if wanted == 1 {
        packet.store(ADDRESSES, tag(TYPE_VLAN, priority | server.outer_vlan))?;
    }
    Ok(())
}

#[inline(always)]
const fn tag(kind: u16, control: u16) -> Words<{ TAG / 4 }> {
    Words([((kind as u32) << 16 | control as u32).to_be()])
}
