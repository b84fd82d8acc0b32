//! A server that keeps falling has to show for longer each time that it is well.

use std::time::Duration;

use super::tests::{A, Bench, bad, check, good, secs, target};
use super::{Memory, State};
use crate::config::model::HealthCheck;

fn damped() -> HealthCheck {
    HealthCheck { flap_damping: true, ..check() }
}

/// Up, after its first check.
fn up(check: HealthCheck) -> Bench {
    let mut bench = Bench::new(1, vec![target(A, check)]);
    bench.run([good()], Duration::ZERO);
    bench
}

impl Bench {
    /// Two failures in a row take it down.
    fn fall(&mut self) {
        assert_eq!(self.state(A), State::Up);
        self.run([bad(), bad()], Duration::ZERO);
        assert_eq!(self.state(A), State::Down);
    }

    /// Good checks in a row until it is up.
    fn climb(&mut self) -> u32 {
        let mut checks = 0;
        while self.state(A) == State::Down {
            self.run([good()], Duration::ZERO);
            checks += 1;
        }
        checks
    }

    /// So many good checks in a row would bring it up now.
    fn needs(&self) -> u32 {
        self.health.view(A, self.now).expect("a target").rise
    }
}

#[test]
fn the_third_fall_and_each_after_it_doubles_what_it_takes_to_come_up_sixteen_times_at_most() {
    let mut bench = up(damped());
    let begin = bench.now;
    let mut climbs = Vec::new();
    for _ in 0..8 {
        bench.fall();
        assert_eq!(bench.needs(), *[2, 2, 4, 8, 16, 32].get(climbs.len()).unwrap_or(&32));
        climbs.push(bench.climb());
    }
    assert_eq!(climbs, [2, 2, 4, 8, 16, 32, 32, 32]);
    assert!(bench.now - begin < secs(800), "and the first two falls are not forgotten for long");
}

#[test]
fn a_failure_on_the_way_up_begins_the_count_anew_and_is_no_fall() {
    let mut bench = up(damped());
    for _ in 0..2 {
        bench.fall();
        bench.climb();
    }
    bench.fall();
    bench.run([good(), good(), good(), bad(), bad(), bad()], Duration::ZERO);
    assert_eq!((bench.state(A), bench.needs()), (State::Down, 4));
    assert_eq!(bench.climb(), 4);
}

#[test]
fn damping_says_why_it_takes_so_long() {
    let mut bench = up(damped());
    bench.fall();
    bench.run([good()], Duration::ZERO);
    assert_eq!(bench.reason(A), "172.26.11.100:104 answers again (1 check succeeded; it comes up at 2)");
    bench.climb();
    bench.fall();
    bench.climb();
    bench.fall();
    assert_eq!(bench.reason(A), "connection refused by 172.26.11.100:104 (2 checks in a row failed)");
    bench.run([good(), good(), good()], Duration::ZERO);
    assert_eq!(
        bench.reason(A),
        "172.26.11.100:104 answers again (3 checks in a row succeeded; it comes up at 4 and not 2, because it \
         went down 3 times within 10 min)"
    );
    bench.run([good()], Duration::ZERO);
    let last = bench.transitions.last().expect("it is up");
    assert_eq!(last.reason, "172.26.11.100:104 answered in 3 ms (4 checks in a row succeeded); it was down for 16 s");
}

#[test]
fn more_falls_than_are_remembered_are_not_told_as_fewer() {
    let mut bench = up(HealthCheck { interval: secs(1), timeout: secs(1), ..damped() });
    for _ in 0..7 {
        bench.fall();
        bench.climb();
    }
    bench.fall();
    bench.run([good()], Duration::ZERO);
    assert!(
        bench.reason(A).ends_with("it comes up at 32 and not 2, because it went down 6 times or more within 10 min)"),
        "{}",
        bench.reason(A)
    );
}

