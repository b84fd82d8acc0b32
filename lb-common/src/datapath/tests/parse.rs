//! Every header form, right and wrong, as rows: what it is, the frame, why it met its end.

use super::*;
use crate::testing::PacketBuilder as Frame;
use crate::wire::{ipv4, ipv6, udp};

type Row = (&'static str, Vec<u8>, Reason);

/// Each row starts from empty flow tables; the action must be of the reason's family, and a frame
/// that is not forwarded must be as it came.
fn check(rows: Vec<Row>) {
    for (what, frame, expected) in rows {
        let tables = both_families();
        let (verdict, out) = run(&tables, &frame);
        assert_eq!(verdict.reason, expected, "{what}");
        match expected.kind() {
            crate::datapath::Kind::Pass => assert_eq!((verdict.action, &out), (Action::Pass, &frame), "{what}"),
            crate::datapath::Kind::Drop => assert_eq!((verdict.action, &out), (Action::Drop, &frame), "{what}"),
            crate::datapath::Kind::Forward => assert_eq!(verdict.action, Action::Transmit, "{what}"),
        }
    }
}

fn tcp4() -> Frame {
    Frame::tcp((ip(CLIENT), 4000), (ip(VIP), PORT), tcp::SYN, b"payload")
}

fn udp4() -> Frame {
    Frame::udp((ip(CLIENT), 4000), (ip(VIP), PORT), b"payload")
}

fn tcp6() -> Frame {
    Frame::tcp((ip(CLIENT6), 4000), (ip(VIP6), PORT), tcp::SYN, b"payload")
}

fn udp6() -> Frame {
    Frame::udp((ip(CLIENT6), 4000), (ip(VIP6), PORT), b"payload")
}

/// Destination options of `units` times eight bytes.
fn options6(builder: Frame, units: usize) -> Frame {
    builder.extension(ipv6::DESTINATION_OPTIONS, &vec![0; 6 + 8 * (units - 1)])
}

#[test]
fn link_headers() {
    let vlan = ethernet::TYPE_VLAN;
    let service = ethernet::TYPE_SERVICE_VLAN;
    let three = tcp4().tag(service, 30).tag(vlan, 20).tag(vlan, 10).build();
    check(vec![
        ("untagged", tcp4().build(), Reason::Scheduled),
        ("untagged, IPv6", tcp6().build(), Reason::Scheduled),
        ("802.1Q", tcp4().tag(vlan, 20).build(), Reason::Scheduled),
        ("802.1Q with priority", tcp4().tag(vlan, 0xe014).build(), Reason::Scheduled),
        ("priority tag", tcp4().tag(vlan, 0xa000).build(), Reason::Scheduled),
        ("802.1ad alone", tcp4().tag(service, 20).build(), Reason::Scheduled),
        ("802.1ad and 802.1Q", tcp6().tag(service, 30).tag(vlan, 20).build(), Reason::Scheduled),
        ("802.1Q twice", udp4().tag(vlan, 30).tag(vlan, 20).build(), Reason::Scheduled),
        ("three tags", three, Reason::NotIp),
        ("ARP", arp(), Reason::NotIp),
        ("ARP in a tag", [&tcp4().tag(vlan, 20).build()[..16], &arp()[12..]].concat(), Reason::NotIp),
        ("LLDP", with(tcp4().build(), 12, &[0x88, 0xcc]), Reason::NotIp),
        ("an IEEE 802.3 length", with(tcp4().build(), 12, &[0, 64]), Reason::NotIp),
        ("IPv6 under the type of IPv4", with(tcp6().build(), 12, &[0x08, 0x00]), Reason::NotVip),
    ]);
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 2, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 7, 0, 1]);
    frame.extend_from_slice(&[0, 0, 0, 0, 0, 0, 192, 168, 94, 110]);
    frame
}

