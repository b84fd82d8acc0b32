use lb_core::neighbour::{Input, Link, NeighbourState, RouteAnswer, RouteError, Vlan};
use lb_core::vip::{ADDRESS_PROTOCOL, Present};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, Inet6DevConf, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::monitor::Batch;
use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x42];

fn ethernet(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Address(MAC.to_vec())];
    message.attributes.extend(attributes);
    message
}

fn vlan_info(protocol: VlanProtocol) -> LinkAttribute {
    let data = InfoData::Vlan(vec![InfoVlan::Id(100), InfoVlan::Protocol(protocol)]);
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)])
}

fn neighbour_entry(state: Nud, mac: Option<[u8; 6]>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = 7;
    message.header.state = state;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet([192, 0, 2, 1].into())));
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message
}

/// A datagram as the kernel would send it.
fn datagram(messages: Vec<RouteNetlinkMessage>) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

#[test]
fn a_gratuitous_arp_says_the_same_in_both_forms() {
    let [request, reply] = gratuitous_arp(MAC, [192, 0, 2, 9].into());
    #[rustfmt::skip]
    let expected = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x42, 0x08, 0x06,
        0, 1, 0x08, 0, 6, 4, 0, 1,
        2, 0, 0, 0, 0, 0x42, 192, 0, 2, 9,
        0, 0, 0, 0, 0, 0, 192, 0, 2, 9,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(request, expected);
    assert_eq!(reply[20..22], [0, 2]);
    assert_eq!(reply[32..38], [0xff; 6]);
    assert_eq!(reply[22..32], request[22..32]);
}

#[test]
fn an_unsolicited_advertisement_overrides_and_names_the_mac() {
    let vip = "2001:db8::9".parse().unwrap();
    let frame = unsolicited_advertisement(MAC, vip, false);
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(frame[6..12], MAC);
    assert_eq!(frame[18..22], [0, 32, 58, 255], "length, ICMPv6, hop limit 255");
    assert_eq!(frame[22..38], vip.octets());
    assert_eq!(frame[54], 136);
    assert_eq!(frame[58], 0x20, "override alone");
    assert_eq!(frame[62..78], vip.octets());
    assert_eq!(frame[78..86], [2, 1, 2, 0, 0, 0, 0, 0x42]);
    assert_eq!(unsolicited_advertisement(MAC, vip, true)[58], 0xa0);
    // The sum over pseudo header and message, checksum included, is all ones (RFC 1071).
    let pseudo = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..86]].concat();
    let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
}

#[test]
fn a_link_is_up_with_carrier_and_has_a_mac_only_on_ethernet() {
    let link = Link { ifindex: 7, device: "eth0".into(), mac: Some(MAC), up: true, vlan: None };
    assert_eq!(message::link(&ethernet(vec![])), Some(link.clone()));

    let mut no_carrier = ethernet(vec![]);
    no_carrier.header.flags = LinkFlags::Up;
    assert_eq!(message::link(&no_carrier), Some(Link { up: false, ..link.clone() }));

    let mut loopback = ethernet(vec![]);
    loopback.header.link_layer_type = LinkLayerType::Loopback;
    assert_eq!(message::link(&loopback), Some(Link { mac: None, ..link }));
}

#[test]
fn a_vlan_link_names_its_parent_and_tag() {
    for (protocol, service_tag) in [(VlanProtocol::Ieee8021Q, false), (VlanProtocol::Ieee8021Ad, true)] {
        let link = message::link(&ethernet(vec![LinkAttribute::Link(3), vlan_info(protocol)])).unwrap();
        assert_eq!(link.vlan, Some(Vlan { parent: Some(3), id: 100, service_tag }));
    }
    let elsewhere = vec![LinkAttribute::Link(3), LinkAttribute::LinkNetNsId(1), vlan_info(VlanProtocol::Ieee8021Q)];
    assert_eq!(message::link(&ethernet(elsewhere)).unwrap().vlan.unwrap().parent, None);
}

#[test]
fn link_messages_about_something_else_are_no_links() {
    let mut bridge_port = ethernet(vec![]);
    bridge_port.header.interface_family = AddressFamily::Bridge;
    assert_eq!(message::link(&bridge_port), None);

    let mut wireless_event = ethernet(vec![]);
    wireless_event.attributes.clear();
    assert_eq!(message::link(&wireless_event), None);
}

#[test]
fn a_link_is_a_router_when_it_forwards_ipv6() {
    for (forwarding, router) in [(0, false), (1, true), (2, true)] {
        let mut conf = Inet6DevConf::default();
        conf.forwarding = forwarding;
        let spec = AfSpecUnspec::Inet6(vec![AfSpecInet6::DevConf(conf)]);
        assert_eq!(message::forwards_ipv6(&ethernet(vec![LinkAttribute::AfSpecUnspec(vec![spec])])), router);
    }
    assert!(!message::forwards_ipv6(&ethernet(vec![])));
}

#[test]
fn an_address_is_the_local_one_and_ours_by_its_mark() {
    let mut peer = AddressMessage::default();
    peer.header.index = 7;
    peer.header.prefix_len = 32;
    peer.attributes =
        vec![AddressAttribute::Address([192, 0, 2, 1].into()), AddressAttribute::Local([192, 0, 2, 2].into())];
    let present = Present { ifindex: 7, address: [192, 0, 2, 2].into(), prefix: 32, ours: false };
    assert_eq!(message::address(&peer), Some(present.clone()));
    for (protocol, ours) in [(ADDRESS_PROTOCOL, true), (0, false), (3, false), (18, false)] {
        let mut marked = peer.clone();
        marked.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(protocol)));
        assert_eq!(message::address(&marked), Some(Present { ours, ..present.clone() }));
    }
    assert_eq!(message::address(&AddressMessage::default()), None);
}

