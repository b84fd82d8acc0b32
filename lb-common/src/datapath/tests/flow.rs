//! What is remembered of a flow, packet by packet.

use super::*;
use crate::abi::FlowState;

fn maglev(servers: usize) -> MemTables {
    tables(&scenario(Scheduler::Maglev, servers))
}

/// Its servers take turns, so that a flow that is scheduled again goes elsewhere.
fn turns(servers: usize) -> MemTables {
    tables(&scenario(Scheduler::WeightedRoundRobin, servers))
}

fn state(tables: &MemTables, port: u16) -> FlowState {
    FlowState::from_u8(flow(tables, port).expect("a flow in `flows`").state)
}

#[test]
fn a_syn_makes_a_pending_flow() {
    let tables = maglev(3);
    let (server, reason) = sent(&tables, &syn(9));

    assert_eq!(reason, Reason::Scheduled);
    let now = tables.now.get();
    let state = FlowState::Pending as u8;
    let expected =
        Flow { service: SERVICE, server, generation: 1, last_seen: now, created: now, state, ..Flow::default() };
    assert_eq!((pending(&tables, 9), flow(&tables, 9)), (Some(expected), None));
}

#[test]
fn the_answer_of_the_client_establishes_the_flow() {
    let tables = turns(3);
    let server = server_of(&tables, &syn(9));
    let opened = pending(&tables, 9).expect("a pending flow");
    tick(&tables, 2);

    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Pending));

    let expected = Flow { state: FlowState::Established as u8, last_seen: opened.created + 2, ..opened };
    assert_eq!((pending(&tables, 9), flow(&tables, 9)), (None, Some(expected)));
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Established));
}

#[test]
fn a_second_datagram_establishes_a_flow() {
    let tables = turns(3);
    let server = server_of(&tables, &datagram(9));
    assert!(tables.flows.is_empty());

    assert_eq!(sent(&tables, &datagram(9)), (server, Reason::Pending));
    assert_eq!(sent(&tables, &datagram(9)), (server, Reason::Established));
    assert_eq!((tables.flows.len(), tables.pending_flows.len()), (1, 0));
}

#[test]
fn a_repeated_syn_keeps_its_server_and_stays_pending() {
    let tables = turns(3);
    let server = server_of(&tables, &syn(9));
    for _ in 0..5 {
        tick(&tables, 1);
        assert_eq!(sent(&tables, &syn(9)), (server, Reason::Pending));
    }
    let flow = pending(&tables, 9).expect("still pending");
    assert_eq!(flow.last_seen, flow.created + 5);
    assert!(tables.flows.is_empty());
}

#[test]
fn a_syn_with_ack_from_the_client_is_no_answer() {
    let tables = turns(3);
    let server = server_of(&tables, &syn(9));
    assert_eq!(sent(&tables, &segment(9, tcp::SYN | tcp::ACK)), (server, Reason::Pending));
    assert!(tables.flows.is_empty());
}

#[test]
fn fin_and_rst_close_a_flow_that_goes_on_to_its_server() {
    for flags in [tcp::FIN, tcp::FIN | tcp::ACK, tcp::RST, tcp::RST | tcp::ACK] {
        let tables = turns(3);
        let server = establish(&tables, 9);
        assert_eq!(sent(&tables, &segment(9, flags)), (server, Reason::Established));
        assert_eq!(state(&tables, 9), FlowState::Closing);
        assert_eq!(sent(&tables, &ack(9)), (server, Reason::Established));
        assert_eq!(state(&tables, 9), FlowState::Closing, "an ACK does not open it again");
    }
}

#[test]
fn a_pending_flow_that_the_client_closes_is_closing() {
    let tables = turns(3);
    let server = server_of(&tables, &syn(9));
    assert_eq!(sent(&tables, &segment(9, tcp::RST)), (server, Reason::Pending));
    assert_eq!((state(&tables, 9), pending(&tables, 9)), (FlowState::Closing, None));
}

