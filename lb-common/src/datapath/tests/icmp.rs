//! ICMP to a VIP: errors find the server whose packet they are about, the rest is the balancer's.

use super::*;

const ROUTER: &str = "10.99.0.1";
const ROUTER6: &str = "fd00:99::1";

/// What the server sent from the VIP to the client's port.
fn reply(port: u16) -> PacketBuilder {
    PacketBuilder::tcp((ip(VIP), PORT), (ip(CLIENT), port), tcp::ACK, &[0; 64])
}

fn about(quoted: &[u8]) -> Vec<u8> {
    PacketBuilder::icmp(ip(ROUTER), ip(VIP), 3, 4, 1400, quoted).build()
}

fn turns(servers: usize) -> MemTables {
    tables(&scenario(Scheduler::WeightedRoundRobin, servers))
}

#[test]
fn echo_and_discovery_are_for_the_balancer_itself() {
    let tables = both_families();
    // Echo and its reply, timestamp, redirect, router advertisement.
    for kind in [8, 0, 13, 5, 9] {
        let frame = PacketBuilder::icmp(ip(CLIENT), ip(VIP), kind, 0, 1, &[0; 40]).build();
        assert_eq!(run(&tables, &frame), (Verdict::pass(Reason::Icmp), frame.clone()), "type {kind}");
    }
    // Echo and its reply, router and neighbour discovery, redirect.
    for kind in 128..=137 {
        let frame = PacketBuilder::icmp(ip(CLIENT6), ip(VIP6), kind, 0, 1, &[0; 60]).build();
        assert_eq!(run(&tables, &frame), (Verdict::pass(Reason::Icmp), frame.clone()), "type {kind}");
    }
}

#[test]
fn errors_about_an_established_flow_go_to_its_server() {
    let tables = turns(5);
    for port in 1..=20 {
        let server = establish(&tables, port);
        for (kind, code) in [(3, 4), (3, 1), (3, 3), (11, 0), (12, 0)] {
            let frame = PacketBuilder::icmp(ip(ROUTER), ip(VIP), kind, code, 1400, &reply(port).packet()).build();
            assert_eq!(sent(&tables, &frame), (server, Reason::IcmpError), "type {kind}, code {code}");
            assert_eq!(run(&tables, &frame).1[12..], frame[12..], "the error itself stays as it is");
        }
    }
}

#[test]
fn errors_about_a_pending_flow_go_to_its_server() {
    let tables = turns(5);
    for port in 1..=20 {
        let server = server_of(&tables, &syn(port));
        assert_eq!(sent(&tables, &about(&reply(port).packet())), (server, Reason::IcmpError));
    }
    assert!(tables.flows.is_empty(), "an error is no answer of the client");
}

#[test]
fn errors_about_a_flow_nobody_remembers_go_where_its_packets_would() {
    for persistence in [0, 300] {
        let scenario = scenario(Scheduler::Maglev, 5).persistent(persistence);
        let forgot = tables(&scenario);
        for port in 1..=50 {
            let server = establish(&tables(&scenario), port);
            assert_eq!(sent(&forgot, &about(&reply(port).packet())), (server, Reason::IcmpError), "port {port}");
        }
        assert!(forgot.pending_flows.is_empty() && forgot.new_clients.is_empty() && forgot.opened.borrow().is_empty());
    }
}

#[test]
fn errors_about_udp_and_in_tags_find_their_server() {
    let tables = turns(5);
    let server = server_of(&tables, &datagram(9));
    let quoted = PacketBuilder::udp((ip(VIP), PORT), (ip(CLIENT), 9), &[0; 1400]).packet();
    let error = PacketBuilder::icmp(ip(CLIENT), ip(VIP), 3, 3, 0, &quoted[..28]);
    assert_eq!(sent(&tables, &error.build()), (server, Reason::IcmpError));
    let (verdict, out) = run(&tables, &error.clone().tag(ethernet::TYPE_VLAN, 20).build());
    assert_eq!((verdict.reason, out.len()), (Reason::IcmpError, error.build().len()), "the tag is taken off");
}

#[test]
fn icmpv6_errors_find_their_server() {
    let tables = both_families();
    let quoted = PacketBuilder::tcp((ip(VIP6), PORT), (ip(CLIENT6), 9), tcp::ACK, &[0; 64]).packet();
    for kind in 1..=4 {
        let frame = PacketBuilder::icmp(ip(ROUTER6), ip(VIP6), kind, 0, 1280, &quoted).build();
        assert_eq!(sent(&tables, &frame), (SECOND, Reason::IcmpError), "type {kind}");
    }
}

#[test]
fn quoted_packets_with_options_and_first_fragments_are_understood() {
    let tables = turns(5);
    let server = establish(&tables, 9);
    let options = reply(9).options(&[1; 12]).packet();
    let first = reply(9).fragment(7, 0, true).packet();
    for quoted in [options, first] {
        assert_eq!(sent(&tables, &about(&quoted)), (server, Reason::IcmpError));
    }
}