#[test]
fn ipv4_headers() {
    let at = |offset: usize| NETWORK + offset;
    let total = |builder: &Frame, change: i32| {
        let frame = builder.build();
        let length = i32::try_from(frame.len() - NETWORK).expect("a short frame") + change;
        with(frame, at(ipv4::TOTAL_LENGTH), &u16::try_from(length).expect("a length").to_be_bytes())
    };
    let version = |byte: u8| with(tcp4().build(), at(ipv4::VERSION_LENGTH), &[byte]);
    let long = |length: usize| [&tcp4().build()[..], &vec![0; length]].concat();
    check(vec![
        ("no options", tcp4().build(), Reason::Scheduled),
        ("four bytes of options", tcp4().options(&[1, 1, 1, 0]).build(), Reason::Scheduled),
        ("forty bytes of options", tcp4().options(&[1; 40]).build(), Reason::Scheduled),
        ("options and UDP", udp4().options(&[0x94, 4, 0, 0]).build(), Reason::Scheduled),
        ("header length 4 words", version(0x44), Reason::BadLength),
        ("addresses that read like a transport header", short_header(), Reason::BadLength),
        ("header length 0", version(0x40), Reason::BadLength),
        ("header longer than the packet", version(0x4f), Reason::BadLength),
        ("version 6", version(0x65), Reason::BadLength),
        ("version 0", version(0x05), Reason::BadLength),
        ("padding behind", long(46), Reason::Scheduled),
        ("one byte of padding", long(1), Reason::Scheduled),
        ("total length one beyond the frame", total(&tcp4(), 1), Reason::BadLength),
        ("total length 65,535", with(tcp4().build(), at(ipv4::TOTAL_LENGTH), &[0xff, 0xff]), Reason::BadLength),
        ("total length 0", with(tcp4().build(), at(ipv4::TOTAL_LENGTH), &[0, 0]), Reason::BadLength),
        ("total length below the header", with(tcp4().build(), at(ipv4::TOTAL_LENGTH), &[0, 19]), Reason::BadLength),
        ("total length ends before the payload", total(&tcp4(), -7), Reason::Scheduled),
        ("total length ends inside the TCP header", total(&tcp4(), -8), Reason::BadLength),
        ("total length ends inside the UDP payload", total(&udp4(), -1), Reason::BadLength),
        ("total length of the header alone", with(tcp4().build(), at(ipv4::TOTAL_LENGTH), &[0, 20]), Reason::BadLength),
        ("total length hides options", total(&tcp4().options(&[1; 40]), -28), Reason::BadLength),
        ("do not fragment", with(tcp4().build(), at(ipv4::FRAGMENT), &[0x40, 0]), Reason::Scheduled),
        ("the reserved flag", with(tcp4().build(), at(ipv4::FRAGMENT), &[0x80, 0]), Reason::Scheduled),
    ]);
}

/// A header length of 4 words: the destination would be the ports, and the source port the length.
fn short_header() -> Vec<u8> {
    with(Frame::udp((ip(CLIENT), 12), (ip(VIP), PORT), b"payload").build(), NETWORK, &[0x44])
}

#[test]
fn ipv6_headers() {
    let payload = |frame: Vec<u8>, length: u16| with(frame, NETWORK + ipv6::PAYLOAD_LENGTH, &length.to_be_bytes());
    let padded = [&udp6().build()[..], &[0; 9]].concat();
    check(vec![
        ("UDP", udp6().build(), Reason::Scheduled),
        ("version 4", with(tcp6().build(), NETWORK, &[0x40]), Reason::BadLength),
        ("traffic class and flow label", with(tcp6().build(), NETWORK, &[0x6f, 0xff, 0xff, 0xff]), Reason::Scheduled),
        ("padding behind", padded, Reason::Scheduled),
        ("payload length one beyond the frame", payload(tcp6().build(), 28), Reason::BadLength),
        ("payload length 65,535", payload(tcp6().build(), 0xffff), Reason::BadLength),
        ("payload length 0", payload(tcp6().build(), 0), Reason::BadLength),
        ("payload length of a TCP header", payload(tcp6().build(), 20), Reason::Scheduled),
        ("payload length inside the TCP header", payload(tcp6().build(), 19), Reason::BadLength),
        ("payload length inside the UDP payload", payload(udp6().build(), 14), Reason::BadLength),
        ("payload length inside an extension", payload(options6(tcp6(), 2).build(), 8), Reason::BadLength),
        ("no next header", Frame::new(ip(CLIENT6), ip(VIP6), 59, vec![0; 8]).build(), Reason::OtherProtocol),
    ]);
}

