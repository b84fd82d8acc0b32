use std::collections::BTreeSet;

use lb_core::config::model::Protocol;

use super::super::conversation::{Counts, answer, ask_for};
use super::super::packet;
use super::super::question::{Answer, Asks};
use super::{MAC, OTHER_MAC, families};

#[test]
fn a_datagram_has_an_echo_request_beside_it() {
    let [ends, _] = families();
    let kinds = |port, protocol| -> String {
        let asked = ask_for(ends, port, protocol, &[(64, Counts::Anyones)]);
        let kind = |asks| match asks {
            Asks::Tcp { .. } => 't',
            Asks::Udp { .. } => 'u',
            Asks::Echo(_) => 'e',
        };
        asked.iter().map(|asked| kind(asked.question.asks)).collect()
    };
    for (protocol, with_port) in [(Protocol::Tcp, "t"), (Protocol::Udp, "ue"), (Protocol::TcpUdp, "tue")] {
        assert_eq!(kinds(Some(80), protocol), with_port);
        assert_eq!(kinds(None, protocol), "e");
    }
}

#[test]
fn every_question_has_a_port_of_its_own_that_no_flow_has() {
    let [ends, _] = families();
    for _ in 0..200 {
        let ways = [(1, Counts::Anyones), (64, Counts::Anyones)];
        let ports: Vec<u16> = ask_for(ends, Some(80), Protocol::TcpUdp, &ways)
            .iter()
            .filter_map(|asked| match asked.question.asks {
                Asks::Tcp { ports, .. } | Asks::Udp { ports } => Some(ports.source),
                Asks::Echo(_) => None,
            })
            .collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 4, "{ports:?}");
        assert!(ports.iter().all(|port| *port >= 61_000), "{ports:?}");
    }
}

#[test]
fn an_answer_counts_only_in_the_frames_it_is_asked_for_in() {
    let ends = families()[0];
    for (counts, expected) in [
        (Counts::Anyones, true),
        (Counts::From(OTHER_MAC), true),
        (Counts::From(MAC), false),
        (Counts::To([OTHER_MAC, MAC]), true),
        (Counts::To([OTHER_MAC; 2]), false),
    ] {
        let asked = ask_for(ends, Some(53), Protocol::Udp, &[(64, counts)]);
        let Asks::Udp { ports } = asked[0].question.asks else { panic!("{asked:?}") };
        let head = [ports.destination.to_be_bytes(), ports.source.to_be_bytes()].concat();
        let datagram = ends.reversed().packet(64, 17, &[&head[..], &[0, 8, 0, 0]].concat());
        let frame = packet::frame((MAC, OTHER_MAC), (0, 0), 0x0800, &datagram);
        assert_eq!(answer(&asked, &frame), expected.then_some(Answer::Datagram), "{counts:?}");
    }
}