#[test]
fn a_new_syn_on_a_closing_flow_is_scheduled_anew() {
    let tables = turns(3);
    let old = establish(&tables, 9);
    server_of(&tables, &segment(9, tcp::FIN | tcp::ACK));
    tick(&tables, 7);

    let (new, reason) = sent(&tables, &syn(9));

    assert_eq!(reason, Reason::Scheduled);
    assert_ne!(new, old);
    let entry = flow(&tables, 9).expect("the entry is used again");
    assert_eq!((entry.server, entry.state, entry.created), (new, FlowState::Pending as u8, tables.now.get()));
    assert_eq!(sent(&tables, &ack(9)), (new, Reason::Established));
    assert_eq!(state(&tables, 9), FlowState::Established);
}

#[test]
fn a_syn_does_not_open_an_established_flow_again() {
    let tables = turns(3);
    let server = establish(&tables, 9);
    // RFC 9293 §3.10.7.4: the server challenges it; that is not the balancer's to decide.
    assert_eq!(sent(&tables, &syn(9)), (server, Reason::Established));
    assert_eq!(state(&tables, 9), FlowState::Established);
}

#[test]
fn an_established_flow_survives_another_schedule_service_and_time() {
    let mut tables = turns(3);
    let server = establish(&tables, 9);
    let held = |tables: &MemTables| assert_eq!(sent(tables, &ack(9)), (server, Reason::Established));

    tables.schedule.clear();
    held(&tables);
    tables.services.clear();
    tables.service_ports.clear();
    held(&tables);
    tick(&tables, 1_000_000);
    held(&tables);
    drain(&mut tables, server);
    held(&tables);
    tables.settings.new_flows_per_tick = 0;
    held(&tables);
}

#[test]
fn another_generation_cuts_every_flow_at_once() {
    let mut tables = turns(2);
    let ports = 1..=8;
    let servers: Vec<_> = ports.clone().map(|port| establish(&tables, port)).collect();
    let waiting = server_of(&tables, &syn(9));
    assert_eq!(waiting, FIRST, "its turn");

    cut(&mut tables, FIRST);

    for (port, server) in ports.zip(servers) {
        let (now, reason) = sent(&tables, &ack(port));
        assert_eq!(now, FIRST + 1, "port {port}");
        assert_eq!(reason, if server == FIRST { Reason::Resumed } else { Reason::Established }, "port {port}");
    }
    assert_eq!(sent(&tables, &syn(9)), (FIRST + 1, Reason::Scheduled), "the pending flow too");
}

#[test]
fn a_server_that_is_down_cuts_its_flows_even_within_a_generation() {
    let mut tables = turns(2);
    let server = establish(&tables, 9);
    tables.servers.get_mut(&server).expect("the server").state = ServerState::Down as u8;
    assert_ne!(server_of(&tables, &ack(9)), server);
}

#[test]
fn a_flow_that_is_cut_comes_back_under_the_new_generation_only_if_it_is_scheduled_there() {
    let mut tables = turns(1);
    establish(&tables, 9);
    tables.servers.get_mut(&FIRST).expect("the server").generation = 2;

    assert_eq!(sent(&tables, &ack(9)), (FIRST, Reason::Resumed));
    assert_eq!(flow(&tables, 9).expect("the flow").generation, 2);
    assert_eq!(sent(&tables, &ack(9)), (FIRST, Reason::Established));
}

#[test]
fn a_draining_server_keeps_its_flows_and_gets_nobody_new() {
    for scheduler in SCHEDULERS {
        let mut tables = tables(&scenario(scheduler, 3));
        let established: Vec<_> = (1..40).map(|port| (port, establish(&tables, port))).collect();
        let waiting: Vec<_> = (40..60).map(|port| (port, server_of(&tables, &syn(port)))).collect();
        drain(&mut tables, FIRST + 1);
        for (port, server) in established {
            assert_eq!(sent(&tables, &ack(port)), (server, Reason::Established), "{scheduler:?}, port {port}");
        }
        for (port, server) in waiting {
            assert_eq!(sent(&tables, &ack(port)), (server, Reason::Pending), "{scheduler:?}, port {port}");
        }
        for port in 100..160 {
            assert_ne!(server_of(&tables, &syn(port)), FIRST + 1, "{scheduler:?}, port {port}");
        }
    }
}