#[test]
fn ipv6_extension_headers() {
    let chain = |count: usize| (0..count).fold(udp6(), |builder, _| options6(builder, 1)).build();
    let one = |kind: u8| tcp6().extension(kind, &[0; 6]).build();
    let mixed = tcp6()
        .extension(ipv6::HOP_BY_HOP, &[0; 14])
        .extension(ipv6::DESTINATION_OPTIONS, &[0; 6])
        .extension(ipv6::ROUTING, &[0; 22])
        .fragment(7, 0, false);
    let endless = with(one(ipv6::ROUTING), NETWORK + ipv6::HEADER + 1, &[0xff]);
    check(vec![
        ("hop-by-hop options", one(ipv6::HOP_BY_HOP), Reason::Scheduled),
        ("routing", one(ipv6::ROUTING), Reason::Scheduled),
        ("destination options", one(ipv6::DESTINATION_OPTIONS), Reason::Scheduled),
        ("an atomic fragment (RFC 6946)", tcp6().fragment(7, 0, false).build(), Reason::Scheduled),
        ("one of each", mixed.build(), Reason::Scheduled),
        ("the longest options", options6(udp6(), 256).build(), Reason::Scheduled),
        ("four headers", chain(4), Reason::Scheduled),
        ("five headers", chain(5), Reason::TooManyExtensions),
        ("six headers", chain(6), Reason::TooManyExtensions),
        ("a header longer than the frame", endless, Reason::BadLength),
        ("an authentication header is not followed", one(51), Reason::OtherProtocol),
        ("a mobility header is not followed", one(135), Reason::OtherProtocol),
    ]);
}

#[test]
fn a_chain_of_extension_headers_that_leaves_the_frame_is_refused() {
    for kind in [ipv6::HOP_BY_HOP, ipv6::ROUTING, ipv6::DESTINATION_OPTIONS] {
        // The length of the first header points to the end of the frame, where the next would be.
        let frame = tcp6().extension(kind, &[0; 6]).build();
        let units = u8::try_from((frame.len() - NETWORK - ipv6::HEADER) / 8).expect("a short frame");
        let frame = with(frame, NETWORK + ipv6::HEADER, &[kind, units]);
        assert_eq!(reason(&both_families(), &frame), Reason::BadLength, "kind {kind}");
    }
}

#[test]
fn udp_headers() {
    let length = |builder: Frame, header: usize, length: u16| {
        with(builder.build(), NETWORK + header + udp::LENGTH, &length.to_be_bytes())
    };
    check(vec![
        ("length of the header alone", length(udp4(), 20, 8), Reason::Scheduled),
        ("length shorter than the packet", length(udp4(), 20, 10), Reason::Scheduled),
        ("length below the header", length(udp4(), 20, 7), Reason::BadLength),
        ("length 0", length(udp4(), 20, 0), Reason::BadLength),
        ("length one beyond the packet", length(udp4(), 20, 16), Reason::BadLength),
        ("length 65,535", length(udp6(), 40, 0xffff), Reason::BadLength),
        ("no payload", Frame::udp((ip(CLIENT), 4000), (ip(VIP), PORT), b"").build(), Reason::Scheduled),
        ("no checksum", with(udp4().build(), NETWORK + 20 + 6, &[0, 0]), Reason::Scheduled),
        ("source port 0", Frame::udp((ip(CLIENT), 0), (ip(VIP), PORT), b"").build(), Reason::PortZero),
        ("destination port 0", Frame::udp((ip(CLIENT), 4000), (ip(VIP), 0), b"").build(), Reason::PortZero),
        ("length beyond the padding", [&length(udp4(), 20, 16)[..], &[0; 20]].concat(), Reason::BadLength),
    ]);
}

