//! What becomes of the bytes of a translated packet, both ways: every checksum is the one computed
//! afresh, and nothing else changes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::conversation::*;
use super::*;
use crate::testing::{OTHER_DEVICE, Seen, SeenPacket};
use crate::wire::ipv6;

/// Tags, options, extension headers around a packet.
#[derive(Clone, Debug)]
struct Dress {
    tags: Vec<(u16, u16)>,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    padding: usize,
}

fn dresses() -> impl Strategy<Value = Dress> {
    let tags = select(vec![
        vec![],
        vec![(ethernet::TYPE_VLAN, 20)],
        vec![(ethernet::TYPE_VLAN, 0xa000)],
        vec![(ethernet::TYPE_SERVICE_VLAN, 0x601e), (ethernet::TYPE_VLAN, 0xa014)],
    ]);
    let kinds = select(vec![ipv6::HOP_BY_HOP, ipv6::ROUTING, ipv6::DESTINATION_OPTIONS]);
    let extensions = vec((kinds, vec(any::<u8>(), 0..40)), 0..4);
    (tags, vec(any::<u8>(), 0..40), extensions, 0..20_usize).prop_map(|(tags, options, extensions, padding)| Dress {
        tags,
        options,
        extensions,
        padding,
    })
}

fn dressed(builder: PacketBuilder, dress: &Dress, v6: bool) -> Vec<u8> {
    let builder = dress.tags.iter().fold(builder, |builder, (kind, control)| builder.tag(*kind, *control));
    let builder = if v6 {
        dress.extensions.iter().fold(builder, |builder, (kind, body)| builder.extension(*kind, body))
    } else {
        builder.options(&dress.options)
    };
    let mut frame = builder.build();
    frame.extend(std::iter::repeat_n(0, dress.padding));
    frame
}

