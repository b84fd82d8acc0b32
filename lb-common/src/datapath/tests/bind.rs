//! How translated flows begin and end: ports, entries of replies, states.

use std::collections::BTreeSet;

use super::conversation::*;
use super::*;
use crate::abi::{FlowState, PORT_WORDS, Reply};

#[test]
fn the_first_packet_makes_the_flow_and_the_entry_of_its_replies() {
    for kind in kinds() {
        let tables = kind.tables(1);
        tick(&tables, 7);
        let got = client(&tables, kind, tcp::SYN);
        let flow = tables.flows.get(&kind.key(9)).expect("the flow");
        let [(key, reply)] = tables.replies.all()[..] else { panic!("one entry of replies") };
        assert!(tables.pending_flows.is_empty());
        assert_eq!((flow.state, flow.last_seen, flow.created), (0, 1007, 1007));
        let ((source, port), to) = got.packet.ends();
        assert_eq!((IpAddr::from(key.client), key.client_port), to);
        assert_eq!((IpAddr::from(key.vip), key.vip_port, key.protocol), (source, port, kind.protocol()));
        assert_eq!((IpAddr::from(reply.client), reply.client_port), (kind.client(), 9));
        assert_eq!((IpAddr::from(reply.vip), reply.vip_port), (kind.vip(), PORT));
        assert_eq!((reply.server, reply.generation, reply.last_seen, reply.ended), (FIRST, 1, 1007, 0));
        let pool = NUMBER * 64 + u32::from(kind.udp);
        if kind.snat {
            assert_eq!((flow.source, flow.source_port, reply.pool), (NUMBER, port, pool));
            let word = pool * PORT_WORDS + u32::from(port) / 64;
            assert_eq!(*tables.source_ports.borrow(), [(word, 1 << (port % 64))].into());
        } else {
            assert_eq!((flow.source, flow.source_port, ports(&tables)), (0, 0, 0));
        }
    }
}

#[test]
fn states_follow_both_sides() {
    use FlowState::{Closing, Established, HalfClosed, Pending};
    const FIN: u8 = tcp::FIN | tcp::ACK;
    /// Who sends what, and the state after it.
    type Step = (bool, u8, FlowState);
    let (c, s) = (true, false);
    let open: [Step; 3] = [(c, tcp::SYN, Pending), (s, tcp::SYN | tcp::ACK, Pending), (c, tcp::ACK, Established)];
    let rows: [(&str, &[Step]); 8] = [
        (
            "the client first",
            &[(c, FIN, HalfClosed), (s, tcp::ACK, HalfClosed), (s, FIN, Closing), (c, tcp::ACK, Closing)],
        ),
        (
            "the server first",
            &[(s, FIN, Established), (c, tcp::ACK, Established), (c, FIN, Closing), (s, tcp::ACK, Closing)],
        ),
        ("both, repeated", &[(c, FIN, HalfClosed), (c, FIN, HalfClosed), (s, FIN, Closing), (s, FIN, Closing)]),
        ("a reset of the client", &[(c, tcp::RST, Closing)]),
        ("a reset of the server", &[(s, tcp::RST | tcp::ACK, Closing)]),
        ("a reset after half", &[(c, FIN, HalfClosed), (c, tcp::RST, Closing)]),
        ("a reset of the server after half", &[(c, FIN, HalfClosed), (s, tcp::RST, Closing)]),
        ("data goes on after half", &[(c, FIN, HalfClosed), (s, tcp::ACK, HalfClosed), (c, tcp::ACK, HalfClosed)]),
    ];
    for kind in tcp_kinds() {
        for (what, steps) in rows {
            let tables = kind.tables(1);
            let mut got = None;
            for (from_client, flags, expected) in open.iter().chain(steps) {
                if *from_client {
                    got = Some(client(&tables, kind, *flags));
                } else {
                    server(&tables, kind, got.as_ref().expect("the client begins"), *flags);
                }
                assert_eq!(state(&tables, kind), *expected, "{kind:?}, {what}, after {flags:#x}");
            }
            assert_eq!((tables.flows.len(), tables.replies.len()), (1, 1));
        }
        // Refused: the answer to a SYN is a reset.
        let tables = kind.tables(1);
        let got = client(&tables, kind, tcp::SYN);
        server(&tables, kind, &got, tcp::RST | tcp::ACK);
        assert_eq!(state(&tables, kind), Closing);
    }
}