#[test]
fn tcp_headers() {
    let words = |words: u8| with(tcp4().build(), NETWORK + 20 + tcp::DATA_OFFSET, &[words << 4]);
    let all = Frame::tcp((ip(CLIENT), 4000), (ip(VIP), PORT), tcp::SYN, &[1; 40]).build();
    check(vec![
        ("five words", words(5), Reason::Scheduled),
        ("six words of a packet with 27 bytes", words(6), Reason::Scheduled),
        ("four words", words(4), Reason::BadLength),
        ("no words", words(0), Reason::BadLength),
        ("one word beyond the packet", words(7), Reason::BadLength),
        ("fifteen words", with(all, NETWORK + 20 + tcp::DATA_OFFSET, &[0xf0]), Reason::Scheduled),
        ("source port 0", Frame::tcp((ip(CLIENT), 0), (ip(VIP), PORT), tcp::SYN, b"").build(), Reason::PortZero),
        ("destination port 0", Frame::tcp((ip(CLIENT), 9), (ip(VIP), 0), tcp::SYN, b"").build(), Reason::PortZero),
        ("no flags", Frame::tcp((ip(CLIENT), 9), (ip(VIP), PORT), 0, b"").build(), Reason::Resumed),
        ("all flags", Frame::tcp((ip(CLIENT), 9), (ip(VIP), PORT), 0xff, b"").build(), Reason::Resumed),
        ("SYN with ACK", Frame::tcp((ip(CLIENT), 9), (ip(VIP), PORT), 0x12, b"").build(), Reason::Resumed),
        ("SYN with ECN", Frame::tcp((ip(CLIENT), 9), (ip(VIP), PORT), 0xc2, b"").build(), Reason::Scheduled),
    ]);
}

#[test]
fn destinations_and_protocols() {
    let from = |client: &str, vip: &str, port: u16| Frame::tcp((ip(client), 9), (ip(vip), port), tcp::SYN, b"");
    let other = |protocol: u8| Frame::new(ip(CLIENT), ip(VIP), protocol, vec![0; 24]).build();
    let truncated = |length: usize| tcp4().build()[..length].to_vec();
    check(vec![
        ("not a VIP", from(CLIENT, "192.168.94.7", 80).build(), Reason::NotVip),
        ("not a VIP, IPv6", from(CLIENT6, "fd00:94::7", 80).build(), Reason::NotVip),
        ("not a VIP, and wrong", with(from(CLIENT, "10.0.0.1", 80).build(), NETWORK, &[0x41]), Reason::NotVip),
        ("a reply of a VIP", from(VIP, CLIENT, 80).build(), Reason::NotVip),
        ("a port of no service", from(CLIENT, VIP, 81).build(), Reason::NoService),
        ("a port of no service, IPv6", from(CLIENT6, VIP6, 79).build(), Reason::NoService),
        ("LAND", from(VIP, VIP, 80).build(), Reason::Spoofed),
        ("LAND, IPv6", from(VIP6, VIP6, 80).build(), Reason::Spoofed),
        ("LAND to a port of no service", from(VIP, VIP, 81).build(), Reason::NoService),
        ("GRE", other(47), Reason::OtherProtocol),
        ("ESP", other(50), Reason::OtherProtocol),
        ("SCTP", other(132), Reason::OtherProtocol),
        ("IGMP, cut short", Frame::new(ip(CLIENT), ip(VIP), 2, vec![]).build(), Reason::OtherProtocol),
        ("ends in the addresses", truncated(11), Reason::Truncated),
        ("ends before the destination", truncated(NETWORK + 19), Reason::Truncated),
    ]);
}

