//! Replies find the client that asked, by the way its packets came.

use super::conversation::*;
use super::*;
use crate::testing::{OTHER_DEVICE, Seen};

const THIRD_DEVICE: u32 = 3;
const Q: u16 = ethernet::TYPE_VLAN;
const AD: u16 = ethernet::TYPE_SERVICE_VLAN;

/// A last hop: interface, end of the MAC addresses, tags; and the VLANs of the answer.
type Way = (u32, u8, &'static [(u16, u16)], &'static [u16]);

/// A packet of the client from this interface, MAC address and VLAN.
fn from(kind: Kind, device: u32, mac: u8, tags: &[(u16, u16)]) -> (u32, Vec<u8>) {
    let builder = kind.request(9, tcp::ACK, b"more");
    let builder = tags.iter().fold(builder, |builder, (kind, control)| builder.tag(*kind, *control));
    (device, with_macs(builder.build(), [0x02, 0, 0, 0, 1, mac], [0x02, 0, 0, 0, 2, mac]))
}

/// How an answer leaves: interface, MAC addresses, VLANs.
fn leaves(tables: &MemTables, kind: Kind, got: &Seen) -> (Action, [u8; 6], [u8; 6], Vec<u16>) {
    let (verdict, out) = run_by(tables, OTHER_DEVICE, &kind.answer(got, tcp::ACK, b"").build());
    assert_eq!(verdict.reason, Reason::Reply);
    let seen = Seen::read(&out).expect("a packet");
    let vlans = seen.tags.iter().map(|(_, control)| control & 0xfff).collect();
    (verdict.action, seen.destination_mac, seen.source_mac, vlans)
}

#[test]
fn answers_follow_the_client_to_another_last_hop_with_the_next_tick() {
    for kind in kinds() {
        let tables = kind.tables(1);
        let got = to_server(&tables, &kind.request(9, tcp::SYN, b"").build());
        assert_eq!(leaves(&tables, kind, &got), (Action::Redirect(DEVICE), CLIENT_MAC, BALANCER_MAC, vec![]));
        let ways: [Way; 8] = [
            (DEVICE, 1, &[], &[]),
            (DEVICE, 1, &[(Q, 20)], &[20]),
            (DEVICE, 1, &[(Q, 21)], &[21]),
            (OTHER_DEVICE, 1, &[(Q, 20)], &[20]),
            // Of the interface and the VLAN at once, by one bit each.
            (THIRD_DEVICE, 1, &[(Q, 28)], &[28]),
            (THIRD_DEVICE, 2, &[(AD, 30), (Q, 20)], &[30, 20]),
            // A priority tag names no VLAN (IEEE 802.1Q §9.6).
            (THIRD_DEVICE, 2, &[(Q, 0xa000)], &[]),
            (THIRD_DEVICE, 2, &[(AD, 0xa000), (Q, 20)], &[20]),
        ];
        let mut last = (DEVICE, kind.request(9, tcp::ACK, b"").build());
        for (device, mac, tags, vlans) in ways {
            tick(&tables, 1);
            run_by(&tables, last.0, &last.1);
            let before = leaves(&tables, kind, &got);
            last = from(kind, device, mac, tags);
            run_by(&tables, last.0, &last.1);
            assert_eq!(leaves(&tables, kind, &got), before, "not within the tick");
            tick(&tables, 1);
            run_by(&tables, last.0, &last.1);
            let action = if device == OTHER_DEVICE { Action::Transmit } else { Action::Redirect(device) };
            let (to, from) = ([0x02, 0, 0, 0, 2, mac], [0x02, 0, 0, 0, 1, mac]);
            assert_eq!(leaves(&tables, kind, &got), (action, to, from, vlans.to_vec()), "{kind:?}, {tags:?}");
        }
    }
}

#[test]
fn an_unchanged_last_hop_costs_no_write() {
    let tables = TCP.tables(1);
    to_server(&tables, &TCP.request(9, tcp::SYN, b"").build());
    let before = tables.replies.updates();
    for _ in 0..5 {
        tick(&tables, 1);
        to_server(&tables, &TCP.request(9, tcp::ACK, b"").build());
    }
    assert_eq!(tables.replies.updates(), before);
}

#[test]
fn a_frame_to_a_group_opens_nothing_and_moves_no_last_hop() {
    for kind in kinds() {
        let tables = kind.tables(1);
        let group = |frame| with_macs(frame, [0xff; 6], [0x02, 0, 0, 0, 9, 9]);
        let frame = group(kind.request(9, tcp::SYN, b"").build());
        assert_eq!(run(&tables, &frame), (Verdict::drop(Reason::NotUnicast), frame));
        assert!(tables.flows.is_empty() && tables.replies.is_empty() && tables.source_ports.borrow().is_empty());

        let got = to_server(&tables, &kind.request(9, tcp::SYN, b"").build());
        let way = leaves(&tables, kind, &got);
        tick(&tables, 1);
        run(&tables, &group(kind.request(9, tcp::ACK, b"").build()));
        assert_eq!(leaves(&tables, kind, &got), way);
    }
}

