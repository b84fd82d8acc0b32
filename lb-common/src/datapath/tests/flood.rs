//! More new flows than one CPU records within a tick.

use super::*;

const LIMIT: u32 = 10;

fn flooded(scenario: &Scenario) -> MemTables {
    let mut tables = tables(scenario);
    tables.settings.new_flows_per_tick = LIMIT;
    for host in 0..LIMIT {
        let frame = segment_from(&format!("10.6.0.{host}"), 9, tcp::SYN);
        assert_eq!(reason(&tables, &frame), Reason::Scheduled);
    }
    tables
}

#[test]
fn beyond_the_limit_nothing_is_recorded() {
    for persistence in [0, 300] {
        let tables = flooded(&scenario(Scheduler::WeightedRoundRobin, 4).persistent(persistence));
        let opened = tables.opened.borrow().clone();
        let (flows, clients) = (tables.pending_flows.all(), tables.new_clients.all());
        for host in 1..100_u8 {
            let frame = segment_from(&format!("10.8.0.{host}"), 9, tcp::SYN);
            assert_eq!(sent(&tables, &frame).1, Reason::Untracked);
        }
        assert_eq!((tables.pending_flows.all(), tables.new_clients.all()), (flows, clients));
        assert_eq!(*tables.opened.borrow(), opened);
        assert!(tables.flows.is_empty() && tables.persistence.is_empty());
        let new: u64 = tables.server_counters.borrow().values().map(|counters| counters.flows).sum();
        assert_eq!(new, u64::from(LIMIT), "untracked flows are no new flows of a server");
    }
}

#[test]
fn every_packet_of_an_untracked_flow_goes_to_one_server() {
    for scheduler in [Scheduler::WeightedLeastConnection, Scheduler::WeightedRoundRobin, Scheduler::Maglev] {
        let tables = flooded(&scenario(scheduler, 7));
        for port in 1..200 {
            let server = server_of(&tables, &syn(port));
            for frame in [ack(port), ack(port), syn(port)] {
                assert_eq!(sent(&tables, &frame), (server, Reason::Untracked), "{scheduler:?}, port {port}");
            }
            assert_eq!(sent(&tables, &segment(port, tcp::RST)), (server, Reason::Resumed), "{scheduler:?}");
            let udp = server_of(&tables, &datagram(port));
            assert_eq!(sent(&tables, &datagram(port)), (udp, Reason::Untracked), "{scheduler:?}");
        }
    }
}

#[test]
fn an_untracked_connection_is_recorded_where_it_went_once_the_flood_is_over() {
    let tables = flooded(&scenario(Scheduler::WeightedRoundRobin, 7));
    let server = server_of(&tables, &syn(9));
    tick(&tables, 1);
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Resumed));
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Pending));
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Established));
}

#[test]
fn the_next_tick_admits_again() {
    let tables = flooded(&scenario(Scheduler::WeightedRoundRobin, 4));
    assert_eq!(reason(&tables, &syn(1)), Reason::Untracked);
    tick(&tables, 1);
    for port in 100..110 {
        assert_eq!(reason(&tables, &syn(port)), Reason::Scheduled);
    }
    assert_eq!(reason(&tables, &syn(110)), Reason::Untracked);
}

#[test]
fn known_flows_are_untouched_by_a_flood() {
    let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 4));
    let server = establish(&tables, 9);
    let waiting = server_of(&tables, &syn(10));
    tables.settings.new_flows_per_tick = 0;
    assert_eq!(reason(&tables, &syn(11)), Reason::Untracked);
    assert_eq!(sent(&tables, &ack(9)), (server, Reason::Established));
    assert_eq!(sent(&tables, &ack(10)), (waiting, Reason::Pending));
    assert_eq!(sent(&tables, &ack(10)), (waiting, Reason::Established));
}

#[test]
fn a_flow_that_was_cut_is_not_recorded_in_a_flood_either() {
    let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 4));
    let server = establish(&tables, 9);
    let before = flow(&tables, 9);
    cut(&mut tables, server);
    tables.settings.new_flows_per_tick = 0;

    let (other, reason) = sent(&tables, &ack(9));

    assert_eq!(reason, Reason::Untracked);
    assert_ne!(other, server);
    assert_eq!(sent(&tables, &ack(9)), (other, Reason::Untracked));
    assert_eq!(flow(&tables, 9), before);
}

#[test]
fn persistent_clients_keep_their_server_in_a_flood() {
    let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 4).persistent(300));
    let server = establish(&tables, 9);
    tables.settings.new_flows_per_tick = 0;
    for port in 100..120 {
        assert_eq!(sent(&tables, &syn(port)), (server, Reason::Untracked));
    }
}

#[test]
fn a_flood_of_fin_and_rst_uses_up_nothing() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 4));
    for port in 1..100 {
        assert_eq!(reason(&tables, &segment(port, tcp::RST)), Reason::Resumed);
    }
    assert_eq!(tables.admission.borrow().values().map(|account| account.flows).sum::<u32>(), 0);
}