#[test]
fn an_address_that_shares_the_filters_bit_is_looked_up_in_vain() {
    let tables = both_families();
    let bit = crate::abi::filter_bit(&Address::from(ip(VIP)));
    let stranger = (0..=u32::MAX)
        .map(|word| IpAddr::from(word.to_be_bytes()))
        .find(|stranger| *stranger != ip(VIP) && crate::abi::filter_bit(&Address::from(*stranger)) == bit)
        .expect("2^32 addresses share 2^16 bits");
    let frame = Frame::tcp((ip(CLIENT), 9), (stranger, PORT), tcp::SYN, b"").build();

    assert_eq!(run(&tables, &frame), (Verdict::pass(Reason::NoService), frame.clone()));
    assert!(tables.pending_flows.is_empty());
}

#[test]
fn an_ipv4_address_in_an_ipv6_header_is_not_the_ipv4_vip() {
    let mapped = |text: &str| match ip(text) {
        IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
        v6 @ IpAddr::V6(_) => v6,
    };
    let frame = Frame::tcp((mapped(CLIENT), 9), (mapped(VIP), PORT), tcp::SYN, b"").build();
    assert_eq!(run(&both_families(), &frame), (Verdict::pass(Reason::NotVip), frame.clone()));
}

#[test]
fn icmp_of_one_family_is_not_icmp_in_the_other() {
    let tables = both_families();
    let v6_in_v4 = Frame::new(ip(CLIENT), ip(VIP), protocol::ICMPV6, vec![128, 0, 0, 0, 0, 0, 0, 0]).build();
    let v4_in_v6 = Frame::new(ip(CLIENT6), ip(VIP6), protocol::ICMP, vec![8, 0, 0, 0, 0, 0, 0, 0]).build();
    assert_eq!([reason(&tables, &v6_in_v4), reason(&tables, &v4_in_v6)], [Reason::OtherProtocol; 2]);
}

#[test]
fn ports_in_ranges_and_single_ports_name_their_service() {
    let ranges = [(1, 79), (81, 99), (80, 80), (1000, 2000), (2001, 65_535)];
    let mut tables = MemTables::default();
    Scenario::new(ip(VIP), &ranges, &[protocol::UDP], Scheduler::Maglev, 1).install(
        &mut tables,
        SERVICE,
        FIRST,
        PLACES,
    );
    let to = |port| Frame::udp((ip(CLIENT), 9), (ip(VIP), port), b"").build();
    for port in [1, 79, 80, 81, 99, 1000, 2000, 2001, 65_535] {
        assert_eq!(reason(&tables, &to(port)), Reason::Scheduled, "port {port}");
    }
    for port in [100, 999] {
        assert_eq!(reason(&tables, &to(port)), Reason::NoService, "port {port}");
    }
    let segment = Frame::tcp((ip(CLIENT), 9), (ip(VIP), 80), tcp::SYN, b"").build();
    assert_eq!(reason(&tables, &segment), Reason::NoService, "the other protocol");
}

#[test]
fn every_range_of_a_full_set_is_found() {
    let ranges: Vec<_> = (0..16_u16).map(|i| (100 * i + 100, 100 * i + 150)).collect();
    let mut tables = MemTables::default();
    Scenario::new(ip(VIP), &ranges, &BOTH, Scheduler::Maglev, 1).install(&mut tables, SERVICE, FIRST, PLACES);
    for (first, last) in ranges {
        for (port, expected) in [
            (first - 1, Reason::NoService),
            (first, Reason::Scheduled),
            (last, Reason::Scheduled),
            (last + 1, Reason::NoService),
        ] {
            let frame = Frame::udp((ip(CLIENT), 9), (ip(VIP), port), b"").build();
            assert_eq!(reason(&tables, &frame), expected, "port {port}");
        }
    }
}