#[test]
fn a_full_flow_table_forwards_and_is_counted() {
    let mut tables = turns(3);
    tables.flows.capacity = 1;
    establish(&tables, 8);
    let server = server_of(&tables, &syn(9));
    tick(&tables, 3);

    assert_eq!(sent(&tables, &ack(9)), (server, Reason::FlowTableFull));
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::FlowTableFull), "and keeps its server");
    assert_eq!(pending(&tables, 9).expect("it stays pending").last_seen, tables.now.get());

    tables.flows.remove(&key(protocol::TCP, 8));
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Pending), "until there is room");
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Established));
}

#[test]
fn a_segment_of_a_flow_nobody_remembers_is_resumed_by_the_ring() {
    let remembers = maglev(7);
    let forgot = maglev(7);
    for port in 1..100 {
        let server = establish(&remembers, port);
        assert_eq!(sent(&forgot, &ack(port)), (server, Reason::Resumed), "as another unit of a pair would");
        assert_eq!(sent(&forgot, &ack(port)), (server, Reason::Pending), "and remembered from there");
        assert_eq!(sent(&forgot, &ack(port)), (server, Reason::Established));
    }
}

#[test]
fn the_end_of_a_flow_nobody_remembers_leaves_no_record() {
    let tables = maglev(7);
    for flags in [tcp::FIN | tcp::ACK, tcp::RST] {
        let server = server_of(&tables, &segment(9, flags));
        assert_eq!(sent(&tables, &segment(9, flags)), (server, Reason::Resumed));
    }
    assert!(tables.pending_flows.is_empty() && tables.flows.is_empty() && tables.opened.borrow().is_empty());
}

#[test]
fn the_end_of_a_flow_that_was_cut_is_no_record_of_another_server() {
    let mut tables = turns(2);
    let server = establish(&tables, 9);
    let before = flow(&tables, 9);
    cut(&mut tables, server);

    let (other, reason) = sent(&tables, &segment(9, tcp::RST));

    assert_eq!(reason, Reason::Resumed);
    assert_ne!(other, server);
    assert_eq!(flow(&tables, 9), before, "the sweep removes it; nothing was opened");
    assert_eq!(tables.opened.borrow().get(&other), None);
}

#[test]
fn the_time_of_a_flow_is_written_once_in_a_tick() {
    let tables = turns(1);
    establish(&tables, 9);
    tick(&tables, 1);
    server_of(&tables, &ack(9));
    let now = tables.now.get();
    assert_eq!(flow(&tables, 9).expect("the flow").last_seen, now);

    let writes = tables.flows.updates();
    for _ in 0..100 {
        server_of(&tables, &ack(9));
    }
    assert_eq!(tables.flows.updates(), writes, "100 packets in one tick");
    tick(&tables, 1);
    for _ in 0..100 {
        server_of(&tables, &ack(9));
    }
    assert_eq!(tables.flows.updates(), writes + 1, "100 packets in the next");
    assert_eq!(flow(&tables, 9).expect("the flow").last_seen, now + 1);
}

#[test]
fn tcp_and_udp_of_the_same_ports_are_two_flows() {
    let tables = turns(3);
    let tcp = establish(&tables, 9);
    let udp = server_of(&tables, &datagram(9));
    assert_ne!(tcp, udp, "the turn of the next");
    assert_eq!(sent(&tables, &ack(9)), (tcp, Reason::Established));
    assert_eq!(sent(&tables, &datagram(9)), (udp, Reason::Pending));
}

const SCHEDULERS: [Scheduler; 4] =
    [Scheduler::WeightedLeastConnection, Scheduler::WeightedRoundRobin, Scheduler::SourceHash, Scheduler::Maglev];