#[test]
fn neighbour_entries_keep_their_state_and_proxies_are_skipped() {
    let address = [192, 0, 2, 1].into();
    let entry = neighbour_entry(Nud::Stale, Some(MAC));
    let input = Input::Neighbour { ifindex: 7, address, mac: Some(MAC), state: NeighbourState::Stale };
    assert_eq!(message::neighbour(&entry, false), Some(input));
    assert_eq!(message::neighbour(&entry, true), Some(Input::NeighbourGone { ifindex: 7, address }));

    let failed = Input::Neighbour { ifindex: 7, address, mac: None, state: NeighbourState::Failed };
    assert_eq!(message::neighbour(&neighbour_entry(Nud::Failed, None), false), Some(failed));
    let fresh = Input::Neighbour { ifindex: 7, address, mac: None, state: NeighbourState::Incomplete };
    assert_eq!(message::neighbour(&neighbour_entry(Nud::None, None), false), Some(fresh));

    let mut proxy = entry;
    proxy.header.flags = NeighbourFlags::Proxy;
    assert_eq!(message::neighbour(&proxy, false), None);
}

#[test]
fn routes_give_device_gateway_and_source_or_the_reason_why_not() {
    let mut unicast = RouteMessage::default();
    unicast.header.kind = RouteType::Unicast;
    unicast.attributes =
        vec![RouteAttribute::Oif(7), RouteAttribute::PrefSource(RouteAddress::Inet([192, 0, 2, 2].into()))];
    let on_link = RouteAnswer { ifindex: 7, gateway: None, source: Some([192, 0, 2, 2].into()) };
    assert_eq!(message::route(&unicast), Ok(on_link.clone()));

    let gateway = "fe80::1".parse().unwrap();
    unicast.attributes.push(RouteAttribute::Via(RouteVia::Inet6(gateway)));
    assert_eq!(message::route(&unicast), Ok(RouteAnswer { gateway: Some(gateway.into()), ..on_link }));

    let refusals = [
        (RouteType::Local, RouteError::Local),
        (RouteType::Broadcast, RouteError::NotUnicast),
        (RouteType::Multicast, RouteError::NotUnicast),
        (RouteType::Anycast, RouteError::NotUnicast),
        (RouteType::Unreachable, RouteError::NoRoute),
        (RouteType::BlackHole, RouteError::NoRoute),
    ];
    for (kind, error) in refusals {
        unicast.header.kind = kind;
        assert_eq!(message::route(&unicast), Err(error), "{kind:?}");
    }
}

#[test]
fn a_batch_tells_links_and_neighbours_in_order_and_routes_once() {
    let mut batch = Batch::default();
    batch.take(&datagram(vec![
        RouteNetlinkMessage::NewLink(ethernet(vec![])),
        RouteNetlinkMessage::NewRoute(RouteMessage::default()),
        RouteNetlinkMessage::NewRule(RuleMessage::default()),
        RouteNetlinkMessage::NewNeighbour(neighbour_entry(Nud::Reachable, Some(MAC))),
        RouteNetlinkMessage::DelNeighbour(neighbour_entry(Nud::Failed, None)),
    ]));
    batch.take(&datagram(vec![RouteNetlinkMessage::DelLink(ethernet(vec![]))]));
    let address = [192, 0, 2, 1].into();
    let expected = [
        Input::Link(message::link(&ethernet(vec![])).unwrap()),
        Input::Neighbour { ifindex: 7, address, mac: Some(MAC), state: NeighbourState::Reachable },
        Input::NeighbourGone { ifindex: 7, address },
        Input::LinkGone { ifindex: 7 },
    ];
    assert_eq!(batch.inputs, expected);
    assert!(batch.routes && batch.host);
}

#[test]
fn an_address_change_asks_routes_and_vips_again() {
    let mut batch = Batch::default();
    batch.take(&datagram(vec![RouteNetlinkMessage::NewAddress(AddressMessage::default())]));
    assert!(batch.routes && batch.host && batch.inputs.is_empty());
}

#[test]
fn damaged_datagrams_are_cut_off_without_panic() {
    let whole = datagram(vec![
        RouteNetlinkMessage::NewLink(ethernet(vec![vlan_info(VlanProtocol::Ieee8021Q)])),
        RouteNetlinkMessage::NewNeighbour(neighbour_entry(Nud::Stale, Some(MAC))),
    ]);
    for length in 0..whole.len() {
        let mut batch = Batch::default();
        batch.take(&whole[..length]);
        assert!(batch.inputs.len() < 2);
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            Batch::default().take(&damaged);
        }
    }
    assert_eq!(connection::messages(&[0; 64]).count(), 0, "a length of zero ends the walk");
}

#[test]
fn errors_say_what_was_tried_and_what_is_needed() {
    let error = Error::new("add 192.0.2.9 to interface number 2", io::Error::from_raw_os_error(libc::EPERM));
    let text = error.to_string();
    assert!(text.starts_with("cannot add 192.0.2.9 to interface number 2: "), "{text}");
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
}