#[test]
fn a_fall_is_forgiven_after_ten_minutes() {
    let mut bench = up(damped());
    let mut falls = Vec::new();
    for _ in 0..3 {
        bench.fall();
        falls.push(bench.now);
        bench.climb();
    }
    assert_eq!(bench.needs(), 4);
    bench.now = falls[0] + secs(600) - Duration::from_nanos(1);
    assert_eq!(bench.needs(), 4);
    bench.now = falls[0] + secs(600);
    assert_eq!(bench.needs(), 2);
}

#[test]
fn what_is_forgiven_while_it_climbs_counts_at_once() {
    let mut bench = up(damped());
    for _ in 0..2 {
        bench.fall();
        bench.climb();
    }
    let second = bench.now;
    // Up for long, so that the third fall is late.
    while bench.now < second + secs(560) {
        bench.run([good()], Duration::ZERO);
    }
    bench.fall();
    assert_eq!(bench.needs(), 4);
    assert!(bench.climb() < 4, "one fall was forgiven on the way");
}

#[test]
fn without_damping_every_fall_is_the_first() {
    let mut bench = up(check());
    for _ in 0..8 {
        bench.fall();
        assert_eq!(bench.needs(), 2);
        bench.run([good()], Duration::ZERO);
        assert_eq!(bench.reason(A), "172.26.11.100:104 answers again (1 check succeeded; it comes up at 2)");
        assert_eq!(bench.climb(), 1);
    }
}

#[test]
fn going_down_never_takes_longer() {
    let mut bench = up(damped());
    for _ in 0..5 {
        bench.fall();
        bench.climb();
    }
    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up);
    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down);
}

fn remembered(up: bool) -> Bench {
    let memory = Memory { up, since: secs(3600), last_good: Some(secs(7)) };
    let target = super::Target { memory: Some(memory), ..target(A, damped()) };
    Bench::new(1, vec![target])
}

#[test]
fn what_is_remembered_stands_until_as_many_checks_as_ever_say_otherwise() {
    let mut bench = remembered(false);
    assert_eq!(bench.state(A), State::Down);
    assert_eq!(bench.reason(A), "172.26.11.100:104 was down before lbd started");
    bench.run([good()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down);
    bench.run([good()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up);
    assert!(bench.transitions[0].reason.ends_with("it was down for 60 min"), "{}", bench.transitions[0].reason);

    let mut bench = remembered(true);
    assert_eq!(bench.reason(A), "172.26.11.100:104 was up before lbd started");
    let view = bench.health.view(A, bench.now).expect("a target");
    assert_eq!((view.since, view.last_good), (secs(3600), Some(secs(7))));
    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up);
    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down);
    assert_eq!(bench.transitions.len(), 1, "what was so before is no transition");
    assert!(bench.transitions[0].reason.contains("last good"), "{}", bench.transitions[0].reason);

    let mut unknown = Bench::new(1, vec![target(A, damped())]);
    unknown.run([bad()], Duration::ZERO);
    assert_eq!(unknown.state(A), State::Down);
}

#[test]
fn a_memory_counts_only_for_a_target_that_is_new() {
    let mut bench = up(damped());
    let memory = Some(Memory { up: false, since: secs(10), last_good: None });
    bench.configure(vec![super::Target { memory: memory.clone(), ..target(A, damped()) }]);
    assert_eq!(bench.state(A), State::Up);
    bench.configure(vec![super::Target { memory, ..target(A, HealthCheck { rise: 5, ..damped() }) }]);
    assert_eq!(bench.state(A), State::Up);
}

#[test]
fn a_memory_older_than_the_clock_can_tell_is_taken_for_what_it_can() {
    let memory = Memory { up: true, since: Duration::MAX, last_good: Some(Duration::MAX) };
    let bench = Bench::new(1, vec![super::Target { memory: Some(memory), ..target(A, damped()) }]);
    assert_eq!(bench.state(A), State::Up);
}
