//! What is kept of past probes, and how late they started.

use std::time::Duration;

use super::tests::{A, Bench, bad, check, good, secs, target};
use super::{HISTORY, TargetId};
use crate::config::model::HealthCheck;

#[test]
fn the_last_probes_are_kept_the_latest_first() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    assert!(bench.health.view(A, bench.now).expect("a target").history.is_empty());
    bench.run([good(), bad(), good()], Duration::from_millis(30));
    let history = bench.health.view(A, bench.now).expect("a target").history;
    assert_eq!(history.iter().map(|sample| sample.good).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(history.iter().map(|sample| sample.ago).collect::<Vec<_>>(), [secs(0), secs(4), secs(8)]);
    assert!(history.iter().all(|sample| sample.took == Duration::from_millis(30)));
}

#[test]
fn no_more_of_them_are_kept_than_are_promised() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    for number in 0..100 {
        bench.run([if number == 84 { bad() } else { good() }], Duration::ZERO);
        let history = bench.health.view(A, bench.now).expect("a target").history;
        assert_eq!(history.len(), HISTORY.min(number + 1));
        assert!(history.windows(2).all(|pair| pair[0].ago < pair[1].ago));
    }
    let history = bench.health.view(A, bench.now).expect("a target").history;
    assert_eq!(HISTORY, 16);
    assert_eq!(history.iter().position(|sample| !sample.good), Some(15), "the oldest that is kept");
}

#[test]
fn a_probe_that_timed_out_took_as_long_as_it_may() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    bench.next_probe();
    bench.wake();
    let history = bench.health.view(A, bench.now).expect("a target").history;
    assert_eq!((history[0].good, history[0].took), (false, secs(2)));
}

#[test]
fn another_check_leaves_the_history_and_another_address_does_not() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    bench.run([good(), bad()], Duration::ZERO);
    bench.configure(vec![target(A, HealthCheck { port: Some(105), ..check() })]);
    assert_eq!(bench.health.view(A, bench.now).expect("a target").history.len(), 2);
    let moved = super::Target { address: [172, 26, 11, 101].into(), ..target(A, check()) };
    bench.configure(vec![moved]);
    assert!(bench.health.view(A, bench.now).expect("a target").history.is_empty());
}

#[test]
fn the_latest_start_is_how_long_a_probe_has_waited_in_line() {
    let slow = HealthCheck { interval: secs(10), timeout: secs(2), ..check() };
    let mut bench = Bench::new(1, (0..3).map(|n| target(TargetId(n), slow.clone())).collect());
    assert_eq!(bench.health.latest_start(), Duration::ZERO);
    let mut started = Vec::new();
    let begin = bench.now;
    // Nobody answers, so each holds the only place for two seconds.
    while started.len() < 3 {
        bench.wake();
        started.extend(bench.drain().into_iter().map(|_| bench.now - begin));
    }
    // All three were due within the first few milliseconds.
    let waited = bench.health.latest_start();
    assert!(waited <= started[2] && started[2] - waited < Duration::from_millis(10), "{waited:?}, {started:?}");
    assert!(waited > Duration::from_millis(3990), "{waited:?}");

    for _ in 0..30 {
        bench.next_probe();
    }
    assert!(bench.health.latest_start() >= waited, "the latest ever");
}

#[test]
fn probes_within_the_limit_start_in_time() {
    let mut bench = Bench::new(256, (0..256).map(|n| target(TargetId(n), check())).collect());
    while bench.health.under_way() < 256 {
        bench.wake();
        bench.drain();
    }
    assert_eq!(bench.health.latest_start(), Duration::ZERO);

    let mut crowd = Bench::new(256, (0..257).map(|n| target(TargetId(n), check())).collect());
    let begin = crowd.now;
    while crowd.now < begin + secs(3) {
        crowd.wake();
        crowd.drain();
        assert!(crowd.health.under_way() <= 256);
    }
    assert!(crowd.health.latest_start() > secs(1), "{:?}", crowd.health.latest_start());
}

#[test]
fn a_target_that_leaves_the_line_has_not_waited() {
    let mut bench = Bench::new(1, (0..2).map(|n| target(TargetId(n), check())).collect());
    let (first, _) = bench.next_probe();
    bench.wake();
    let other = TargetId(1 - first.0);
    bench.configure(vec![target(first, check())]);
    bench.run([bad(), bad()], Duration::ZERO);
    assert_eq!(bench.health.view(other, bench.now), None);
    assert_eq!(bench.health.latest_start(), Duration::ZERO);
}
