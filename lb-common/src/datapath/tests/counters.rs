//! Every frame is counted once, under its reason, with its length.

use std::collections::BTreeMap;

use super::*;
use crate::abi::{ServerCounters, VerdictCounters};
use crate::datapath::Kind;

/// A frame for each reason that one frame can meet, on tables made for it.
fn frames() -> Vec<(MemTables, Vec<u8>, Reason)> {
    let plain = || tables(&scenario(Scheduler::WeightedRoundRobin, 2));
    let (to_vip, from) = ((ip(VIP), PORT), (ip(CLIENT), 9));
    let arp = with(syn(9), 12, &[0x08, 0x06]);
    let land = PacketBuilder::tcp(to_vip, to_vip, tcp::SYN, b"").build();
    let ping = PacketBuilder::icmp(ip(CLIENT), ip(VIP), 8, 0, 1, b"ping").build();
    let error = |port| {
        let reply = PacketBuilder::tcp((ip(VIP), port), from, tcp::ACK, b"");
        PacketBuilder::icmp(ip(CLIENT), ip(VIP), 3, 4, 0, &reply.packet()).build()
    };
    let fragments = PacketBuilder::tcp(from, to_vip, tcp::SYN, &[0; 64]);
    let chain = |builder: PacketBuilder, _| builder.extension(60, &[0; 6]);
    let extensions = (0..5).fold(PacketBuilder::udp((ip(CLIENT6), 9), (ip(VIP6), PORT), b""), chain).build();
    let with_state = |change: fn(&mut MemTables)| {
        let mut tables = plain();
        change(&mut tables);
        tables
    };
    let with_flow = |change: fn(&mut MemTables), frames: &[Vec<u8>]| {
        let mut tables = plain();
        change(&mut tables);
        for frame in frames {
            forward(&mut MemPacket::new(frame, DEVICE), &tables);
        }
        tables.verdicts.borrow_mut().clear();
        tables.server_counters.borrow_mut().clear();
        tables
    };
    let persistent = tables(&scenario(Scheduler::WeightedRoundRobin, 2).persistent(300));
    server_of(&persistent, &syn(8));
    persistent.verdicts.borrow_mut().clear();
    persistent.server_counters.borrow_mut().clear();
    let no_next_hop = with_flow(|_| {}, &[syn(9), ack(9)]);
    let mut no_next_hop = no_next_hop;
    no_next_hop.servers.values_mut().for_each(|server| server.ifindex = 0);
    vec![
        (plain(), arp, Reason::NotIp),
        (plain(), syn(9)[..20].to_vec(), Reason::Truncated),
        (plain(), with(syn(9), NETWORK + 16, &[1, 2, 3, 4]), Reason::NotVip),
        (plain(), PacketBuilder::udp(from, (ip(VIP), 81), b"").build(), Reason::NoService),
        (plain(), ping, Reason::Icmp),
        (plain(), PacketBuilder::new(ip(CLIENT), ip(VIP), 47, vec![0; 9]).build(), Reason::OtherProtocol),
        (plain(), fragments.fragments(7, 24)[1].clone(), Reason::FragmentUnknown),
        (plain(), error(81), Reason::IcmpErrorUnknown),
        (with_flow(|_| {}, &[syn(9), ack(9)]), ack(9), Reason::Established),
        (with_flow(|_| {}, &[syn(9)]), ack(9), Reason::Pending),
        (plain(), syn(9), Reason::Scheduled),
        (persistent, syn(9), Reason::Persistent),
        (plain(), ack(9), Reason::Resumed),
        (with_state(|tables| tables.settings.new_flows_per_tick = 0), syn(9), Reason::Untracked),
        (with_flow(|tables| tables.flows.capacity = 0, &[syn(9)]), ack(9), Reason::FlowTableFull),
        (with_flow(|_| {}, &fragments.fragments(7, 24)[..1]), fragments.fragments(7, 24)[1].clone(), Reason::Fragment),
        (plain(), error(PORT), Reason::IcmpError),
        (plain(), with(syn(9), NETWORK, &[0x41]), Reason::BadLength),
        (plain(), PacketBuilder::udp((ip(CLIENT), 0), to_vip, b"").build(), Reason::PortZero),
        (plain(), fragments.fragments(7, 8)[0].clone(), Reason::FragmentTooSmall),
        (plain(), fragments.clone().fragment(7, 8, true).build(), Reason::FragmentOverlap),
        (both_families(), extensions, Reason::TooManyExtensions),
        (plain(), land, Reason::Spoofed),
        (tables(&scenario(Scheduler::Maglev, 0)), syn(9), Reason::NoServer),
        (with_state(full), syn(9), Reason::ServersFull),
        (no_next_hop, ack(9), Reason::NextHopUnknown),
    ]
}

