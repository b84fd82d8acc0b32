//! Frames of every kind in words, and frames of no kind.

use std::net::IpAddr;

use lb_common::abi::{Server, ServerId};
use lb_common::testing::PacketBuilder;
use lb_common::trace::concerns;
use lb_common::wire::{ethernet, ipv6};
use proptest::prelude::*;

use super::*;
use crate::tables::{ServerKey, Wanted};
use crate::view::{Fragment, Frame};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn client() -> (IpAddr, u16) {
    (address("192.0.2.7"), 5000)
}

fn vip() -> (IpAddr, u16) {
    (address("10.0.0.100"), 443)
}

fn padded(frame: &[u8]) -> [u8; TRACED_BYTES] {
    // Beyond its end lies what another frame left there.
    let mut bytes = [0x45; TRACED_BYTES];
    let kept = frame.len().min(TRACED_BYTES);
    bytes[..kept].copy_from_slice(&frame[..kept]);
    bytes
}

fn event(before: &[u8], action: TraceAction, reason: Reason, server: ServerId, after: &[u8]) -> TraceEvent {
    TraceEvent {
        ingress: 2,
        egress: if after.is_empty() { 0 } else { 3 },
        server,
        length: u32::try_from(before.len()).unwrap(),
        length_after: u32::try_from(after.len()).unwrap(),
        action: action as u8,
        reason: reason as u8,
        before: padded(before),
        after: padded(after),
        ..TraceEvent::default()
    }
}

fn names() -> Names {
    let mut wanted = Wanted::default();
    for (id, service, server, real) in [
        (1, "RAS", "RAS_Server1", "10.11.20.106"),
        (2, "RAS", "RAS_Server2", "10.11.20.107"),
        (3, "web", "w", "10.11.20.107"),
    ] {
        wanted.server_numbers.insert(ServerKey { service: service.to_owned(), server: server.to_owned() }, id);
        wanted.servers.insert(id, Server { address: address(real).into(), ..Server::default() });
    }
    Names::new(&wanted)
}

fn told(event: &TraceEvent) -> String {
    line(&traced(event, 0, &names(), |number| format!("eth{}", i64::from(number) - 2)))
}

/// What is said of a frame that was passed on.
fn said(frame: &[u8]) -> String {
    let line = told(&event(frame, TraceAction::Pass, Reason::NotVip, 0, &[]));
    line.strip_prefix("eth0  ").unwrap().strip_suffix("  pass not-vip").unwrap().to_owned()
}

fn with_mac(mut frame: Vec<u8>, last: u8) -> Vec<u8> {
    frame[5] = last;
    frame
}

#[test]
fn a_verdict_says_what_came_what_became_of_it_and_what_left() {
    let came = PacketBuilder::udp(client(), vip(), &[0; 78]);
    let translated = PacketBuilder::udp((address("10.11.20.1"), 1025), (address("10.11.20.106"), 443), &[0; 78]);
    let scheduled = |after: &[u8]| event(&came.build(), TraceAction::Forward, Reason::Scheduled, 1, after);
    assert_eq!(
        told(&scheduled(&translated.build())),
        "eth0  192.0.2.7:5000 -> 10.0.0.100:443 udp 120 B  scheduled -> RAS_Server1 by eth1: 10.11.20.1:1025 -> \
         10.11.20.106:443"
    );
    let to_server = |frame: Vec<u8>| with_mac(frame, 9);
    assert_eq!(
        told(&scheduled(&to_server(came.build()))),
        "eth0  192.0.2.7:5000 -> 10.0.0.100:443 udp 120 B  scheduled -> RAS_Server1 by eth1: to 02:00:00:00:00:09"
    );
    assert_eq!(
        told(&scheduled(&to_server(came.clone().tag(ethernet::TYPE_VLAN, 0x2000 | 20).build()))),
        "eth0  192.0.2.7:5000 -> 10.0.0.100:443 udp 120 B  scheduled -> RAS_Server1 by eth1: vlan 20, to \
         02:00:00:00:00:09"
    );
    let tagged = PacketBuilder::tcp(client(), vip(), 0x02, b"").tag(ethernet::TYPE_VLAN, 7).build();
    assert_eq!(
        told(&event(&tagged, TraceAction::Pass, Reason::NoService, 0, &[])),
        "eth0  vlan 7 192.0.2.7:5000 -> 10.0.0.100:443 tcp SYN 58 B  pass no-service"
    );
    assert_eq!(
        told(&event(&tagged, TraceAction::Drop, Reason::NextHopUnknown, 2, &[])),
        "eth0  vlan 7 192.0.2.7:5000 -> 10.0.0.100:443 tcp SYN 58 B  drop next-hop-unknown (RAS_Server2)"
    );
}

