use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lb_core::health::{Detail, Failure};
use proptest::prelude::*;

use super::Pinger;
use super::icmp::{self, Answer, Echo, Family};
use super::line::{self, Line};
use crate::health::tests::{in_own_network, soon};

const ECHO: Echo = Echo { ident: 0x1234, sequence: 0xabcd, token: 0x0102_0304_0506_0708 };

#[tokio::test]
async fn this_machine_answers_itself() {
    let pinger = Pinger::default();
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        assert_eq!(soon(pinger.ping(address)).await, Ok(()), "{address}");
    }
}

#[tokio::test]
async fn many_pings_share_a_socket_and_each_gets_its_answer() {
    let pinger = Arc::new(Pinger::default());
    let pings: Vec<_> = (1..=100u8)
        .map(|last| {
            let pinger = Arc::clone(&pinger);
            tokio::spawn(async move { pinger.ping(Ipv4Addr::new(127, 0, 0, last).into()).await })
        })
        .collect();
    for ping in pings {
        assert_eq!(soon(ping).await.expect("no panic"), Ok(()));
    }
}

#[test]
fn a_machine_that_does_not_answer_keeps_its_ping_waiting_and_nobody_else() {
    // What goes to 198.51.100.2 carries a MAC address that nobody has.
    let setup = [
        "ip link add here type veth peer name there",
        "ip link set here up && ip link set there up",
        "ip address add 198.51.100.1/24 dev here",
        "ip neighbour add 198.51.100.2 lladdr 02:00:00:00:00:99 dev here nud permanent",
    ];
    in_own_network(&setup, || async {
        let line = Line::open(Family::V4).expect("a raw socket");
        let silent = line.shared().register(Ipv4Addr::new(198, 51, 100, 2).into()).expect("a place");
        line.shared().send(&silent).await.expect("a route");

        let answered = line.shared().register(Ipv4Addr::LOCALHOST.into()).expect("a place");
        line.shared().send(&answered).await.expect("a route");
        let silent = silent.answer();
        tokio::pin!(silent);
        tokio::select! {
            biased;
            outcome = &mut silent => panic!("an answer from a silent machine: {outcome:?}"),
            outcome = answered.answer() => assert_eq!(outcome, Ok(())),
        }
        assert_eq!(line.shared().count_waiting(), 1);
    });
}

#[tokio::test]
async fn a_ping_given_up_leaves_nothing_behind() {
    let line = Line::open(Family::V4).expect("a raw socket");
    let pending = line.shared().register(Ipv4Addr::LOCALHOST.into()).expect("a place");
    assert_eq!(line.shared().count_waiting(), 1);
    drop(pending);
    assert_eq!(line.shared().count_waiting(), 0);
}

#[tokio::test]
async fn waiting_pings_are_bounded() {
    let line = Line::open(Family::V4).expect("a raw socket");
    let mut waiting = Vec::new();
    let refused = loop {
        match line.shared().register(Ipv4Addr::LOCALHOST.into()) {
            Ok(pending) => waiting.push(pending),
            Err(failure) => break failure,
        }
    };
    assert_eq!(refused, Failure::Local(Detail::new("4096 pings wait for an answer already")));
    assert_eq!(waiting.len(), 4096);
}

#[test]
fn the_icmp_of_others_does_not_reach_the_socket() {
    in_own_network(&[], || async {
        for (family, to, header) in
            [(Family::V4, IpAddr::from(Ipv4Addr::LOCALHOST), 20), (Family::V6, Ipv6Addr::LOCALHOST.into(), 0)]
        {
            let mut socket = line::raw_socket(family).expect("a raw socket");
            socket.set_nonblocking(false).expect("a socket option");
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");

            socket.send_to(&icmp::request(family, ECHO), &SocketAddr::new(to, 0).into()).expect("a route");

            // On loopback the request itself arrives before its reply.
            let mut packet = [0; 128];
            let _ = socket.read(&mut packet).expect("a reply");
            assert_eq!(packet[header], family.reply_type());
        }
    });
}

#[tokio::test]
async fn only_its_own_reply_or_error_ends_a_ping() {
    let line = Line::open(Family::V6).expect("a raw socket").shared();
    let address: Ipv6Addr = "2001:db8::1".parse().expect("an address");
    let reply = |echo| received(Family::V6, 129, 0, &icmp::request(Family::V6, echo)[4..]);
    let undelivered = |echo, address: Ipv6Addr| {
        let quoted = [&[0; 28][..], &address.octets()[..], &icmp::request(Family::V6, echo)].concat();
        received(Family::V6, 1, 3, &quoted)
    };
    for delivered in [true, false] {
        let pending = line.register(address.into()).expect("a place");
        let echo = pending.echo;

        line.deliver(&reply(Echo { token: !echo.token, ..echo }));
        line.deliver(&reply(Echo { ident: !echo.ident, ..echo }));
        line.deliver(&reply(Echo { sequence: !echo.sequence, ..echo }));
        line.deliver(&undelivered(echo, Ipv6Addr::LOCALHOST));
        line.deliver(&undelivered(Echo { ident: !echo.ident, ..echo }, address));
        assert_eq!(line.count_waiting(), 1);

        line.deliver(&if delivered { reply(echo) } else { undelivered(echo, address) });
        assert_eq!(line.count_waiting(), 0);
    }
}

