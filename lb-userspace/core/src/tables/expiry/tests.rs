use std::time::Duration;

use lb_common::abi::{Flow, FlowKey, FlowState, Persistence, PersistenceKey, ServerId, ServerState, Ticks};
use proptest::prelude::*;

use super::{Reason, TickTimeouts, Verdict, elapsed, flow_verdict, persistence_verdict, ticks};
use crate::config::model::FlowTimeouts;

const TIMEOUTS: TickTimeouts = TickTimeouts { established: 7200, half_closed: 120, closing: 30, pending: 20, udp: 180 };

/// Server 1 is active, 2 drains, 3 is down; all of generation 5.
fn servers(id: ServerId) -> Option<(u32, ServerState)> {
    let state = match id {
        1 => ServerState::Active,
        2 => ServerState::Draining,
        3 => ServerState::Down,
        _ => return None,
    };
    Some((5, state))
}

fn flow(server: ServerId, generation: u32) -> Verdict {
    let flow = Flow { server, generation, ..Flow::default() };
    flow_verdict(&FlowKey::default(), &flow, &servers, 0, &TIMEOUTS)
}

#[test]
fn flows_go_with_their_server_and_stay_while_it_drains() {
    assert_eq!([flow(1, 5), flow(2, 5)], [Verdict::Keep; 2]);
    let gone = [flow(3, 5), flow(4, 5), flow(1, 4), flow(2, 6)];
    assert_eq!(gone, [Verdict::Remove(Reason::ServerGone); 4]);
}

#[test]
fn each_state_has_its_timeout() {
    use FlowState::{Closing, Established, Pending};
    let cases = [
        (6, Pending, 20),
        (6, Established, 7200),
        (6, Closing, 30),
        (17, Pending, 20),
        (17, Established, 180),
        (17, Closing, 180),
    ];
    for (protocol, state, timeout) in cases {
        let key = FlowKey { protocol, ..FlowKey::default() };
        let flow = Flow { server: 1, generation: 5, state: state as u8, last_seen: u32::MAX - 10, ..Flow::default() };
        let verdict = |idle: Ticks| flow_verdict(&key, &flow, &servers, flow.last_seen.wrapping_add(idle), &TIMEOUTS);

        assert_eq!(verdict(timeout), Verdict::Keep, "{protocol} {state:?}");
        assert_eq!(verdict(timeout + 1), Verdict::Remove(Reason::Idle), "{protocol} {state:?}");
    }
}

#[test]
fn persistence_goes_with_its_service_its_server_or_its_time() {
    let verdict = |service, server, generation, now| {
        let key = PersistenceKey { service, ..PersistenceKey::default() };
        let record = Persistence { server, generation, last_used: 100, created: 0 };
        persistence_verdict(&key, &record, &servers, now, &|service| if service == 1 { 300 } else { 0 })
    };
    assert_eq!([verdict(1, 1, 5, 400), verdict(1, 2, 5, 400)], [Verdict::Keep; 2]);
    assert_eq!(verdict(1, 1, 5, 401), Verdict::Remove(Reason::Idle));
    assert_eq!(verdict(1, 3, 5, 100), Verdict::Remove(Reason::ServerGone));
    assert_eq!(verdict(1, 1, 4, 100), Verdict::Remove(Reason::ServerGone));
    assert_eq!(verdict(2, 1, 5, 100), Verdict::Remove(Reason::NoPersistence));
}

#[test]
fn a_record_written_after_the_clock_was_read_is_fresh() {
    assert_eq!(elapsed(101, 100), 0);
    assert_eq!(elapsed(0, u32::MAX), 0, "over the wrap");
    assert_eq!(elapsed(u32::MAX, 1), 2, "over the wrap");
}

#[test]
fn durations_become_whole_ticks_rounded_up() {
    let tick = Duration::from_millis(1024);
    let cases = [(0, 1), (1, 1), (1024, 1), (1025, 2), (7_200_000, 7032)];
    for (milliseconds, expected) in cases {
        assert_eq!(ticks(Duration::from_millis(milliseconds), tick), expected);
    }
    assert_eq!(ticks(Duration::MAX, tick), u32::MAX / 2);
    assert_eq!(ticks(Duration::from_nanos(3), Duration::ZERO), 3, "a tick is never nothing");
    let timeouts = TickTimeouts::from(&FlowTimeouts::default(), Duration::from_secs(1));
    assert_eq!(timeouts, TickTimeouts { established: 7200, half_closed: 120, closing: 10, pending: 30, udp: 180 });
}

proptest! {
    #[test]
    fn time_moves_on_whatever_the_counter_shows(then: Ticks, idle in 0..=u32::MAX / 2) {
        prop_assert_eq!(elapsed(then, then.wrapping_add(idle)), idle);
    }
}
