//! What would become of a frame: told without a trace, and what becomes of it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::properties::{mutated, world};
use super::*;
use crate::abi::{Admission, Considered, Explanation, Role};
use crate::testing::explain;

fn explained(tables: &MemTables, frame: &[u8]) -> Explanation {
    explain(tables, frame, DEVICE).1
}

/// All tables. An account that nobody has used is as good as none.
fn everything(tables: &MemTables) -> String {
    tables.admission.borrow_mut().retain(|_, account| *account != Admission::default());
    format!("{tables:?}")
}

fn with_role(explanation: &Explanation, role: Role) -> Vec<Considered> {
    explanation.servers().iter().filter(|server| Role::from_u8(server.role) == role).copied().collect()
}

proptest! {
    #[test]
    fn what_is_explained_is_what_happens_next_and_nothing_is_touched(
        frames in vec((mutated(), 0..3_u32), 1..80),
        limit in prop_oneof![Just(u32::MAX), Just(2)],
    ) {
        let mut tables = world();
        tables.settings.new_flows_per_tick = limit;
        for (frame, ticks) in frames {
            tick(&tables, ticks);
            let before = everything(&tables);
            let (verdict, explanation) = explain(&tables, &frame, DEVICE);
            prop_assert_eq!(before, everything(&tables));

            let sent = |tables: &MemTables| -> Vec<(ServerId, u64)> {
                tables.server_counters.borrow().iter().map(|(id, of)| (*id, of.packets)).collect()
            };
            let counted = sent(&tables);
            prop_assert_eq!(verdict, run(&tables, &frame).0);
            prop_assert_eq!(explanation.reason, verdict.reason as u32);
            let changed: Vec<ServerId> =
                sent(&tables).into_iter().filter(|of| !counted.contains(of)).map(|(id, _)| id).collect();
            let told = explanation.has(Explanation::DELIVERED).then_some(explanation.server);
            prop_assert_eq!(told, changed.first().copied());
            prop_assert!(changed.len() <= 1);
        }
    }
}

#[test]
fn a_turn_is_told_and_not_taken() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 3));
    for port in 1..=7 {
        let told = explained(&tables, &syn(port));
        assert!(told.has(Explanation::TURN | Explanation::PLACED));
        assert_eq!(told, explained(&tables, &syn(port)), "asked again");
        assert_eq!(told.server, server_of(&tables, &syn(port)), "port {port}");
    }
}

#[test]
fn everybody_who_was_compared_is_named_with_connections_and_state() {
    let mut tables = tables(&scenario(Scheduler::WeightedLeastConnection, 4));
    drain(&mut tables, FIRST + 1);
    cut(&mut tables, FIRST + 2);
    tables.opened.borrow_mut().entry(FIRST).or_default().flows = 5;
    tables.servers.get_mut(&FIRST).expect("a server").max_connections = 5;
    tables.opened.borrow_mut().entry(FIRST + 3).or_default().flows = 7;
    let told = explained(&tables, &syn(1));
    let seen: Vec<_> = with_role(&told, Role::Candidate)
        .iter()
        .map(|of| (of.server, ServerState::from_u8(of.state), of.connections, of.full))
        .collect();
    let expected = [
        (FIRST, ServerState::Active, 5, 1),
        (FIRST + 1, ServerState::Draining, 0, 0),
        (FIRST + 2, ServerState::Down, 0, 0),
        (FIRST + 3, ServerState::Active, 7, 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(told.server, FIRST + 3);
    assert!(!tables.opened.borrow().values().any(|of| of.full != 0), "full is told, not remembered");
}

#[test]
fn a_flow_is_told_with_its_server_as_it_is_now() {
    let mut tables = tables(&scenario(Scheduler::Maglev, 3));
    let server = server_of(&tables, &syn(1));
    let told = explained(&tables, &ack(1));
    assert!(told.has(Explanation::PENDING_FLOW) && !told.has(Explanation::PLACED));
    establish(&tables, 2);
    tick(&tables, 40);
    let told = explained(&tables, &ack(2));
    assert!(told.has(Explanation::FLOW) && !told.has(Explanation::PENDING_FLOW));
    assert_eq!(told.now - told.flow.last_seen, 40);

    cut(&mut tables, server);
    let told = explained(&tables, &ack(1));
    let [of] = with_role(&told, Role::Flow)[..] else { panic!("one server of the flow") };
    assert_eq!((of.server, of.generation), (server, told.flow.generation + 1));
    assert!(told.has(Explanation::PLACED), "a void flow is placed anew");
    assert_ne!(told.server, server);
}

#[test]
fn a_record_is_told_with_its_age_whether_it_was_confirmed_or_not() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 3).persistent(300));
    let server = server_of(&tables, &syn(1));
    let told = explained(&tables, &syn(2));
    assert!(told.has(Explanation::NEW_CLIENT) && !told.has(Explanation::CONFIRMED));
    assert_eq!((told.new_client.server, told.server), (server, server));
    assert!(!told.has(Explanation::TURN), "nobody is asked whose turn it is");

    assert_eq!(server_of(&tables, &ack(1)), server);
    tick(&tables, 41);
    let told = explained(&tables, &syn(2));
    assert!(told.has(Explanation::CONFIRMED) && !told.has(Explanation::NEW_CLIENT));
    assert_eq!((told.confirmed.server, told.now - told.confirmed.last_used), (server, 41));
    assert_eq!(told.reason, Reason::Persistent as u32);
}

#[test]
fn who_comes_in_a_flood_is_told_that_it_is_not_remembered() {
    let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 3));
    tables.settings.new_flows_per_tick = 1;
    for asked in 0..3 {
        let told = explained(&tables, &syn(1));
        assert_eq!(told.reason, Reason::Scheduled as u32, "being explained takes no place, {asked}");
    }
    server_of(&tables, &syn(1));
    let told = explained(&tables, &syn(2));
    assert_eq!(told.reason, Reason::Untracked as u32);
}
