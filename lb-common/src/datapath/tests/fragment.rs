//! Datagrams in pieces.

use super::*;
use crate::abi::{Fragment, FragmentKey};

fn long_datagram() -> PacketBuilder {
    PacketBuilder::udp((ip(CLIENT), 9), (ip(VIP), PORT), &[0x5a; 72])
}

fn turns(servers: usize) -> MemTables {
    tables(&scenario(Scheduler::WeightedRoundRobin, servers))
}

#[test]
fn later_fragments_follow_the_first() {
    let tables = turns(4);
    for identification in 1..=8 {
        let fragments = long_datagram().fragments(identification, 24);
        let (server, reason) = sent(&tables, &fragments[0]);
        assert!(matches!(reason, Reason::Scheduled | Reason::Pending | Reason::Established), "{reason:?}");
        for fragment in &fragments[1..] {
            assert_eq!(sent(&tables, fragment), (server, Reason::Fragment));
        }
    }
}

#[test]
fn fragments_are_rewritten_like_any_frame() {
    let tables = turns(1);
    for fragment in long_datagram().fragments(7, 24) {
        let (_, out) = run(&tables, &fragment);
        assert_eq!(out[..6], tables.servers[&FIRST].destination_mac);
        assert_eq!(out[12..], fragment[12..]);
    }
}

#[test]
fn a_fragment_before_the_first_goes_to_the_kernel() {
    let tables = turns(2);
    let fragments = long_datagram().fragments(7, 24);
    assert_eq!(run(&tables, &fragments[1]), (Verdict::pass(Reason::FragmentUnknown), fragments[1].clone()));
    assert_eq!(reason(&tables, &fragments[0]), Reason::Scheduled);
    assert_eq!(reason(&tables, &fragments[1]), Reason::Fragment, "sent again, it finds its first");
}

#[test]
fn fragments_are_told_apart_by_addresses_identification_and_protocol() {
    let tables = turns(2);
    let later = |builder: PacketBuilder, identification| builder.fragments(identification, 24)[2].clone();
    server_of(&tables, &long_datagram().fragments(7, 24)[0]);
    let from = |client: &str| PacketBuilder::udp((ip(client), 9), (ip(VIP), PORT), &[0x5a; 72]);
    let tcp = PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::SYN, &[0x5a; 72]);
    assert_eq!(reason(&tables, &later(long_datagram(), 8)), Reason::FragmentUnknown);
    assert_eq!(reason(&tables, &later(from("10.7.0.2"), 7)), Reason::FragmentUnknown);
    assert_eq!(reason(&tables, &later(tcp, 7)), Reason::FragmentUnknown);
    assert_eq!(reason(&tables, &later(long_datagram(), 7)), Reason::Fragment);
}

#[test]
fn the_record_names_the_datagram_and_the_servers_generation() {
    let mut tables = turns(1);
    tables.servers.get_mut(&FIRST).expect("the server").generation = 7;
    server_of(&tables, &long_datagram().fragments(0xabcd, 24)[0]);
    let key = FragmentKey {
        source: Address::from(ip(CLIENT)),
        destination: Address::from(ip(VIP)),
        identification: 0xabcd,
        protocol: protocol::UDP,
        spare8: 0,
        spare16: 0,
    };
    assert_eq!(
        tables.fragments.all(),
        [(key, Fragment { server: FIRST, generation: 7, source_port: 9, destination_port: 80 })]
    );
}

#[test]
fn a_whole_packet_leaves_no_fragment_record() {
    let tables = turns(1);
    server_of(&tables, &syn(9));
    assert_eq!(reason(&tables, &long_datagram().fragment(7, 0, false).build()), Reason::Scheduled);
    assert!(tables.fragments.is_empty());
}

#[test]
fn a_tcp_fragment_over_the_flags_is_refused() {
    // RFC 1858 §4, in both families, whether or not the first was seen.
    let tcp = PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::SYN, &[0; 72]);
    let tcp6 = PacketBuilder::tcp((ip(CLIENT6), 9), (ip(VIP6), PORT), tcp::SYN, &[0; 72]);
    for builder in [tcp, tcp6] {
        let tables = both_families();
        let at = |offset| builder.clone().fragment(7, offset, true).build();
        assert_eq!(reason(&tables, &at(8)), Reason::FragmentOverlap);
        assert_eq!(reason(&tables, &builder.fragments(7, 24)[0]), Reason::Scheduled);
        assert_eq!(run(&tables, &at(8)), (Verdict::drop(Reason::FragmentOverlap), at(8)));
        assert_eq!(reason(&tables, &at(24)), Reason::Fragment);
    }
    let udp = long_datagram().fragment(7, 8, true).build();
    assert_eq!(reason(&turns(1), &udp), Reason::FragmentUnknown, "UDP has nothing there to overwrite");
}

