//! What a forwarded frame becomes: next hop's addresses, its tags, and not a byte more.

use super::*;
use crate::testing::OTHER_DEVICE;

const PRIORITY: u16 = 0xb000;
const INNER_PRIORITY: u16 = 0x6000;

fn next_hop(outer: u16, inner: u16, device: u32) -> MemTables {
    let mut scenario = scenario(Scheduler::Maglev, 1);
    (scenario.servers[0].outer_vlan, scenario.servers[0].inner_vlan) = (outer, inner);
    scenario.servers[0].ifindex = device;
    tables(&scenario)
}

fn tagged(tags: &[(u16, u16)]) -> Vec<u8> {
    let builder = PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::SYN, b"payload");
    tags.iter().fold(builder, |builder, (kind, control)| builder.tag(*kind, *control)).build()
}

/// The tags of the frame that a client sends, those of the next hop, and those that must leave.
type Row = (&'static [(u16, u16)], (u16, u16), &'static [(u16, u16)]);

const Q: u16 = ethernet::TYPE_VLAN;
const AD: u16 = ethernet::TYPE_SERVICE_VLAN;

const ROWS: &[Row] = &[
    // None: none, one, two.
    (&[], (0, 0), &[]),
    (&[], (20, 0), &[(Q, 20)]),
    (&[], (30, 20), &[(AD, 30), (Q, 20)]),
    // One: none, the same, another, two.
    (&[(Q, PRIORITY | 20)], (0, 0), &[]),
    (&[(Q, PRIORITY | 20)], (20, 0), &[(Q, PRIORITY | 20)]),
    (&[(Q, PRIORITY | 20)], (21, 0), &[(Q, PRIORITY | 21)]),
    (&[(Q, PRIORITY | 20)], (30, 20), &[(AD, PRIORITY | 30), (Q, 20)]),
    (&[(AD, PRIORITY | 20)], (20, 0), &[(AD, PRIORITY | 20)]),
    // Two: none, one, the same, other ones.
    (&[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 20)], (0, 0), &[]),
    (&[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 20)], (20, 0), &[(Q, PRIORITY | 20)]),
    (&[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 20)], (30, 20), &[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 20)]),
    (&[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 20)], (30, 21), &[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 21)]),
    (&[(AD, PRIORITY | 30), (Q, INNER_PRIORITY | 20)], (31, 20), &[(AD, PRIORITY | 31), (Q, INNER_PRIORITY | 20)]),
    // A priority tag is a tag of no VLAN: the untagged VLAN of the port.
    (&[(Q, PRIORITY)], (0, 0), &[]),
    (&[(Q, PRIORITY)], (20, 0), &[(Q, PRIORITY | 20)]),
    (&[(Q, PRIORITY)], (30, 20), &[(AD, PRIORITY | 30), (Q, 20)]),
    // The highest VLAN and the drop eligibility bit.
    (&[(Q, 0x1000 | 1)], (4094, 0), &[(Q, 0x1000 | 4094)]),
];

#[test]
fn tags_are_pushed_popped_and_replaced_and_nothing_else_changes() {
    for (from, (outer, inner), to) in ROWS {
        for (device, action) in [(DEVICE, Action::Transmit), (OTHER_DEVICE, Action::Redirect(OTHER_DEVICE))] {
            let tables = next_hop(*outer, *inner, device);
            let server = tables.servers[&FIRST];
            let mut expected = tagged(to);
            expected[..6].copy_from_slice(&server.destination_mac);
            expected[6..12].copy_from_slice(&server.source_mac);

            let (verdict, frame) = run(&tables, &tagged(from));

            assert_eq!(verdict, Verdict { action, reason: Reason::Scheduled }, "{from:x?} to {outer}/{inner}");
            assert_eq!(frame, expected, "{from:x?} to {outer}/{inner}");
        }
    }
}

#[test]
fn the_first_twelve_bytes_are_the_next_hops_addresses() {
    let mut scenario = scenario(Scheduler::Maglev, 1);
    scenario.servers[0].destination_mac = [1, 2, 3, 4, 5, 6];
    scenario.servers[0].source_mac = [7, 8, 9, 10, 11, 12];
    let tables = tables(&scenario);
    for frame in [syn(1), datagram(2), [&syn(3)[..], &[0x55; 30]].concat()] {
        let (_, out) = run(&tables, &frame);
        assert_eq!(out[..12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(out[12..], frame[12..]);
    }
}

#[test]
fn an_established_flow_follows_its_server_to_another_next_hop() {
    let mut tables = next_hop(0, 0, DEVICE);
    establish(&tables, 9);
    let server = tables.servers.get_mut(&FIRST).expect("the server");
    (server.ifindex, server.destination_mac, server.outer_vlan) = (OTHER_DEVICE, [6; 6], 44);

    let (verdict, frame) = run(&tables, &ack(9));

    assert_eq!(verdict, Verdict { action: Action::Redirect(OTHER_DEVICE), reason: Reason::Established });
    assert_eq!((&frame[..6], &frame[12..16]), (&[6; 6][..], &[0x81, 0x00, 0, 44][..]));
}

#[test]
fn a_flow_whose_next_hop_is_lost_is_dropped_and_kept() {
    let mut tables = next_hop(0, 0, DEVICE);
    establish(&tables, 9);
    tables.servers.get_mut(&FIRST).expect("the server").ifindex = 0;

    assert_eq!(run(&tables, &ack(9)), (Verdict::drop(Reason::NextHopUnknown), ack(9)));
    assert_eq!(reason(&tables, &syn(10)), Reason::NoServer, "nobody new is sent into the void");

    tables.servers.get_mut(&FIRST).expect("the server").ifindex = DEVICE;
    assert_eq!(sent(&tables, &ack(9)), (FIRST, Reason::Established));
}

#[test]
fn a_frame_without_headroom_for_its_tags_is_dropped() {
    let tables = next_hop(30, 20, DEVICE);
    for (headroom, expected) in [(0, Reason::NoHeadroom), (7, Reason::NoHeadroom), (8, Reason::Scheduled)] {
        let mut packet = MemPacket::with_headroom(&syn(9), DEVICE, headroom);
        assert_eq!(forward(&mut packet, &tables).reason, expected, "{headroom} bytes");
        tables.pending_flows.clear();
    }
}
