//! Frames cut short at every byte: never a panic, never a forward of half a header.

use super::*;
use crate::wire::ipv6;

/// One frame of each kind that is forwarded: what it is, the frame, where its addresses end, and
/// how many bytes it needs to be forwarded once its lengths are made to fit.
fn kinds() -> Vec<(&'static str, PacketBuilder)> {
    let tcp = || PacketBuilder::tcp((ip(CLIENT), 9), (ip(VIP), PORT), tcp::SYN, b"payload");
    let tcp6 = || PacketBuilder::tcp((ip(CLIENT6), 9), (ip(VIP6), PORT), tcp::SYN, b"payload");
    let udp = || PacketBuilder::udp((ip(CLIENT), 9), (ip(VIP), PORT), b"payload");
    let reply = PacketBuilder::tcp((ip(VIP), PORT), (ip(CLIENT), 9), tcp::ACK, b"").packet();
    let reply6 = PacketBuilder::udp((ip(VIP6), PORT), (ip(CLIENT6), 9), b"").packet();
    vec![
        ("TCP", tcp()),
        ("UDP", udp()),
        ("TCP with options", tcp().options(&[1; 12])),
        ("TCP in a tag", tcp().tag(ethernet::TYPE_VLAN, 20)),
        ("UDP in two tags", udp().tag(ethernet::TYPE_SERVICE_VLAN, 30).tag(ethernet::TYPE_VLAN, 20)),
        ("IPv6", tcp6()),
        ("IPv6 with extensions", tcp6().extension(ipv6::HOP_BY_HOP, &[0; 6]).extension(ipv6::ROUTING, &[0; 14])),
        ("IPv6 atomic fragment", tcp6().fragment(7, 0, false)),
        ("first fragment", tcp().fragment(7, 0, true)),
        ("ICMP error", PacketBuilder::icmp(ip("10.9.9.9"), ip(VIP), 3, 4, 1400, &reply)),
        ("ICMPv6 error", PacketBuilder::icmp(ip("fd00:9::9"), ip(VIP6), 2, 0, 1400, &reply6)),
    ]
}

#[test]
fn a_frame_cut_short_anywhere_is_not_forwarded() {
    for (what, builder) in kinds() {
        let frame = builder.build();
        let tags = frame[12..].chunks(4).take_while(|tag| matches!(tag[..2], [0x81, 0x00] | [0x88, 0xa8])).count();
        let network = NETWORK + tags * ethernet::TAG;
        let header = if frame[network] >> 4 == 4 { 20 } else { 40 };
        for length in 0..frame.len() {
            let (verdict, out) = run(&both_families(), &frame[..length]);
            let expected = if length < network + header {
                Verdict::pass(Reason::Truncated)
            } else {
                Verdict::drop(Reason::BadLength)
            };
            assert_eq!((verdict, &out[..]), (expected, &frame[..length]), "{what}, {length} bytes");
        }
        assert_eq!(run(&both_families(), &frame).0.action, Action::Transmit, "{what}, whole");
    }
}

#[test]
fn a_packet_whose_length_ends_anywhere_is_judged_by_its_length_and_not_by_the_padding() {
    for (what, builder) in kinds() {
        let frame = builder.build();
        if frame[12..14] != [0x08, 0x00] || what == "ICMP error" {
            continue;
        }
        let header = usize::from(frame[NETWORK] & 0x0f) * 4;
        let whole = frame.len() - NETWORK;
        // TCP does not say how long its payload is, UDP does; a first fragment need not be whole.
        let (least, small) = match what {
            "UDP" => (whole, Reason::BadLength),
            "first fragment" => (header + 20, Reason::FragmentTooSmall),
            _ => (header + 20, Reason::BadLength),
        };
        for total in 0..=whole {
            let length = u16::try_from(total).expect("a short frame").to_be_bytes();
            let frame = with(frame.clone(), NETWORK + 2, &length);
            let expected = match total {
                total if total < header => Reason::BadLength,
                total if total < least => small,
                _ => Reason::Scheduled,
            };
            assert_eq!(reason(&both_families(), &frame), expected, "{what}, total length {total}");
        }
    }
}

#[test]
fn an_icmp_error_that_ends_anywhere_is_sent_on_only_with_both_ports_quoted() {
    for (source, vip, header, kind) in [("10.9.9.9", VIP, 20, 3), ("fd00:9::9", VIP6, 40, 1)] {
        let client = if header == 20 { CLIENT } else { CLIENT6 };
        let quoted = PacketBuilder::tcp((ip(vip), PORT), (ip(client), 9), tcp::ACK, b"").packet();
        for length in 0..=quoted.len() {
            let frame = PacketBuilder::icmp(ip(source), ip(vip), kind, 0, 0, &quoted[..length]).build();
            let expected = if length < header + 4 { Reason::IcmpErrorUnknown } else { Reason::IcmpError };
            assert_eq!(reason(&both_families(), &frame), expected, "{vip}, {length} bytes quoted");
        }
    }
}