#[test]
fn a_reply_is_named_after_who_sent_it_if_that_is_one_server() {
    let reply = |from: &str| {
        let came = PacketBuilder::udp((address(from), 443), (address("10.11.20.1"), 1025), b"x").build();
        let left = PacketBuilder::udp(vip(), client(), b"x").build();
        traced(&event(&came, TraceAction::Forward, Reason::Established, 0, &left), 0, &names(), |_| "eth0".to_owned())
    };
    assert_eq!(reply("10.11.20.106").server.as_deref(), Some("RAS_Server1"));
    assert_eq!(reply("10.11.20.107").server, None, "a real server of two virtual services");
    let unknown = reply("10.11.20.108");
    assert_eq!(unknown.server, None);
    assert!(line(&unknown).ends_with("established -> (no name) by eth0: 10.0.0.100:443 -> 192.0.2.7:5000"));
}

#[test]
fn frames_of_every_kind_are_named() {
    let sent = PacketBuilder::tcp(vip(), client(), 0x10, &[0; 32]);
    let (c6, v6) = (address("fd00::7"), address("fd00::100"));
    let too_big = PacketBuilder::udp((v6, 443), (c6, 5000), &[0; 32]).packet();
    let datagram = PacketBuilder::udp(client(), vip(), &[0; 24]).fragments(77, 16);
    let six = PacketBuilder::udp((c6, 5000), (v6, 443), &[0; 24]).extension(ipv6::HOP_BY_HOP, &[0; 6]);
    let six = six.fragments(78, 16);
    for (frame, expected) in [
        (PacketBuilder::tcp(client(), vip(), 0x12, b"").build(), "192.0.2.7:5000 -> 10.0.0.100:443 tcp SYN,ACK 54 B"),
        (
            PacketBuilder::tcp((c6, 1), (v6, 2), 0xff, b"").build(),
            "[fd00::7]:1 -> [fd00::100]:2 tcp FIN,SYN,RST,PSH,ACK,URG,ECE,CWR 74 B",
        ),
        (
            PacketBuilder::icmp(client().0, vip().0, 8, 0, 1, b"ping").build(),
            "192.0.2.7 -> 10.0.0.100 icmp echo request 46 B",
        ),
        (
            PacketBuilder::icmp(client().0, vip().0, 40, 3, 1, b"").build(),
            "192.0.2.7 -> 10.0.0.100 icmp type 40 code 3 42 B",
        ),
        (
            PacketBuilder::icmp(address("203.0.113.1"), vip().0, 3, 4, 1280, &sent.packet()).build(),
            "203.0.113.1 -> 10.0.0.100 icmp fragmentation needed, MTU 1280 about 10.0.0.100:443 -> 192.0.2.7:5000 tcp 114 B",
        ),
        (
            PacketBuilder::icmp(address("fd01::1"), v6, 2, 0, 1280, &too_big).build(),
            "fd01::1 -> fd00::100 icmpv6 packet too big, MTU 1280 about [fd00::100]:443 -> [fd00::7]:5000 udp 142 B",
        ),
        (datagram[0].clone(), "192.0.2.7:5000 -> 10.0.0.100:443 udp fragment 77 at 0 50 B"),
        (datagram[1].clone(), "192.0.2.7 -> 10.0.0.100 udp fragment 77 at 16, the last 50 B"),
        (six[0].clone(), "[fd00::7]:5000 -> [fd00::100]:443 udp fragment 78 at 0 86 B"),
        (six[1].clone(), "fd00::7 -> fd00::100 udp fragment 78 at 16, the last 86 B"),
        (
            PacketBuilder::new(client().0, vip().0, 47, vec![0; 8]).build(),
            "192.0.2.7 -> 10.0.0.100 ip protocol 47 42 B",
        ),
        (
            [[2; 12].as_slice(), &[0x88, 0xcc, 1, 2]].concat(),
            "02:02:02:02:02:02 -> 02:02:02:02:02:02 ethertype 0x88cc 16 B",
        ),
        (arp(1, [10, 0, 0, 100]), "192.0.2.7 -> 10.0.0.100 arp asks who has it 42 B"),
        (arp(1, [192, 0, 2, 7]), "192.0.2.7 -> 192.0.2.7 arp announces its address 42 B"),
        (arp(2, [10, 0, 0, 100]), "192.0.2.7 -> 10.0.0.100 arp says that it has its address 42 B"),
        (sent.build()[..30].to_vec(), "10.0.0.100 -> (no address) ipv4 (cut short) 30 B"),
        (sent.build()[..36].to_vec(), "10.0.0.100:443 -> 192.0.2.7 tcp (cut short) 36 B"),
        (vec![1, 2, 3], "(no address) -> (no address) ethernet (cut short) 3 B"),
    ] {
        assert_eq!(said(&frame), expected);
    }
}