#[test]
fn udp_is_established_by_the_second_datagram_of_the_client() {
    for kind in kinds().filter(|kind| kind.udp) {
        let tables = kind.tables(1);
        let got = client(&tables, kind, 0);
        server(&tables, kind, &got, 0);
        assert_eq!(state(&tables, kind), FlowState::Pending);
        client(&tables, kind, 0);
        assert_eq!(state(&tables, kind), FlowState::Established);
    }
}

#[test]
fn a_client_is_remembered_once_it_answers_and_not_when_it_resets() {
    for kind in tcp_kinds() {
        for (flags, remembered) in [(tcp::ACK, true), (tcp::RST, false), (tcp::FIN | tcp::ACK, false)] {
            let tables = tables(&kind.scenario(2).persistent(300));
            client(&tables, kind, tcp::SYN);
            assert!(tables.persistence.is_empty());
            client(&tables, kind, flags);
            assert_eq!(tables.persistence.len(), usize::from(remembered), "{kind:?}, {flags:#x}");
        }
    }
}

#[test]
fn a_port_used_anew_keeps_its_source_port_with_the_same_real_server() {
    for kind in tcp_kinds() {
        let tables = kind.tables(1);
        let mut sources = BTreeSet::new();
        for end in [tcp::RST, tcp::FIN | tcp::ACK, tcp::RST] {
            let got = client(&tables, kind, tcp::SYN);
            client(&tables, kind, tcp::ACK);
            sources.insert(got.packet.ends().0);
            server(&tables, kind, &got, tcp::FIN | tcp::ACK);
            client(&tables, kind, end);
            assert_eq!(state(&tables, kind), FlowState::Closing);
        }
        let got = client(&tables, kind, tcp::SYN);
        sources.insert(got.packet.ends().0);
        assert_eq!(state(&tables, kind), FlowState::Pending);
        let [(_, reply)] = tables.replies.all()[..] else { panic!("one entry of replies") };
        assert_eq!((sources.len(), tables.flows.len(), reply.ended), (1, 1, 0), "{kind:?}");
        server(&tables, kind, &got, tcp::SYN | tcp::ACK);
    }
}

#[test]
fn a_port_used_anew_with_another_real_server_gets_entries_of_its_own() {
    for kind in tcp_kinds() {
        let tables = kind.tables(2);
        let first = client(&tables, kind, tcp::SYN);
        client(&tables, kind, tcp::RST);
        let second = client(&tables, kind, tcp::SYN);
        assert_ne!(first.packet.destination, second.packet.destination, "by turns");
        assert_eq!((tables.flows.len(), tables.replies.len()), (1, 2), "the old one is for the sweep");
        server(&tables, kind, &second, tcp::SYN | tcp::ACK);
        // A late packet of the old connection ends nothing of the new one.
        server(&tables, kind, &first, tcp::RST);
        assert_eq!(state(&tables, kind), FlowState::Pending);
    }
}