#[test]
fn an_icmpv6_error_about_a_fragment_is_sent_on_if_it_quotes_the_first() {
    let tables = both_families();
    let big = PacketBuilder::udp((ip(VIP6), PORT), (ip(CLIENT6), 9), &[0x5a; 72]);
    let first = big.clone().fragment(7, 0, true).packet();
    let ping = PacketBuilder::icmp(ip(VIP6), ip(CLIENT6), 129, 0, 1, &[0; 72]).fragment(7, 0, true).packet();
    let rows = [
        ("the first fragment", first.clone(), Reason::IcmpError),
        ("the ports alone", first[..52].to_vec(), Reason::IcmpError),
        ("half of the ports", first[..50].to_vec(), Reason::IcmpErrorUnknown),
        ("half of the fragment header", first[..44].to_vec(), Reason::IcmpErrorUnknown),
        ("a later fragment", big.fragment(7, 8, true).packet(), Reason::IcmpErrorUnknown),
        ("a fragment of a ping", ping, Reason::IcmpErrorUnknown),
    ];
    for (what, quoted, expected) in rows {
        let frame = PacketBuilder::icmp(ip(ROUTER6), ip(VIP6), 2, 0, 1280, &quoted).build();
        assert_eq!(reason(&tables, &frame), expected, "{what}");
    }
}

#[test]
fn errors_that_name_no_flow_of_a_service_are_the_kernels() {
    let tables = turns(2);
    establish(&tables, 9);
    let whole = reply(9).packet();
    let foreign = PacketBuilder::tcp((ip("192.168.94.7"), PORT), (ip(CLIENT), 9), tcp::ACK, b"").packet();
    let other_port = PacketBuilder::tcp((ip(VIP), 81), (ip(CLIENT), 9), tcp::ACK, b"").packet();
    let request = PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::ACK, b"").packet();
    // Its first two bytes would be read as the port of the service.
    let short = PacketBuilder::tcp((ip(VIP), PORT), (ip("0.80.0.9"), 9), tcp::ACK, b"").packet();
    let rows: [(&str, Vec<u8>); 11] = [
        ("an address that reads like ports", with(short, 0, &[0x44])),
        ("nothing quoted", vec![]),
        ("half an IP header", whole[..12].to_vec()),
        ("an IP header alone", whole[..20].to_vec()),
        ("half of the ports", whole[..22].to_vec()),
        ("a later fragment", reply(9).fragment(7, 24, true).packet()),
        ("a header length of 4 words", with(whole.clone(), 0, &[0x44])),
        ("another sender than the VIP", foreign),
        ("a port of no service", other_port),
        ("what a client sent", request),
        ("a ping of the balancer", PacketBuilder::icmp(ip(VIP), ip(CLIENT), 8, 0, 1, &[0; 16]).packet()),
    ];
    for (what, quoted) in rows {
        let frame = about(&quoted);
        assert_eq!(run(&tables, &frame), (Verdict::pass(Reason::IcmpErrorUnknown), frame.clone()), "{what}");
    }
}

#[test]
fn an_error_to_one_vip_about_a_packet_of_another_is_the_kernels() {
    let other = "192.168.94.111";
    let tables = and(turns(2), Scenario::new(ip(other), &[(PORT, PORT)], &BOTH, Scheduler::Maglev, 1));
    let frame = PacketBuilder::icmp(ip(ROUTER), ip(other), 3, 4, 1400, &reply(9).packet()).build();
    assert_eq!(reason(&tables, &frame), Reason::IcmpErrorUnknown);
}

#[test]
fn an_error_about_a_flow_that_was_cut_is_not_sent_to_the_server_that_is_down() {
    let mut tables = turns(2);
    let server = establish(&tables, 9);
    cut(&mut tables, server);
    assert_eq!(reason(&tables, &about(&reply(9).packet())), Reason::IcmpErrorUnknown);
}

#[test]
fn an_error_whose_server_cannot_be_reached_is_dropped() {
    let mut tables = turns(1);
    establish(&tables, 9);
    tables.servers.get_mut(&FIRST).expect("the server").ifindex = 0;
    assert_eq!(reason(&tables, &about(&reply(9).packet())), Reason::NextHopUnknown);
}

#[test]
fn an_error_does_not_prolong_what_is_remembered_of_a_client() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 3).persistent(300));
    let server = establish(&tables, 9);
    let (flow_before, record_before) = (flow(&tables, 9), record(&tables));
    tick(&tables, 5);

    assert_eq!(sent(&tables, &about(&reply(9).packet())), (server, Reason::IcmpError));

    assert_eq!((flow(&tables, 9), record(&tables)), (flow_before, record_before));
}