#[test]
fn a_first_fragment_without_a_whole_transport_header_is_refused() {
    // RFC 1858 §3. The UDP header fits the smallest fragment.
    let tcp = PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::SYN, &[0; 72]);
    let tcp6 = PacketBuilder::tcp((ip(CLIENT6), 9), (ip(VIP6), PORT), tcp::SYN, &[0; 72]);
    for builder in [tcp, tcp6] {
        for (size, expected) in [(8, Reason::FragmentTooSmall), (16, Reason::FragmentTooSmall), (24, Reason::Scheduled)]
        {
            assert_eq!(reason(&both_families(), &builder.fragments(7, size)[0]), expected, "{size} bytes");
        }
    }
    let tables = turns(1);
    let fragments = long_datagram().fragments(7, 8);
    assert_eq!(reason(&tables, &fragments[0]), Reason::Scheduled);
    assert!(fragments[1..].iter().all(|fragment| reason(&tables, fragment) == Reason::Fragment));
}

#[test]
fn a_first_fragment_may_leave_tcp_options_to_the_second() {
    let whole = PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::SYN, &[1; 80]);
    let first = with(whole.fragments(7, 24)[0].clone(), NETWORK + 20 + tcp::DATA_OFFSET, &[0xf0]);
    assert_eq!(reason(&turns(1), &first), Reason::Scheduled);
}

#[test]
fn ipv6_fragments_follow_the_first() {
    let tables = both_families();
    let udp = PacketBuilder::udp((ip(CLIENT6), 9), (ip(VIP6), PORT), &[0x5a; 72]);
    let extended = udp.clone().extension(crate::wire::ipv6::HOP_BY_HOP, &[0; 6]);
    for (identification, builder) in [(0xdead_beef, udp), (0xdead_bef0, extended)] {
        let fragments = builder.fragments(identification, 24);
        assert_eq!(reason(&tables, &fragments[1]), Reason::FragmentUnknown);
        let (server, _) = sent(&tables, &fragments[0]);
        for fragment in &fragments[1..] {
            assert_eq!(sent(&tables, fragment), (server, Reason::Fragment));
        }
    }
    assert_eq!(tables.fragments.all()[0].0.identification, 0xdead_beef);
}

#[test]
fn the_fragments_of_a_server_that_went_down_are_not_sent_there() {
    let fragments = long_datagram().fragments(7, 24);
    let mut tables = turns(2);
    let server = server_of(&tables, &fragments[0]);
    cut(&mut tables, server);
    assert_eq!(reason(&tables, &fragments[1]), Reason::FragmentUnknown);

    let other = server_of(&tables, &fragments[0]);
    assert_ne!(other, server);
    assert_eq!(sent(&tables, &fragments[1]), (other, Reason::Fragment));
}

#[test]
fn a_draining_server_gets_the_rest_of_its_datagrams() {
    let fragments = long_datagram().fragments(7, 24);
    let mut tables = turns(2);
    let server = server_of(&tables, &fragments[0]);
    drain(&mut tables, server);
    assert_eq!(sent(&tables, &fragments[1]), (server, Reason::Fragment));
}

#[test]
fn a_first_fragment_that_is_dropped_takes_the_rest_along_to_the_kernel() {
    let fragments = long_datagram().fragments(7, 24);
    let tables = turns(0);
    assert_eq!(reason(&tables, &fragments[0]), Reason::NoServer);
    assert_eq!(reason(&tables, &fragments[1]), Reason::FragmentUnknown);
}

#[test]
fn later_fragments_of_other_protocols_are_the_kernels() {
    let tables = turns(1);
    let gre = PacketBuilder::new(ip(CLIENT), ip(VIP), 47, vec![0; 64]).fragments(7, 24);
    assert_eq!(reason(&tables, &gre[1]), Reason::OtherProtocol);
    let ping = PacketBuilder::icmp(ip(CLIENT), ip(VIP), 8, 0, 1, &[0; 64]).fragments(7, 24);
    assert_eq!(ping.iter().map(|frame| reason(&tables, frame)).collect::<Vec<_>>(), [Reason::Icmp; 3]);
}

#[test]
fn what_a_later_fragment_carries_is_never_read_as_a_header() {
    let payload = vec![protocol::TCP, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 80];
    let frame = PacketBuilder::new(ip(CLIENT6), ip(VIP6), crate::wire::ipv6::DESTINATION_OPTIONS, payload);
    assert_eq!(reason(&both_families(), &frame.fragment(7, 24, true).build()), Reason::OtherProtocol);

    let reply = PacketBuilder::tcp((ip(VIP), PORT), (ip(CLIENT), 9), tcp::ACK, b"").packet();
    let error = PacketBuilder::icmp(ip(CLIENT), ip(VIP), 3, 4, 1400, &reply).fragment(7, 64, false).build();
    assert_eq!(reason(&both_families(), &error), Reason::Icmp);
}