#[test]
fn a_neighbour_that_does_not_resolve_is_told() {
    let setup = [
        "ip link add here type veth peer name there",
        "ip link set here up && ip link set there up",
        "ip address add 198.51.100.1/24 dev here && ip address add 2001:db8::1/64 dev here nodad",
        "for f in 4 6; do echo 10 > /proc/sys/net/ipv$f/neigh/here/retrans_time_ms; done",
    ];
    in_own_network(&setup, || async {
        let pinger = Pinger::default();
        for address in ["198.51.100.2", "2001:db8::2"] {
            let outcome = pinger.ping(address.parse().expect("an address")).await;
            let why = "no machine answers at this address";
            assert_eq!(outcome, Err(Failure::Unreachable(Detail::new(why))), "{address}");
        }
    });
}

#[test]
fn without_the_privilege_the_need_is_told() {
    in_own_network(&[], || async {
        // SAFETY: plain numbers; the system call (unlike libc's wrapper) changes this thread only, which ends here.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(changed, 0);
        let outcome = Pinger::default().ping(Ipv4Addr::LOCALHOST.into()).await;
        assert_eq!(outcome, Err(Failure::NoPrivilege("CAP_NET_RAW to send ICMP echo requests")));
    });
}

/// What a raw socket gives: IPv4 with its header, IPv6 without.
fn received(family: Family, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = match family {
        Family::V4 => [&[0x46][..], &[0; 23]].concat(),
        Family::V6 => Vec::new(),
    };
    packet.extend([kind, code, 0, 0]);
    packet.extend(rest);
    packet
}

#[test]
fn a_request_comes_back_as_a_reply() {
    for family in [Family::V4, Family::V6] {
        let request = icmp::request(family, ECHO);
        let packet = received(family, family.reply_type(), 0, &request[4..]);
        assert_eq!(icmp::answer(family, &packet), Some(Answer::Reply(ECHO)));
        let packet = received(family, family.request_type(), 0, &request[4..]);
        assert_eq!(icmp::answer(family, &packet), None, "a request of someone answers nothing");
    }
}

#[test]
fn the_checksum_of_a_request_verifies() {
    let request = icmp::request(Family::V4, ECHO);
    let sum: u32 = request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
}

#[test]
fn errors_name_the_request_they_are_about() {
    let v4 = {
        let mut quoted = vec![0x45; 20];
        quoted[16..].copy_from_slice(&[192, 0, 2, 1]);
        quoted
    };
    let v6 = {
        let mut quoted = vec![0x60; 40];
        quoted[24..].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets());
        quoted
    };
    for (family, kind, code, quoted, destination, why) in [
        (Family::V4, 3, 0, &v4, "192.0.2.1", "a router has no route to its network"),
        (Family::V4, 3, 1, &v4, "192.0.2.1", "no machine answers at this address"),
        (Family::V4, 3, 13, &v4, "192.0.2.1", "a firewall on the way forbids it"),
        (Family::V4, 11, 0, &v4, "192.0.2.1", "the packet went through too many routers: is there a routing loop?"),
        (Family::V6, 1, 3, &v6, "2001:db8::1", "no machine answers at this address"),
        (Family::V6, 1, 1, &v6, "2001:db8::1", "a firewall on the way forbids it"),
        (Family::V6, 1, 9, &v6, "2001:db8::1", "a router could not deliver the packet"),
        (Family::V6, 3, 0, &v6, "2001:db8::1", "the packet went through too many routers: is there a routing loop?"),
    ] {
        // RFC 792: eight bytes of the request come back, no more.
        let request = &icmp::request(family, ECHO)[..8];
        let packet = received(family, kind, code, &[&[0; 4], &quoted[..], request].concat());
        let destination = destination.parse().expect("an address");
        let expected = Answer::Undelivered { ident: ECHO.ident, sequence: ECHO.sequence, destination, why };
        assert_eq!(icmp::answer(family, &packet), Some(expected));
    }
}

proptest! {
    #[test]
    fn no_packet_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0..6usize) {
        let mut packet = bytes;
        let kinds = [0, 3, 11, 1, 129, 8];
        for (family, at) in [(Family::V4, 20), (Family::V6, 0)] {
            if let Some(byte) = packet.get_mut(at) {
                *byte = kinds[kind];
            }
            if family == Family::V4 && let Some(byte) = packet.first_mut() {
                *byte = 0x45;
            }
            let _ = icmp::answer(family, &packet);
        }
    }
}
