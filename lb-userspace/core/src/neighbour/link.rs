//! Links, and the way down from the device of a route to the one that transmits.

use std::collections::BTreeMap;

use super::Problem;

/// Links remembered at most: four times every VLAN of one interface. Beyond it a device is unknown.
pub const LINKS_LIMIT: usize = 16_384;

/// VLAN tags the datapath writes.
const TAGS_LIMIT: usize = 2;

/// A network device, as far as forwarding cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel index.
    pub ifindex: u32,
    /// Kernel name.
    pub device: String,
    /// `None` where frames have no Ethernet header (tunnel) or go nowhere (loopback).
    pub mac: Option<[u8; 6]>,
    /// Set up, and with carrier.
    pub up: bool,
    /// Set on a VLAN device.
    pub vlan: Option<Vlan>,
}

/// What makes a device a VLAN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Kernel index of the device under it; `None` when that is in another network namespace.
    pub parent: Option<u32>,
    /// VLAN id, host order, 0 to 4094.
    pub id: u16,
    /// IEEE 802.1ad (0x88a8) instead of 802.1Q (0x8100).
    pub service_tag: bool,
}

/// How frames leave by a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Egress {
    pub(super) ifindex: u32,
    pub(super) source_mac: [u8; 6],
    pub(super) outer_vlan: u16,
    pub(super) inner_vlan: u16,
}

/// Follows a device down to the one that transmits, and collects the tags on the way.
pub(super) fn egress(links: &BTreeMap<u32, Link>, ifindex: u32) -> Result<Egress, Problem> {
    let top = links.get(&ifindex).ok_or(Problem::UnknownDevice { ifindex })?;
    let source_mac = top.mac.ok_or_else(|| Problem::NoMac { device: top.device.clone() })?;

    let mut link = top;
    let mut tags = Vec::with_capacity(TAGS_LIMIT);
    let mut levels = 0;
    loop {
        if !link.up {
            return Err(Problem::LinkDown { device: link.device.clone() });
        }
        let Some(vlan) = link.vlan else { break };
        let parent = vlan.parent.and_then(|parent| links.get(&parent));
        // The limit also ends a walk around a circle, which the kernel never describes.
        let Some(parent) = parent.filter(|_| levels < TAGS_LIMIT) else {
            return Err(Problem::Tags { device: link.device.clone() });
        };
        levels += 1;
        // VLAN id 0 only carries a priority (IEEE 802.1Q 9.6): the frame belongs to no VLAN.
        if vlan.id != 0 {
            tags.push(vlan);
        }
        link = parent;
    }

    // What the datapath writes (IEEE 802.1ad, provider bridges): a frame with a tag of another type
    // would be dropped by the switch, silently.
    let types: Vec<bool> = tags.iter().map(|vlan| vlan.service_tag).collect();
    if !matches!(types[..], [] | [false] | [false, true]) {
        return Err(Problem::TagType { device: top.device.clone() });
    }
    // Collected from the top: the last one is next to the wire.
    let outer = tags.pop();
    let inner = tags.pop();
    Ok(Egress {
        ifindex: link.ifindex,
        source_mac,
        outer_vlan: outer.map_or(0, |vlan| vlan.id),
        inner_vlan: inner.map_or(0, |vlan| vlan.id),
    })
}

/// Whether frames can leave by a device: it and everything under it is known and up.
pub(super) fn can_transmit(links: &BTreeMap<u32, Link>, ifindex: u32) -> bool {
    egress(links, ifindex).is_ok()
}
