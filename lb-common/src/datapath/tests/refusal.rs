//! Translated flows that cannot be: why, and that nothing is left of them.

use std::collections::BTreeSet;

use super::conversation::*;
use super::*;
use crate::abi::{FlowState, ServerCounters, ServiceMode, VerdictCounters};
use crate::datapath::Kind as ReasonKind;
use crate::testing::OTHER_DEVICE;

/// A service of one real server beside [`VIP`]'s, of the same kind, by another VIP; its server is the
/// same machine.
const OTHER_VIP: &str = "192.168.94.111";

fn by_another_vip(kind: Kind) -> MemTables {
    let mut other = kind.scenario(1);
    other.vip = ip(OTHER_VIP);
    and(kind.tables(1), other)
}

fn other(port: u16, flags: u8) -> Vec<u8> {
    PacketBuilder::tcp((ip(CLIENT), port), (ip(OTHER_VIP), PORT), flags, b"").build()
}

#[test]
fn without_a_source_address_one_port_is_good_for_one_vip_at_a_time() {
    let open = || {
        let tables = by_another_vip(NAT);
        let got = client(&tables, NAT, tcp::SYN);
        (tables, got)
    };
    let (tables, got) = open();
    assert_eq!(run(&tables, &other(9, tcp::SYN)), (Verdict::drop(Reason::NatConflict), other(9, tcp::SYN)));
    assert_eq!((tables.flows.len(), tables.replies.len()), (1, 1));
    server(&tables, NAT, &got, tcp::SYN | tcp::ACK);
    assert_eq!(run(&tables, &other(10, tcp::SYN)).0.reason, Reason::Scheduled, "another port");

    // Once the first is over, by whatever end.
    let fin = tcp::FIN | tcp::ACK;
    for end in
        [&[(true, tcp::RST)][..], &[(false, tcp::RST)], &[(true, fin), (false, fin)], &[(false, fin), (true, fin)]]
    {
        let (tables, got) = open();
        for (from_client, flags) in end {
            if *from_client { drop(client(&tables, NAT, *flags)) } else { server(&tables, NAT, &got, *flags) }
        }
        assert_eq!(run(&tables, &other(9, tcp::SYN)).0.reason, Reason::Scheduled, "after {end:?}");
        let seen = to_client(&tables, &NAT.answer(&got, tcp::SYN | tcp::ACK, b"").build());
        assert_eq!(seen.packet.ends().0, (ip(OTHER_VIP), PORT));
    }
    // Or its server was cut.
    let (mut tables, _) = open();
    cut(&mut tables, FIRST);
    assert_eq!(run(&tables, &other(9, tcp::SYN)).0.reason, Reason::Scheduled);
}

#[test]
fn a_flow_that_gave_way_stays_over_and_ends_nothing_of_the_next() {
    let fin = tcp::FIN | tcp::ACK;
    for late in [fin, tcp::RST, tcp::ACK] {
        let tables = by_another_vip(NAT);
        client(&tables, NAT, tcp::SYN);
        client(&tables, NAT, tcp::RST);
        assert_eq!(run(&tables, &other(9, tcp::SYN)).0.reason, Reason::Scheduled);
        let before = tables.replies.all();
        client(&tables, NAT, late);
        assert_eq!(state(&tables, NAT), FlowState::Closing);
        assert_eq!(tables.replies.all(), before);
        let again = NAT.request(9, tcp::SYN, b"").build();
        assert_eq!(run(&tables, &again).0, Verdict::drop(Reason::NatConflict));
    }
}

#[test]
fn with_a_source_address_two_vips_share_a_client_and_a_real_server() {
    let tables = by_another_vip(TCP);
    let first = client(&tables, TCP, tcp::SYN);
    let second = to_server(&tables, &other(9, tcp::SYN));
    assert_eq!(first.packet.ends().1, second.packet.ends().1);
    assert_ne!(first.packet.ends().0, second.packet.ends().0);
    let seen = to_client(&tables, &TCP.answer(&second, tcp::ACK, b"").build());
    assert_eq!(seen.packet.ends(), ((ip(OTHER_VIP), PORT), (ip(CLIENT), 9)));
}

