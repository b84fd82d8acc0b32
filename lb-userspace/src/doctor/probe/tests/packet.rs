use proptest::prelude::*;

use super::super::packet::{self, Ends, Frame, Packet};
use super::{MAC, OTHER_MAC, families, questions};
use crate::netlink::announce::internet_checksum;

#[test]
fn every_checksum_of_a_packet_verifies() {
    for question in questions() {
        let packet = question.packet(64);
        let (pseudo, transport) = match question.ends {
            Ends::V4 { from, to } => {
                assert_eq!(internet_checksum(packet[..20].iter().copied()), 0, "the header's");
                ([from.octets(), to.octets()].concat(), &packet[20..])
            }
            Ends::V6 { from, to } => ([from.octets(), to.octets()].concat(), &packet[40..]),
        };
        let protocol = Packet::parse(&packet).unwrap().protocol;
        let length = u8::try_from(transport.len()).unwrap();
        let mut covered = [&pseudo[..], &[0, protocol, 0, length], transport].concat();
        if protocol == 1 {
            covered.drain(..pseudo.len() + 4);
        }
        assert_eq!(internet_checksum(covered.into_iter()), 0, "{question:?}");
    }
}

#[test]
fn a_syn_is_as_the_rfcs_have_it() {
    let syn = questions().next().unwrap().packet(1);
    #[rustfmt::skip]
    let expected = [
        0x45, 0, 0, 44, 0, 0, 0, 0, 1, 6, 0x35, 0xc2, 192, 0, 2, 1, 192, 0, 2, 9,
        0xef, 0x32, 0, 80, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0x25, 0x89, 0, 0,
        2, 4, 0x04, 0xc4,
    ];
    assert_eq!(syn, expected);
}

#[test]
fn tags_are_written_as_the_datapath_does_and_passed_over() {
    for (vlans, tags) in [
        ((0, 0), &[][..]),
        ((100, 0), &[0x81, 0x00, 0, 100]),
        ((200, 300), &[0x88, 0xa8, 0, 200, 0x81, 0x00, 0x01, 0x2c]),
    ] {
        let frame = packet::frame((MAC, OTHER_MAC), vlans, 0x0800, &[0x45, 1, 2]);
        assert_eq!(frame, [&MAC[..], &OTHER_MAC, tags, &[0x08, 0x00, 0x45, 1, 2]].concat());
        let parsed = Frame { destination: MAC, source: OTHER_MAC, ether_type: 0x0800, payload: &[0x45, 1, 2] };
        assert_eq!(Frame::parse(&frame), Some(parsed));
    }
    let three = [&MAC[..], &OTHER_MAC, &[0x81, 0, 0, 1].repeat(3), &[0x08, 0x00]].concat();
    assert_eq!(Frame::parse(&three), None, "nobody sends three");
}

#[test]
fn a_packet_in_a_frame_of_another_type_is_none() {
    let [v4, v6] = families().map(|ends| ends.packet(64, 17, &[0; 8]));
    for (ether_type, packet, expected) in
        [(0x0800, &v4, true), (0x86dd, &v6, true), (0x86dd, &v4, false), (0x0800, &v6, false), (0x0806, &v4, false)]
    {
        let frame = packet::frame((MAC, OTHER_MAC), (0, 0), ether_type, packet);
        assert_eq!(Frame::parse(&frame).unwrap().packet().is_some(), expected, "{ether_type:04x}");
    }
}

#[test]
fn options_are_passed_over_and_later_fragments_refused() {
    let [v4, _] = families();
    let mut packet = v4.packet(64, 17, &[7; 16]);
    packet[0] = 0x46;
    assert_eq!(Packet::parse(&packet).unwrap().transport.len(), 12);
    packet[7] = 1;
    assert_eq!(Packet::parse(&packet), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Some(frame) = Frame::parse(&bytes) {
            let _ = frame.packet();
        }
        let _ = Packet::parse(&bytes);
    }
}
