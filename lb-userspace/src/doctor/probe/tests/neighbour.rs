use std::net::IpAddr;

use proptest::prelude::*;

use super::super::neighbour::WhoHas;
use super::super::packet;
use super::{MAC, OTHER_MAC, ends};

const V4: &str = "192.0.2.9";
const V6: &str = "2001:db8::12:3456";

fn who_has(address: &str, source: Option<&str>) -> WhoHas {
    WhoHas::new(MAC, address.parse().unwrap(), source.map(|source| source.parse().unwrap())).unwrap()
}

/// Everything an ARP reply says, each as it should be unless a test changes it.
#[derive(Clone)]
struct Reply {
    operation: u8,
    sender_mac: [u8; 6],
    sender: [u8; 4],
    target_mac: [u8; 6],
    target: [u8; 4],
}

const REPLY: Reply =
    Reply { operation: 2, sender_mac: OTHER_MAC, sender: [192, 0, 2, 9], target_mac: MAC, target: [192, 0, 2, 1] };

impl Reply {
    fn frame(&self) -> Vec<u8> {
        let head = [0, 1, 0x08, 0, 6, 4, 0, self.operation];
        let body = [&head[..], &self.sender_mac, &self.sender, &self.target_mac, &self.target].concat();
        packet::frame((MAC, OTHER_MAC), (0, 0), 0x0806, &body)
    }
}

#[test]
fn an_arp_request_is_as_the_rfcs_have_it() {
    for (source, octets) in [(None, [0, 0, 0, 0]), (Some("192.0.2.1"), [192, 0, 2, 1])] {
        let frame = who_has(V4, source).frame();
        let head = [&[0xff; 6][..], &MAC, &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]].concat();
        assert_eq!(frame[..42], [&head[..], &MAC, &octets, &[0; 6], &[192, 0, 2, 9]].concat());
        assert_eq!(frame.len(), 60);
    }
}

#[test]
fn a_solicitation_is_as_the_rfcs_have_it() {
    let group: IpAddr = "ff02::1:ff12:3456".parse().unwrap();
    let IpAddr::V6(group) = group else { unreachable!() };
    for (source, options) in [("::", &[][..]), ("2001:db8::1", &[1, 1, 2, 0, 0, 0, 0, 1])] {
        let frame = who_has(V6, Some(source)).frame();
        assert_eq!(frame[..14], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(frame[20..22], [58, 255], "ICMPv6, hop limit 255");
        assert_eq!(frame[38..54], group.octets());
        assert_eq!(frame[54..56], [135, 0]);
        assert_eq!(frame[62..78], V6.parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(frame[78..], *options);
    }
    assert_eq!(who_has(V6, None).frame(), who_has(V6, Some("::")).frame());
}

#[test]
fn an_arp_reply_answers_only_what_was_asked() {
    let question = who_has(V4, Some("192.0.2.1"));
    assert_eq!(question.answer(&REPLY.frame()), Some(OTHER_MAC));
    for (what, reply) in [
        ("a request", Reply { operation: 1, ..REPLY }),
        ("our own", Reply { sender_mac: MAC, ..REPLY }),
        ("of another address", Reply { sender: [192, 0, 2, 8], ..REPLY }),
        ("to another machine", Reply { target_mac: OTHER_MAC, ..REPLY }),
        ("to another address", Reply { target: [0; 4], ..REPLY }),
    ] {
        assert_eq!(question.answer(&reply.frame()), None, "{what}");
    }
    let probe = who_has(V4, None);
    assert_eq!(probe.answer(&Reply { target: [0; 4], ..REPLY }.frame()), Some(OTHER_MAC));
    assert_eq!(probe.answer(&REPLY.frame()), None);
}

/// An advertisement of [`V6`].
fn advertisement(hop_limit: u8, receiver: &str, target: &str, options: &[u8]) -> Vec<u8> {
    let target: std::net::Ipv6Addr = target.parse().unwrap();
    let message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &target.octets(), options].concat();
    let packet = ends("2001:db8::77", receiver).packet(hop_limit, 58, &message);
    packet::frame((MAC, OTHER_MAC), (0, 0), 0x86dd, &packet)
}

#[test]
fn an_advertisement_answers_only_what_was_asked() {
    const US: &str = "2001:db8::1";
    const OPTION: [u8; 8] = [2, 1, 2, 0, 0, 0, 0, 3];
    const NAMED: [u8; 6] = [2, 0, 0, 0, 0, 3];
    let unknown_first = [&[14, 2][..], &[0; 14], &OPTION].concat();
    let question = who_has(V6, Some(US));
    for (what, frame, expected) in [
        ("a good one", advertisement(255, US, V6, &OPTION), Some(NAMED)),
        ("with an unknown option", advertisement(255, US, V6, &unknown_first), Some(NAMED)),
        ("without options", advertisement(255, US, V6, &[]), Some(OTHER_MAC)),
        ("with an option without length", advertisement(255, US, V6, &[14, 0]), Some(OTHER_MAC)),
        ("our own", advertisement(255, US, V6, &[2, 1, 2, 0, 0, 0, 0, 1]), None),
        ("from behind a router", advertisement(254, US, V6, &OPTION), None),
        ("to others", advertisement(255, "ff02::1", V6, &OPTION), None),
        ("of another address", advertisement(255, US, "2001:db8::8", &OPTION), None),
    ] {
        assert_eq!(question.answer(&frame), expected, "{what}");
    }
    let without_address = who_has(V6, None);
    assert_eq!(without_address.answer(&advertisement(255, "ff02::1", V6, &OPTION)), Some(NAMED));
    assert_eq!(without_address.answer(&advertisement(255, US, V6, &OPTION)), None);
}

#[test]
fn a_question_answers_nothing() {
    for (address, source) in [(V4, "192.0.2.1"), (V6, "2001:db8::1")] {
        for source in [None, Some(source)] {
            let question = who_has(address, source);
            assert_eq!(question.answer(&question.frame()), None);
        }
    }
    let mixed = WhoHas::new(MAC, V4.parse().unwrap(), Some(V6.parse().unwrap()));
    assert_eq!(mixed, None);
}

proptest! {
    #[test]
    fn no_frame_makes_a_question_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..120), cut in 0..100usize, at in 0..100usize, byte: u8
    ) {
        let option = [2, 1, 2, 0, 0, 0, 0, 3];
        let (arp, advertisement) = (REPLY.frame(), advertisement(255, "2001:db8::1", V6, &option));
        for question in [who_has(V4, Some("192.0.2.1")), who_has(V6, Some("2001:db8::1"))] {
            let _ = question.answer(&bytes);
            for mut frame in [arp.clone(), advertisement.clone()] {
                let _ = question.answer(frame.get(..cut).unwrap_or_default());
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
                let _ = question.answer(&frame);
            }
        }
    }
}