#[test]
fn all_ports_are_handed_out_once_and_then_none() {
    for kind in kinds().filter(|kind| kind.snat) {
        let mut tables = kind.tables(1);
        (tables.settings.first_source_port, tables.settings.last_source_port) = (2000, 2999);
        let mut seen = BTreeSet::new();
        for port in 1..=1000 {
            let got = to_server(&tables, &kind.request(port, tcp::SYN, b"").build());
            assert!(seen.insert(got.packet.ends().0.1), "a port twice");
        }
        assert_eq!(seen, (2000..=2999).collect());
        let before = (tables.flows.all(), tables.replies.all(), tables.source_ports.borrow().clone());
        let frame = kind.request(1001, tcp::SYN, b"").build();
        assert_eq!(run(&tables, &frame), (Verdict::drop(Reason::SourcePortsExhausted), frame));
        let after = (tables.flows.all(), tables.replies.all(), tables.source_ports.borrow().clone());
        assert_eq!(before, after, "nothing is left behind");
        assert_eq!(to_server(&tables, &kind.request(1, tcp::ACK, b"").build()).packet.source, kind.source());
    }
}

#[test]
fn full_tables_refuse_new_flows_and_leave_at_most_a_bit() {
    for kind in kinds() {
        for full in ["flows", "replies"] {
            let mut tables = kind.tables(1);
            let got = client(&tables, kind, tcp::SYN);
            let table: &mut usize =
                if full == "flows" { &mut tables.flows.capacity } else { &mut tables.replies.capacity };
            *table = 1;
            let before = (tables.flows.all(), tables.replies.all(), ports(&tables));
            let frame = kind.request(10, tcp::SYN, b"").build();
            assert_eq!(run(&tables, &frame), (Verdict::drop(Reason::TranslationTableFull), frame), "{full}");
            assert_eq!((tables.flows.all(), tables.replies.all()), (before.0, before.1), "{kind:?}, {full}");
            assert!(ports(&tables) <= before.2 + 1, "a bit, which the sweep finds");
            // The flow that is there goes on, and may be used anew.
            server(&tables, kind, &got, tcp::RST);
            if !kind.udp {
                client(&tables, kind, tcp::SYN);
                assert_eq!(state(&tables, kind), FlowState::Pending, "{kind:?}, {full}");
            }
        }
    }
}

#[test]
fn limits_refuse_new_flows_alone_and_count_them() {
    for kind in kinds() {
        for of_service in [true, false] {
            let mut tables = kind.tables(1);
            if of_service {
                tables.services.get_mut(&SERVICE).expect("the service").new_flows_per_tick = 2;
            } else {
                tables.settings.new_flows_per_tick = 2;
            }
            let got = client(&tables, kind, tcp::SYN);
            to_server(&tables, &kind.request(10, tcp::SYN, b"").build());
            for port in 11..=15 {
                let frame = kind.request(port, tcp::SYN, b"").build();
                assert_eq!(run(&tables, &frame), (Verdict::drop(Reason::NewFlowLimit), frame));
            }
            let account = tables.admission.borrow()[&if of_service { SERVICE } else { 0 }];
            assert_eq!((account.flows, account.beyond), (2, 5));
            assert_eq!(
                (tables.flows.len(), tables.replies.len(), ports(&tables)),
                (2, 2, if kind.snat { 2 } else { 0 })
            );
            client(&tables, kind, tcp::ACK);
            server(&tables, kind, &got, tcp::ACK);
            tick(&tables, 1);
            to_server(&tables, &kind.request(11, tcp::SYN, b"").build());
            let account = tables.admission.borrow()[&if of_service { SERVICE } else { 0 }];
            assert_eq!((account.flows, account.beyond), (1, 5));
        }
    }
}

