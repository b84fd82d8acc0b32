//! From netlink messages to the words of lb-core. Pure.

use std::net::IpAddr;

use lb_core::neighbour::{Input, Link, NeighbourState, RouteAnswer, RouteError, Vlan};
use lb_core::vip::{ADDRESS_PROTOCOL, Present};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};

/// A link, or `None` for a message about something else: a bridge's view of its port, or a
/// wireless event, come as link messages too.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link { ifindex: message.header.index, device: String::new(), mac: None, up: false, vlan: None };
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    link.up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let mut parent = None;
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.device.clone_from(name),
            LinkAttribute::Address(bytes) if ethernet => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Link(ifindex) => parent = Some(*ifindex),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => link.vlan = vlan(infos),
            _ => {}
        }
    }
    if let Some(vlan) = &mut link.vlan {
        vlan.parent = parent.filter(|_| !elsewhere);
    }
    (!link.device.is_empty()).then_some(link)
}

fn vlan(infos: &[LinkInfo]) -> Option<Vlan> {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let mut vlan = Vlan { parent: None, id: 0, service_tag: false };
    for attribute in data {
        match attribute {
            InfoVlan::Id(id) => vlan.id = *id,
            InfoVlan::Protocol(protocol) => vlan.service_tag = *protocol == VlanProtocol::Ieee8021Ad,
            _ => {}
        }
    }
    Some(vlan)
}

/// Whether the link forwards IPv6, and so counts as a router in neighbour advertisements.
pub(super) fn forwards_ipv6(message: &LinkMessage) -> bool {
    let specs = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(specs) => Some(specs),
        _ => None,
    });
    let inet6 = specs.flatten().filter_map(|spec| match spec {
        AfSpecUnspec::Inet6(inet6) => Some(inet6),
        _ => None,
    });
    inet6.flatten().any(|attribute| matches!(attribute, AfSpecInet6::DevConf(conf) if conf.forwarding > 0))
}

/// An address of this machine.
pub(super) fn address(message: &AddressMessage) -> Option<Present> {
    let (mut local, mut subnet, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours (ip-address(8)).
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => subnet = Some(*address),
            AddressAttribute::Protocol(protocol) => ours = u8::from(*protocol) == ADDRESS_PROTOCOL,
            _ => {}
        }
    }
    let address = local.or(subnet)?;
    Some(Present { ifindex: message.header.index, address, prefix: message.header.prefix_len, ours })
}

/// A neighbour entry that appeared, changed or (`gone`) disappeared; `None` for proxy and bridge entries.
pub(super) fn neighbour(message: &NeighbourMessage, gone: bool) -> Option<Input> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let ifindex = message.header.ifindex;
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    if gone {
        return Some(Input::NeighbourGone { ifindex, address });
    }
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    Some(Input::Neighbour { ifindex, address, mac, state: state(message.header.state) })
}

fn state(state: Nud) -> NeighbourState {
    match state {
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale => NeighbourState::Stale,
        Nud::Delay => NeighbourState::Delay,
        Nud::Probe => NeighbourState::Probe,
        Nud::Failed => NeighbourState::Failed,
        Nud::Noarp => NeighbourState::NoArp,
        Nud::Permanent => NeighbourState::Permanent,
        // An entry just made has no state yet.
        _ => NeighbourState::Incomplete,
    }
}

/// The answer to a route question.
pub(super) fn route(message: &RouteMessage) -> Result<RouteAnswer, RouteError> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(RouteError::Local),
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => return Err(RouteError::NotUnicast),
        _ => return Err(RouteError::NoRoute),
    }
    let (mut device, mut gateway, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => device = Some(*ifindex),
            RouteAttribute::Gateway(address) => gateway = route_address(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::PrefSource(address) => source = route_address(address),
            _ => {}
        }
    }
    let ifindex = device.ok_or(RouteError::NoRoute)?;
    Ok(RouteAnswer { ifindex, gateway, source })
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// The netlink name of an address's family.
pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Length of the prefix that is one address.
pub(super) fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