fn full(tables: &mut MemTables) {
    for (id, server) in &mut tables.servers {
        server.max_connections = 1;
        tables.opened.borrow_mut().entry(*id).or_default().flows = 1;
    }
}

#[test]
fn every_verdict_is_counted_once_with_the_length_of_the_frame() {
    let mut seen = Vec::new();
    for (tables, frame, expected) in frames() {
        assert_eq!(reason(&tables, &frame), expected);
        let bytes = frame.len() as u64;
        let counters: Vec<_> = tables.verdicts.borrow().clone().into_iter().collect();
        assert_eq!(counters, [(expected, VerdictCounters { packets: 1, bytes })]);
        seen.push(expected);
    }
    // A frame without headroom is in `rewrite`, what only translated flows meet in `refusal`.
    let translated = |reason: &Reason| match *reason as u8 {
        8 | 25 | 26 => true,
        number => number >= Reason::SourcePortsExhausted as u8,
    };
    let here = Reason::ALL.iter().filter(|reason| **reason != Reason::NoHeadroom && !translated(reason));
    assert_eq!(seen, here.copied().collect::<Vec<_>>(), "a row for every reason");
}

#[test]
fn a_server_is_counted_for_what_is_sent_to_it_and_for_nothing_else() {
    for (tables, frame, expected) in frames() {
        run(&tables, &frame);
        let counters: Vec<_> = tables.server_counters.borrow().values().copied().collect();
        let new = matches!(expected, Reason::Scheduled | Reason::Persistent | Reason::Resumed);
        let one = ServerCounters {
            packets: 1,
            bytes: frame.len() as u64,
            flows: u64::from(new),
            ..ServerCounters::default()
        };
        let expected_counters = if expected.kind() == Kind::Forward { vec![one] } else { vec![] };
        assert_eq!(counters, expected_counters, "{expected:?}");
    }
}

#[test]
fn connections_are_counted_once_for_each_recorded_flow() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 2));
    for port in 1..=10 {
        for frame in [syn(port), syn(port), ack(port), ack(port), segment(port, tcp::FIN | tcp::ACK), ack(port)] {
            server_of(&tables, &frame);
        }
    }
    server_of(&tables, &syn(1));
    let opened: BTreeMap<_, _> = tables.opened.borrow().iter().map(|(id, opened)| (*id, opened.flows)).collect();
    assert_eq!(opened, [(FIRST, 6), (FIRST + 1, 5)].into(), "ten, and the one that was opened again");
}

#[test]
fn the_length_counted_is_that_of_the_frame_as_it_came() {
    let mut scenario = scenario(Scheduler::Maglev, 1);
    (scenario.servers[0].outer_vlan, scenario.servers[0].inner_vlan) = (30, 20);
    let tables = tables(&scenario);
    let frame = [&syn(9)[..], &[0; 11]].concat();

    assert_eq!(run(&tables, &frame).1.len(), frame.len() + 8);

    assert_eq!(tables.verdicts.borrow()[&Reason::Scheduled].bytes, frame.len() as u64);
    assert_eq!(tables.server_counters.borrow()[&FIRST].bytes, frame.len() as u64);
}

#[test]
fn reasons_keep_their_numbers_and_have_names_of_their_own() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert!(Reason::ALL.is_sorted_by_key(|reason| *reason as u8));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        let help = reason.help();
        assert!(help.ends_with('.') && !help.starts_with(' '), "{reason:?}: {help:?}");
        let kind = match *reason as u8 {
            0..16 => Kind::Pass,
            16..40 => Kind::Forward,
            _ => Kind::Drop,
        };
        assert_eq!(reason.kind(), kind, "{reason:?}");
    }
}