/// A frame for each reason that only translated flows meet, on tables made for it; and the interface.
fn rows() -> Vec<(MemTables, u32, Vec<u8>, Reason)> {
    let clean = |tables: MemTables| {
        tables.verdicts.borrow_mut().clear();
        tables.server_counters.borrow_mut().clear();
        tables
    };
    let opened = |tables: MemTables| {
        let got = client(&tables, TCP, tcp::SYN);
        (clean(tables), got)
    };
    let changed = |change: fn(&mut MemTables)| {
        let mut tables = TCP.tables(1);
        change(&mut tables);
        tables
    };
    let syn = TCP.request(9, tcp::SYN, b"").build();
    let (tables, got) = opened(TCP.tables(1));
    let answer = TCP.answer(&got, tcp::ACK, b"").build();
    let (from, to) = got.packet.ends();
    let error = icmp_error(TCP.router(), from.0, (3, 4), &TCP.packet(from, to, tcp::ACK, b"").packet()).build();
    let conflict = by_another_vip(NAT);
    client(&conflict, NAT, tcp::SYN);
    vec![
        (TCP.tables(1), OTHER_DEVICE, answer.clone(), Reason::ReplyUnknown),
        (tables, OTHER_DEVICE, answer, Reason::Reply),
        (opened(TCP.tables(1)).0, OTHER_DEVICE, error, Reason::ReplyError),
        (changed(|tables| tables.settings.last_source_port = 1), DEVICE, syn.clone(), Reason::SourcePortsExhausted),
        (
            changed(|tables| tables.servers.get_mut(&FIRST).expect("it").source = 0),
            DEVICE,
            syn.clone(),
            Reason::NoSourceAddress,
        ),
        (changed(|tables| tables.replies.capacity = 0), DEVICE, syn.clone(), Reason::TranslationTableFull),
        (clean(conflict), DEVICE, other(9, tcp::SYN), Reason::NatConflict),
        (changed(|tables| tables.settings.new_flows_per_tick = 0), DEVICE, syn.clone(), Reason::NewFlowLimit),
        (TCP.tables(1), DEVICE, TCP.request(9, tcp::RST, b"").build(), Reason::NoFlow),
        (TCP.tables(1), DEVICE, with_hops(syn.clone(), 1), Reason::HopLimit),
        (TCP.tables(1), DEVICE, with_macs(syn, [0x01; 6], CLIENT_MAC), Reason::NotUnicast),
    ]
}

#[test]
fn every_verdict_on_translated_packets_is_counted_once_with_the_length_of_the_frame() {
    let mut seen = Vec::new();
    for (tables, device, frame, expected) in rows() {
        assert_eq!(run_by(&tables, device, &frame).0.reason, expected);
        let bytes = frame.len() as u64;
        let counters: Vec<_> = tables.verdicts.borrow().clone().into_iter().collect();
        assert_eq!(counters, [(expected, VerdictCounters { packets: 1, bytes })]);
        let one = ServerCounters { reply_packets: 1, reply_bytes: bytes, ..ServerCounters::default() };
        let counters: Vec<_> = tables.server_counters.borrow().values().copied().collect();
        assert_eq!(counters, if expected.kind() == ReasonKind::Forward { vec![one] } else { vec![] }, "{expected:?}");
        seen.push(expected);
    }
    let here = |reason: &&Reason| match **reason as u8 {
        8 | 25 | 26 => true,
        number => number >= Reason::SourcePortsExhausted as u8,
    };
    assert_eq!(seen, Reason::ALL.iter().filter(here).copied().collect::<Vec<_>>(), "a row for every reason");
}

#[test]
fn a_service_beside_one_of_direct_routing_leaves_that_alone() {
    let tables = and(TCP.tables(1), Scenario::new(ip(OTHER_VIP), &[(PORT, PORT)], &BOTH, Scheduler::Maglev, 1));
    assert_eq!(tables.servers[&SECOND].mode, ServiceMode::DirectRouting as u8);
    // The same real server, by its address; its packets from the VIP are not seen, and its own answer nothing.
    let frame = other(9, tcp::SYN);
    let (verdict, out) = run(&tables, &frame);
    assert_eq!((verdict.reason, &out[12..]), (Reason::Scheduled, &frame[12..]));
    assert_eq!((tables.pending_flows.len(), tables.flows.len(), tables.replies.len()), (1, 0, 0));
}