#[test]
fn a_binding_whose_replies_are_somebody_elses_by_now_is_not_kept() {
    let tables = TCP.tables(1);
    let got = client(&tables, TCP, tcp::SYN);
    client(&tables, TCP, tcp::RST);
    let (key, reply) = tables.replies.all()[0];
    for other in [
        Reply { client: Address::from(ip("10.7.0.2")), ..reply },
        Reply { client_port: 10, ..reply },
        Reply { server: FIRST + 1, ..reply },
        Reply { vip: Address::from(ip("192.168.94.111")), ..reply },
        Reply { vip_port: 81, ..reply },
    ] {
        tables.replies.insert(&key, &other).expect("room");
        let again = client(&tables, TCP, tcp::SYN);
        assert_ne!(again.packet.ends().0, got.packet.ends().0);
        assert_eq!(tables.replies.get(&key), Some(other), "untouched");
        client(&tables, TCP, tcp::RST);
        let flow = tables.flows.get(&TCP.key(9)).expect("the flow");
        tables.flows.change(&TCP.key(9), |flow| flow.source_port = key.vip_port);
        tables.replies.remove(&FlowKey { vip_port: flow.source_port, ..key });
    }
}

#[test]
fn a_server_cut_and_back_again_is_a_new_binding() {
    for kind in kinds() {
        let mut tables = kind.tables(1);
        let got = client(&tables, kind, tcp::SYN);
        cut(&mut tables, FIRST);
        tables.servers.get_mut(&FIRST).expect("the server").state = ServerState::Active as u8;
        let again = client(&tables, kind, tcp::SYN);
        assert_eq!(got.packet.ends().0 == again.packet.ends().0, !kind.snat, "{kind:?}");
        server(&tables, kind, &again, tcp::ACK);
        assert_eq!((tables.flows.len(), tables.replies.len()), (1, 1 + usize::from(kind.snat)));
    }
}

#[test]
fn two_cpus_that_open_one_flow_leave_it_with_its_replies() {
    // The other CPU has got as far as this one goes in `bound`, between looking the flow up and recording it.
    for kind in kinds() {
        let tables = kind.tables(1);
        let got = client(&tables, kind, tcp::SYN);
        let (flow, replies) = (tables.flows.all(), tables.replies.all());
        let mut packet = MemPacket::new(&kind.request(9, tcp::SYN, b"").build(), DEVICE);
        tables.job.borrow_mut().binding = crate::datapath::Binding::NONE;
        let _ = crate::datapath::bind(&packet, &tables);
        assert_eq!(tables.flows.all(), flow, "{kind:?}");
        assert_eq!(tables.replies.all().len(), replies.len(), "{kind:?}");
        server(&tables, kind, &got, tcp::SYN | tcp::ACK);
        assert!(matches!(forward(&mut packet, &tables).action, Action::Redirect(_)));
    }
}

#[test]
fn a_packet_from_the_middle_opens_a_flow_and_the_end_of_one_does_not() {
    for kind in tcp_kinds() {
        let tables = kind.tables(1);
        for flags in [tcp::RST, tcp::FIN | tcp::ACK] {
            let frame = kind.request(9, flags, b"").build();
            assert_eq!(run(&tables, &frame), (Verdict::drop(Reason::NoFlow), frame));
        }
        assert!(tables.flows.is_empty() && tables.replies.is_empty() && ports(&tables) == 0);
        // The real server does not know it and resets it: the client learns that by this way.
        let got = client(&tables, kind, tcp::ACK);
        server(&tables, kind, &got, tcp::RST);
        assert_eq!(tables.verdicts_of(Reason::Resumed), 1);
        assert_eq!(state(&tables, kind), FlowState::Closing);
    }
}

#[test]
fn a_first_packet_at_its_last_hop_leaves_no_entry_and_takes_no_port() {
    for kind in kinds() {
        let tables = kind.tables(1);
        for hops in [1, 0] {
            let frame = with_hops(kind.request(9, tcp::SYN, b"").build(), hops);
            assert_eq!(run(&tables, &frame).0, Verdict::drop(Reason::HopLimit), "{kind:?}");
        }
        assert_eq!((tables.flows.len(), tables.replies.len()), (0, 0), "{kind:?}");
        assert!(tables.source_ports.borrow().values().all(|bits| *bits == 0), "{kind:?}");
    }
}