#[test]
fn what_answers_nothing_is_the_kernels() {
    for kind in kinds() {
        let tables = kind.tables(2);
        let got = to_server(&tables, &kind.request(9, tcp::SYN, b"").build());
        let (client, server) = got.packet.ends();
        let other = IpAddr::from(tables.servers[&(FIRST + 1)].address);
        let rows = [
            ("another port of the client", kind.packet(server, (client.0, client.1 ^ 1), tcp::ACK, b"")),
            ("another port of the server", kind.packet((server.0, server.1 ^ 1), client, tcp::ACK, b"")),
            ("another real server", kind.packet((other, server.1), client, tcp::ACK, b"")),
            ("another address", kind.packet(server, (kind.router(), client.1), tcp::ACK, b"")),
            ("another protocol", Kind { udp: !kind.udp, ..kind }.packet(server, client, tcp::ACK, b"")),
        ];
        for (what, packet) in rows {
            let frame = packet.build();
            assert_eq!(run_by(&tables, OTHER_DEVICE, &frame), (Verdict::pass(Reason::ReplyUnknown), frame), "{what}");
        }
        let frame = kind.packet((kind.router(), server.1), client, tcp::ACK, b"").build();
        let stranger = run_by(&tables, OTHER_DEVICE, &frame);
        assert_eq!(stranger, (Verdict::pass(Reason::NotVip), frame), "not of a real server");
    }
}

#[test]
fn a_real_server_that_is_cut_answers_nobody_and_one_that_drains_does() {
    for kind in kinds() {
        let mut tables = kind.tables(1);
        let got = to_server(&tables, &kind.request(9, tcp::SYN, b"").build());
        drain(&mut tables, FIRST);
        to_client(&tables, &kind.answer(&got, tcp::ACK, b"").build());
        cut(&mut tables, FIRST);
        let frame = kind.answer(&got, tcp::ACK, b"").build();
        assert_eq!(run_by(&tables, OTHER_DEVICE, &frame).0, Verdict::pass(Reason::ReplyUnknown));
        let error = icmp_error(
            kind.router(),
            got.packet.source,
            kind.errors()[0],
            packet_of(&kind.packet(got.packet.ends().0, got.packet.ends().1, tcp::SYN, b"").build()),
        )
        .build();
        assert_eq!(run_by(&tables, OTHER_DEVICE, &error), (Verdict::pass(Reason::ReplyUnknown), error));
    }
}

#[test]
fn packets_of_a_real_server_that_cannot_be_read_are_the_kernels() {
    // Only its address says that they may concern anybody here.
    let tables = Kind { v6: true, ..TCP }.tables(1);
    let server = IpAddr::from(tables.servers[&FIRST].address);
    let whole = PacketBuilder::udp((server, 9), (ip("fd00:99::1"), 9), b"").extension(60, &[0; 6]).build();
    for length in NETWORK + 40..whole.len() {
        let mut frame = whole[..length].to_vec();
        let payload = u16::try_from(length - NETWORK - 40).expect("short");
        frame[NETWORK + 4..NETWORK + 6].copy_from_slice(&payload.to_be_bytes());
        let (verdict, out) = run_by(&tables, OTHER_DEVICE, &frame);
        assert_eq!((verdict.action, &out), (Action::Pass, &frame), "{length} bytes: {verdict:?}");
    }
}

#[test]
fn a_real_server_as_a_client_of_a_vip_is_answered() {
    // The source address is the VIP: packets to it are those of clients and those of real servers.
    for own_port in [false, true] {
        let kind = Kind { own_port, ..TCP };
        let mut scenario = kind.scenario(2);
        scenario.source = Some((NUMBER, ip(VIP)));
        let tables = tables(&scenario);
        let first = IpAddr::from(tables.servers[&FIRST].address);
        // As a client, of each of the servers, itself among them.
        let mut servers = std::collections::BTreeSet::new();
        for port in [30_000, 30_001] {
            let frame = kind.packet((first, port), (ip(VIP), PORT), tcp::SYN, b"").build();
            let (verdict, out) = run_by(&tables, OTHER_DEVICE, &frame);
            assert_eq!(verdict, Verdict { action: Action::Transmit, reason: Reason::Scheduled });
            let got = judged(&frame, &out);
            assert_eq!(got.packet.source, ip(VIP));
            servers.insert(got.packet.destination);
            let frame = kind.answer(&got, tcp::SYN | tcp::ACK, b"").build();
            let (verdict, out) = run_by(&tables, OTHER_DEVICE, &frame);
            assert_eq!(verdict, Verdict { action: Action::Transmit, reason: Reason::Reply });
            let seen = judged(&frame, &out);
            assert_eq!(seen.packet.ends(), ((ip(VIP), PORT), (first, port)));
        }
        assert_eq!((servers.len(), tables.flows.len(), tables.replies.len()), (2, 2, 2));
    }
}