fn arp(operation: u8, target: [u8; 4]) -> Vec<u8> {
    let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 7, 192, 0, 2, 7]);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

#[test]
fn a_network_is_compared_under_its_mask() {
    let traced = |network: &str, frame: &PacketBuilder| {
        let frame = frame.build();
        concerns(&padded(&frame), frame.len(), &filter(&network.parse().unwrap()))
    };
    let four = PacketBuilder::udp(client(), vip(), b"x");
    let six = PacketBuilder::udp((address("fd00::7"), 1), (address("fd00:1::1"), 2), b"x");
    for (network, of_four, of_six) in [
        ("192.0.2.7", true, false),
        ("192.0.2.0/24", true, false),
        ("192.0.2.8/29", false, false),
        ("0.0.0.0/0", true, false),
        ("::/0", true, true),
        ("fd00::/64", false, true),
        ("fd00::8", false, false),
    ] {
        assert_eq!((traced(network, &four), traced(network, &six)), (of_four, of_six), "{network}");
    }
}

#[test]
fn an_unknown_reason_and_an_unknown_action_are_told_as_they_are() {
    let frame = PacketBuilder::udp(client(), vip(), b"x").build();
    let strange = TraceEvent { action: 77, reason: 250, ..event(&frame, TraceAction::Pass, Reason::NotIp, 0, &[]) };
    assert_eq!(told(&strange), "eth0  192.0.2.7:5000 -> 10.0.0.100:443 udp 43 B  drop reason 250");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whatever_the_bytes_something_is_said_on_one_line(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..=TRACED_BYTES), kind in 0..6_usize, proto in any::<u8>(),
        server in any::<u32>(), length in any::<u32>(), action in any::<u8>(), reason in any::<u8>(),
    ) {
        // Mostly of kinds that are looked into.
        let kinds: [&[u8]; 6] = [&[], &[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[8, 6, 0, 1], &[0x81, 0, 0, 7, 8, 0], &[8, 0, 0x4f]];
        for (byte, value) in bytes.iter_mut().skip(12).zip(kinds[kind]) {
            *byte = *value;
        }
        if let (true, Some(byte)) = (proto % 2 == 0, bytes.get_mut(23)) {
            *byte = [1, 6, 17, 58][usize::from(proto / 2 % 4)];
        }
        let decoded = decode(&bytes, length);
        prop_assert_eq!(decoded.length, length);
        prop_assert!(decoded.vlans.len() <= 2);
        let json = serde_json::to_string(&decoded).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Frame>(&json).unwrap(), &decoded);
        let told_of = TraceEvent { length, length_after: length / 2, action, reason, server, ..event(&bytes, TraceAction::Forward, Reason::Scheduled, 0, &bytes) };
        let text = told(&told_of);
        prop_assert!(!text.contains('\n') && text.chars().all(|c| !c.is_control()), "{text:?}");
    }

    #[test]
    fn a_fragment_is_where_it_says(identification in any::<u16>(), part in 1..100_usize) {
        let fragments = PacketBuilder::udp(client(), vip(), &[0; 1000]).fragments(identification.into(), 8);
        let frame = &fragments[part];
        let decoded = decode(&frame[..frame.len().min(TRACED_BYTES)], 0);
        let expected = Fragment { identification: identification.into(), offset: u32::try_from(8 * part).unwrap(), more: true };
        prop_assert_eq!(decoded.fragment, Some(expected));
        prop_assert_eq!(decoded.source_port, None);
    }
}