fn any_kind() -> impl Strategy<Value = Kind> {
    select(kinds().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_request_and_its_answer_are_right_in_any_dress(
        kind in any_kind(),
        there in dresses(),
        back in dresses(),
        port in 1..=u16::MAX,
        payload in vec(any::<u8>(), 0..80),
        flags in select(vec![tcp::SYN, tcp::ACK, tcp::SYN | 0xc0, tcp::ACK | 0x08]),
        next_hop in select(vec![(0, 0), (20, 0), (30, 20)]),
    ) {
        let mut scenario = kind.scenario(1);
        (scenario.servers[0].outer_vlan, scenario.servers[0].inner_vlan) = next_hop;
        let tables = tables(&scenario);

        let got = to_server(&tables, &dressed(kind.request(port, flags, &payload), &there, kind.v6));

        let (from, to) = got.packet.ends();
        prop_assert_eq!(to, (IpAddr::from(tables.servers[&FIRST].address), kind.server_port()));
        if kind.snat {
            prop_assert_eq!(from.0, kind.source());
            prop_assert!((1024..=32_767).contains(&from.1));
        } else {
            prop_assert_eq!(from, (kind.client(), port));
        }
        let vlans: Vec<u16> = got.tags.iter().map(|(_, control)| control & 0xfff).collect();
        prop_assert_eq!(vlans, [next_hop.0, next_hop.1].into_iter().filter(|vlan| *vlan != 0).collect::<Vec<_>>());

        let seen = to_client(&tables, &dressed(kind.answer(&got, tcp::ACK, &payload), &back, kind.v6));

        prop_assert_eq!(seen.packet.ends(), ((kind.vip(), PORT), (kind.client(), port)));
        prop_assert_eq!((seen.destination_mac, seen.source_mac), (CLIENT_MAC, BALANCER_MAC));
        let vlans = |tags: &[(u16, u16)]| tags.iter().map(|(_, c)| c & 0xfff).filter(|v| *v != 0).collect::<Vec<_>>();
        prop_assert_eq!(vlans(&seen.tags), vlans(&there.tags), "the VLAN of the client's frame");
        prop_assert_eq!(tables.verdicts_of(Reason::Reply), 1);
    }

    #[test]
    fn errors_both_ways_are_right_whatever_is_quoted(
        kind in any_kind(),
        dress in dresses(),
        inner in dresses(),
        which in 0..3_usize,
        payload in vec(any::<u8>(), 0..120),
        cut in 8..200_usize,
        part in any::<bool>(),
    ) {
        let tables = kind.tables(1);
        let undress = |frame: &[u8]| packet_of(frame).to_vec();
        let plain = Dress { tags: vec![], extensions: vec![], padding: 0, ..inner };
        let shape = |builder: PacketBuilder| if part { builder.fragment(7, 0, true) } else { builder };
        let request = shape(kind.request(9, tcp::SYN, &payload));
        let request = if part && kind.udp && payload.len() % 8 != 0 { kind.request(9, tcp::SYN, &payload) } else { request };
        let sent = dressed(request, &plain, kind.v6);
        let got = to_server(&tables, &sent);
        let (_, at_server) = run(&tables, &sent);
        let quote = |packet: Vec<u8>| {
            let body = SeenPacket::read(&packet).expect("a packet").body.len();
            let headers = packet.len() - body;
            packet[..packet.len().min(headers + cut)].to_vec()
        };

        // About what the real server was to get: back to the client.
        let router = kind.router();
        let about = quote(undress(&at_server));
        let error = icmp_error(router, got.packet.source, kind.errors()[which], &about);
        let seen = to_client(&tables, &dressed(error, &dress, false));
        prop_assert_eq!((seen.packet.source, seen.packet.destination), (kind.vip(), kind.client()));
        let quoted = seen.packet.quoted().expect("what the client sent");
        prop_assert_eq!(quoted.ends(), ((kind.client(), 9), (kind.vip(), PORT)));
        prop_assert!(quoted.header_is_right);
        prop_assert_eq!(udp_sum(&quoted), udp_sum(&Seen::read(&sent).expect("a packet").packet));

        // About what the client was to get: to the real server.
        let answer = shape_answer(kind, &got, &payload, part);
        let reply = dressed(answer, &plain, kind.v6);
        let (verdict, at_client) = run_by(&tables, OTHER_DEVICE, &reply);
        prop_assert_eq!(verdict.reason, Reason::Reply);
        let about = quote(undress(&at_client));
        let error = icmp_error(router, kind.vip(), kind.errors()[which], &about);
        let seen = to_server(&tables, &dressed(error, &dress, false));
        let server = (IpAddr::from(tables.servers[&FIRST].address), kind.server_port());
        let from = if kind.snat { kind.source() } else { router };
        prop_assert_eq!((seen.packet.source, seen.packet.destination), (from, server.0));
        let quoted = seen.packet.quoted().expect("what the real server sent");
        prop_assert_eq!(quoted.ends(), (server, got.packet.ends().0));
        prop_assert!(quoted.header_is_right);
        prop_assert_eq!(udp_sum(&quoted), udp_sum(&Seen::read(&reply).expect("a packet").packet));
        prop_assert_eq!((tables.verdicts_of(Reason::ReplyError), tables.verdicts_of(Reason::IcmpError)), (1, 1));
        prop_assert_eq!(tables.flows.len(), 1);
    }

    #[test]
    fn fragments_both_ways_make_the_datagram_again(
        kind in any_kind(),
        payload in vec(any::<u8>(), 30..300),
        size in select(vec![24_usize, 32, 64, 128]),
        identification in any::<u16>(),
    ) {
        let tables = kind.tables(2);
        let fragments = kind.request(9, tcp::SYN, &payload).fragments(identification.into(), size);
        let got: Vec<Seen> = fragments.iter().map(|frame| to_server(&tables, frame)).collect();
        let macs: std::collections::BTreeSet<_> = got.iter().map(|seen| seen.destination_mac).collect();
        prop_assert_eq!(macs.len(), 1, "all to one real server");
        let parts: Vec<SeenPacket> = got.iter().map(|seen| seen.packet.clone()).collect();
        let whole = SeenPacket::whole(&parts).expect("one identification for all, and every part");
        prop_assert!(whole.body_is_right());
        let id = whole.identification;
        if kind.v6 || !kind.snat {
            prop_assert_eq!(id, u32::from(identification));
        }

        let answers = kind.answer(&got[0], tcp::ACK, &payload).fragments(u32::from(identification), size);
        let parts: Vec<SeenPacket> = answers.iter().map(|frame| to_client(&tables, frame).packet).collect();
        let whole = SeenPacket::whole(&parts).expect("one identification for all, and every part");
        prop_assert!(whole.body_is_right());
        prop_assert_eq!(whole.ends(), ((kind.vip(), PORT), (kind.client(), 9)));
        prop_assert_eq!(whole.identification, u32::from(identification), "the real server's own");
    }
}

fn shape_answer(kind: Kind, got: &Seen, payload: &[u8], part: bool) -> PacketBuilder {
    let answer = kind.answer(got, tcp::ACK, payload);
    if part && !kind.udp { answer.fragment(9, 0, true) } else { answer }
}

/// The checksum of UDP, which who gets an error about it may verify; of TCP it is seldom quoted.
fn udp_sum(packet: &SeenPacket) -> Option<u16> {
    if packet.protocol == protocol::UDP { packet.checksum() } else { None }
}

#[test]
fn sums_of_zero_and_of_all_ones_stay_right() {
    for kind in kinds() {
        // What has to be added to a word of the payload for the checksum before, or after, to be 0.
        for towards in [false, true] {
            let frame = kind.request(9, tcp::SYN, &[0; 8]).build();
            let after = to_server(&kind.tables(1), &frame).packet.checksum().expect("a checksum");
            let before = Seen::read(&frame).expect("a packet").packet.checksum().expect("a checksum");
            let word = if towards { after } else { before };
            for word in [word, word.wrapping_add(1), word.wrapping_sub(1)] {
                let payload = [&word.to_be_bytes()[..], &[0; 6]].concat();
                let frame = kind.request(9, tcp::SYN, &payload).build();
                let got = to_server(&kind.tables(1), &frame);
                let sum = got.packet.checksum().expect("a checksum");
                if towards && word == after {
                    assert_eq!(sum, if kind.udp { 0xffff } else { 0 }, "{kind:?}");
                }
            }
        }
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    for kind in kinds().filter(|kind| kind.udp && !kind.v6) {
        let tables = kind.tables(1);
        let frame = with(kind.request(9, 0, b"payload").build(), NETWORK + 26, &[0, 0]);
        let got = to_server(&tables, &frame);
        assert_eq!(got.packet.checksum(), Some(0));
        let frame = with(kind.answer(&got, 0, b"payload").build(), NETWORK + 26, &[0, 0]);
        assert_eq!(to_client(&tables, &frame).packet.checksum(), Some(0));
    }
}

#[test]
fn the_last_hop_limit_ends_at_the_balancer_and_the_frame_as_it_came() {
    for kind in kinds() {
        let tables = kind.tables(1);
        let got = to_server(&tables, &with_hops(kind.request(9, tcp::SYN, b"").build(), 2));
        assert_eq!(got.packet.hop_limit, 1);
        let rows = [
            (DEVICE, kind.request(9, tcp::ACK, b"").build()),
            (OTHER_DEVICE, kind.answer(&got, tcp::ACK, b"").build()),
            (OTHER_DEVICE, icmp_error(kind.router(), got.packet.source, kind.errors()[0], &quoted(&got)).build()),
            (DEVICE, icmp_error(kind.router(), kind.vip(), kind.errors()[0], &answered(kind, &got, &tables)).build()),
        ];
        for (device, frame) in rows {
            for hops in [1, 0] {
                let frame = with_hops(frame.clone(), hops);
                let (verdict, out) = run_by(&tables, device, &frame);
                assert_eq!(verdict, Verdict::drop(Reason::HopLimit), "{kind:?}");
                assert_eq!(out, frame);
            }
        }
    }
}

/// What a router quotes that could not send on what the real server was to get.
fn quoted(got: &Seen) -> Vec<u8> {
    let (from, to) = got.packet.ends();
    let packet = match got.packet.protocol {
        protocol::UDP => PacketBuilder::udp(from, to, b""),
        _ => PacketBuilder::tcp(from, to, tcp::SYN, b""),
    };
    packet.packet()
}

/// What a router quotes that could not send on the answer.
fn answered(kind: Kind, got: &Seen, tables: &MemTables) -> Vec<u8> {
    let (_, frame) = run_by(tables, OTHER_DEVICE, &kind.answer(got, tcp::ACK, b"").build());
    packet_of(&frame).to_vec()
}

#[test]
fn datagrams_of_two_clients_with_one_identification_are_told_apart_by_the_real_server() {
    let tables = UDP.tables(1);
    let from = |client: &str| {
        let packet = PacketBuilder::udp((ip(client), 9), (ip(VIP), PORT), &[0; 64]);
        let parts: Vec<Seen> = packet.fragments(7, 32).iter().map(|frame| to_server(&tables, frame)).collect();
        assert_eq!(
            parts.iter().map(|seen| seen.packet.identification).collect::<std::collections::BTreeSet<_>>().len(),
            1
        );
        parts[0].packet.identification
    };
    let all: std::collections::BTreeSet<_> = (1..=100).map(|host| from(&format!("10.7.0.{host}"))).collect();
    assert!(all.len() > 98, "{} of 100 differ", all.len());
}

#[test]
fn a_later_fragment_whose_flow_is_gone_is_the_kernels() {
    let tables = UDP.tables(1);
    let fragments = UDP.request(9, 0, &[0; 64]).fragments(7, 32);
    to_server(&tables, &fragments[0]);
    tables.flows.remove(&UDP.key(9));
    assert_eq!(run(&tables, &fragments[1]), (Verdict::pass(Reason::FragmentUnknown), fragments[1].clone()));
}

#[test]
fn an_error_that_quotes_no_more_than_the_ports_is_translated_as_far_as_it_goes() {
    for kind in kinds() {
        let tables = kind.tables(1);
        let got = to_server(&tables, &kind.request(9, tcp::SYN, b"payload").build());
        let whole = quoted(&got);
        let headers = if kind.v6 { 40 } else { 20 };
        for length in 0..whole.len() {
            let frame = icmp_error(kind.router(), got.packet.source, kind.errors()[0], &whole[..length]).build();
            let (verdict, out) = run_by(&tables, OTHER_DEVICE, &frame);
            if length < headers + 4 {
                assert_eq!((verdict, &out), (Verdict::pass(Reason::NotVip), &frame), "{kind:?}, {length} bytes");
                continue;
            }
            assert_eq!(verdict.reason, Reason::ReplyError, "{kind:?}, {length} bytes");
            assert_eq!(judged(&frame, &out).packet.destination, kind.client());
        }
    }
}

#[test]
fn errors_that_quote_nonsense_are_untouched() {
    for kind in kinds() {
        let tables = kind.tables(1);
        let got = to_server(&tables, &kind.request(9, tcp::SYN, b"").build());
        let (from, to) = got.packet.ends();
        let good = quoted(&got);
        let other = |from, to| kind.packet(from, to, tcp::SYN, b"").packet();
        let rows = [
            ("another source port", other((from.0, from.1 ^ 1), to)),
            ("another port of the server", other(from, (to.0, 9))),
            ("another server", other(from, (kind.router(), to.1))),
            ("the other way round", other(to, from)),
            ("the client's own packet", kind.request(9, tcp::SYN, b"").packet()),
            ("a later fragment", kind.packet(from, to, tcp::SYN, &[0; 64]).fragment(7, 8, true).packet()),
            ("another protocol", PacketBuilder::new(from.0, to.0, 132, good[good.len() - 8..].to_vec()).packet()),
            ("a number for a header", with(good.clone(), 0, &[if kind.v6 { 0x60 } else { 0x41 }])),
        ];
        for (what, quoted) in rows {
            if kind.v6 && what == "a number for a header" {
                continue;
            }
            for to in [got.packet.source, kind.vip(), kind.router()] {
                let frame = icmp_error(kind.router(), to, kind.errors()[0], &quoted).build();
                let (verdict, out) = run_by(&tables, OTHER_DEVICE, &frame);
                assert!(
                    matches!(verdict.reason, Reason::NotVip | Reason::IcmpErrorUnknown) && out == frame,
                    "{kind:?}, {what}, to {to}: {verdict:?}"
                );
            }
        }
    }
}

#[test]
fn a_frame_cut_short_anywhere_changes_nothing() {
    for kind in kinds() {
        let world = || {
            let tables = kind.tables(1);
            let got = to_server(&tables, &kind.request(9, tcp::SYN, b"").build());
            (tables, got)
        };
        let (tables, got) = world();
        let sent = [
            (DEVICE, kind.request(10, tcp::SYN, b"payload").build()),
            (DEVICE, kind.request(9, tcp::ACK | tcp::FIN, b"payload").build()),
            (DEVICE, kind.request(10, tcp::SYN, &[0; 40]).fragment(7, 0, true).build()),
            (OTHER_DEVICE, kind.answer(&got, tcp::RST, b"payload").build()),
            (OTHER_DEVICE, kind.answer(&got, tcp::RST, &[0; 40]).fragment(7, 0, true).build()),
            (OTHER_DEVICE, icmp_error(kind.router(), got.packet.source, kind.errors()[0], &quoted(&got)).build()),
            (DEVICE, icmp_error(kind.router(), kind.vip(), kind.errors()[0], &answered(kind, &got, &tables)).build()),
        ];
        for (device, frame) in sent {
            let (tables, _) = world();
            let state = |tables: &MemTables| {
                let (flows, replies) = (tables.flows.all(), tables.replies.all());
                (
                    flows,
                    replies,
                    tables.source_ports.borrow().clone(),
                    tables.fragments.all(),
                    tables.server_counters.borrow().clone(),
                )
            };
            let before = state(&tables);
            for length in 14..frame.len() {
                let (verdict, out) = run_by(&tables, device, &frame[..length]);
                assert!(
                    !matches!(verdict.action, Action::Transmit | Action::Redirect(_)),
                    "{kind:?}, {length}: {verdict:?}"
                );
                assert_eq!(out, frame[..length], "{kind:?}, {length} bytes");
            }
            assert_eq!(state(&tables), before, "{kind:?}");
            let (verdict, _) = run_by(&tables, device, &frame);
            assert!(matches!(verdict.action, Action::Redirect(_)), "{kind:?}, whole: {verdict:?}");
        }
    }
}
