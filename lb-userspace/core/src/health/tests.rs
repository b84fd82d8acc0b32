use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Action, Detail, Endpoint, Failure, Health, Input, Outcome, State, Target, TargetId, Transition};
use crate::config::model::{HealthCheck, Probe};

pub(super) const A: TargetId = TargetId(1);
const B: TargetId = TargetId(2);

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Connect,
        port: Some(104),
        interval: secs(4),
        timeout: secs(2),
        rise: 2,
        fall: 2,
        flap_damping: false,
        proxy_protocol: None,
    }
}

pub(super) fn target(id: TargetId, check: HealthCheck) -> Target {
    Target { id, address: IpAddr::from([172, 26, 11, 100]), check, subject: None, memory: None }
}

/// The machine with a clock in the test's hand.
pub(super) struct Bench {
    pub(super) health: Health,
    pub(super) now: Instant,
    pub(super) transitions: Vec<Transition>,
    cancelled: Vec<(TargetId, u32)>,
}

impl Bench {
    pub(super) fn new(limit: usize, targets: Vec<Target>) -> Self {
        let mut bench = Self {
            health: Health::with_limit(7, limit),
            now: Instant::now(),
            transitions: Vec::new(),
            cancelled: Vec::new(),
        };
        bench.configure(targets);
        bench
    }

    pub(super) fn configure(&mut self, targets: Vec<Target>) {
        self.health.handle(Input::Configure(targets), self.now);
    }

    pub(super) fn outcome(&mut self, (id, generation): (TargetId, u32), outcome: Outcome) {
        self.health.handle(Input::Outcome { id, generation, outcome }, self.now);
    }

    /// Moves on to the next deadline.
    pub(super) fn wake(&mut self) {
        self.now = self.health.next_deadline().expect("there is a deadline");
        self.health.handle_timeout(self.now);
    }

    pub(super) fn drain(&mut self) -> Vec<(TargetId, u32)> {
        let mut probes = Vec::new();
        while let Some(action) = self.health.poll_action() {
            match action {
                Action::Probe { id, generation, .. } => probes.push((id, generation)),
                Action::Cancel { id, generation } => self.cancelled.push((id, generation)),
                Action::Transition(transition) => self.transitions.push(transition),
            }
        }
        probes
    }

    /// Moves on until a probe starts, and gives it.
    pub(super) fn next_probe(&mut self) -> (TargetId, u32) {
        loop {
            if let Some(probe) = self.drain().first() {
                return *probe;
            }
            self.wake();
        }
    }

    /// Lets the next probes of the only target end so, `after` their start.
    pub(super) fn run(&mut self, outcomes: impl IntoIterator<Item = Outcome>, after: Duration) {
        for outcome in outcomes {
            let probe = self.next_probe();
            self.now += after;
            self.outcome(probe, outcome);
        }
        self.drain();
    }

    pub(super) fn state(&self, id: TargetId) -> State {
        self.health.view(id, self.now).expect("a target").state
    }

    pub(super) fn reason(&self, id: TargetId) -> String {
        self.health.view(id, self.now).expect("a target").reason
    }
}

pub(super) fn good() -> Outcome {
    Outcome::Success { latency: Duration::from_millis(3) }
}

pub(super) fn bad() -> Outcome {
    Outcome::Failure(Failure::Refused)
}

#[test]
fn the_first_outcome_decides_at_once() {
    for (outcome, state, reason) in [
        (good(), State::Up, "172.26.11.100:104 answered in 3 ms (1 check succeeded)"),
        (bad(), State::Down, "connection refused by 172.26.11.100:104 (1 check failed); never good so far"),
    ] {
        let mut bench = Bench::new(1, vec![target(A, check())]);
        assert_eq!(bench.state(A), State::Checking);

        bench.run([outcome], Duration::ZERO);

        assert_eq!(bench.state(A), state);
        let expected = Transition { id: A, from: State::Checking, to: state, reason: reason.to_owned() };
        assert_eq!(bench.transitions, [expected]);
    }
}

#[test]
fn fall_failures_in_a_row_take_it_down_and_rise_successes_bring_it_up() {
    let mut bench = Bench::new(1, vec![target(A, HealthCheck { rise: 3, fall: 2, ..check() })]);
    bench.run([good(), bad(), good(), bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up, "two failures, but not in a row");
    assert_eq!(bench.reason(A), "connection refused by 172.26.11.100:104 (1 check failed; it goes down at 2)");

    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down);
    assert_eq!(bench.reason(A), "connection refused by 172.26.11.100:104 (2 checks in a row failed)");

    bench.run([good(), good(), bad(), good(), good()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down, "never three successes in a row");
    assert_eq!(bench.reason(A), "172.26.11.100:104 answers again (2 checks in a row succeeded; it comes up at 3)");

    bench.run([good()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up);
    let reasons: Vec<_> = bench.transitions.iter().map(|transition| transition.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "172.26.11.100:104 answered in 3 ms (1 check succeeded)",
            "connection refused by 172.26.11.100:104 (2 checks in a row failed); last good 8 s ago",
            "172.26.11.100:104 answered in 3 ms (3 checks in a row succeeded); it was down for 24 s",
        ]
    );
}

#[test]
fn a_probe_without_an_answer_times_out_and_is_cancelled() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    let probe = bench.next_probe();
    let started = bench.now;

    bench.wake();

    assert_eq!(bench.now, started + secs(2));
    assert_eq!(bench.drain(), []);
    assert_eq!(bench.cancelled, [probe]);
    assert_eq!(bench.state(A), State::Down);
    assert_eq!(bench.reason(A), "no answer from 172.26.11.100:104 within 2 s (1 check failed)");

    bench.outcome(probe, good());
    assert_eq!(bench.state(A), State::Down, "the late outcome is of an old probe");
    bench.next_probe();
    assert_eq!(bench.now, started + secs(4), "the interval is from start to start");
}

#[test]
fn a_late_outcome_is_not_taken_for_that_of_the_next_probe() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    let late = bench.next_probe();
    bench.wake();
    let probe = bench.next_probe();
    assert_ne!(late, probe);

    bench.outcome(late, good());
    bench.outcome(late, good());

    assert_eq!(bench.state(A), State::Down);
    bench.outcome(probe, bad());
    assert_eq!(bench.reason(A), "connection refused by 172.26.11.100:104 (2 checks in a row failed)");
}

#[test]
fn what_counts_is_how_long_the_server_took_and_not_when_the_outcome_was_looked_at() {
    for (latency, state) in [(secs(2), State::Up), (secs(2) + Duration::from_nanos(1), State::Down)] {
        let mut bench = Bench::new(1, vec![target(A, check())]);
        bench.run([Outcome::Success { latency }], secs(3));
        assert_eq!(bench.state(A), state);
    }
}

#[test]
fn a_probe_longer_than_the_interval_is_followed_at_once() {
    let mut bench = Bench::new(1, vec![target(A, HealthCheck { interval: secs(1), timeout: secs(5), ..check() })]);
    let probe = bench.next_probe();
    bench.now += secs(3);
    bench.outcome(probe, good());
    let ended = bench.now;

    bench.next_probe();

    assert_eq!(bench.now, ended);
}

#[test]
fn without_a_check_a_real_server_is_up_and_never_probed() {
    let none = HealthCheck { probe: Probe::None, port: None, ..check() };
    let mut bench = Bench::new(1, vec![target(A, none.clone())]);
    assert_eq!(bench.drain(), []);
    assert_eq!(bench.state(A), State::Up);
    assert_eq!(bench.transitions.len(), 1);
    assert_eq!(bench.health.next_deadline(), None);

    bench.configure(vec![target(A, check())]);
    assert_eq!(bench.state(A), State::Up, "until the check has spoken");
    bench.run([bad(), bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down);

    bench.configure(vec![target(A, none)]);
    assert_eq!(bench.state(A), State::Up);
    assert_eq!(bench.health.next_deadline(), None);
    assert_eq!(bench.reason(A), "no health check is configured, so the real server counts as up");
}

#[test]
fn an_unchanged_target_keeps_its_probe_its_counts_and_its_schedule() {
    let mut bench = Bench::new(8, vec![target(A, check())]);
    bench.run([good(), bad()], Duration::ZERO);
    let deadline = bench.health.next_deadline();
    bench.configure(vec![target(A, check()), target(B, HealthCheck { interval: secs(600), ..check() })]);
    assert_eq!(bench.state(B), State::Checking);
    bench.configure(vec![target(A, check())]);
    assert_eq!(bench.health.next_deadline(), deadline);

    let probe = bench.next_probe();
    bench.configure(vec![target(A, check())]);
    assert_eq!(bench.cancelled, []);
    bench.outcome(probe, bad());
    assert_eq!(bench.state(A), State::Down, "the failure from before the reload counts");
}

#[test]
fn a_changed_check_keeps_the_state_until_it_has_spoken() {
    let mut bench = Bench::new(8, vec![target(A, check())]);
    bench.run([good(), good()], Duration::ZERO);
    let old = bench.next_probe();

    bench.configure(vec![target(A, HealthCheck { port: Some(105), fall: 5, ..check() })]);

    assert_eq!(bench.drain(), []);
    assert_eq!(bench.cancelled, [old]);
    assert_eq!(bench.state(A), State::Up);
    assert_eq!(bench.reason(A), "the health check of 172.26.11.100:105 has changed, and the new one has not ended yet");
    bench.outcome(old, bad());
    assert_eq!(bench.state(A), State::Up, "the old check has nothing to say any more");
    bench.run([bad(), bad(), bad(), bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up, "one that was up is not cut by a single check, new or not");
    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Down);

    bench.configure(vec![target(A, HealthCheck { port: Some(106), rise: 5, ..check() })]);
    bench.run([good()], Duration::ZERO);
    assert_eq!(bench.state(A), State::Up, "a wrong check that was set right brings a server up at once");
}

#[test]
fn a_new_address_is_checking_again() {
    let mut bench = Bench::new(8, vec![target(A, check())]);
    bench.run([good()], Duration::ZERO);
    bench.transitions.clear();

    bench.configure(vec![Target { address: IpAddr::from([172, 26, 11, 103]), ..target(A, check()) }]);

    bench.drain();
    assert_eq!(
        bench.transitions,
        [Transition {
            id: A,
            from: State::Up,
            to: State::Checking,
            reason: "the address has changed from 172.26.11.100 to 172.26.11.103".to_owned()
        }]
    );
    assert_eq!(bench.health.view(A, bench.now).expect("a target").last_good, None);
}

#[test]
fn a_target_that_leaves_takes_its_probe_along() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    let probe = bench.next_probe();

    bench.configure(vec![]);

    assert_eq!(bench.drain(), []);
    assert_eq!(bench.cancelled, [probe]);
    assert_eq!(bench.health.next_deadline(), None);
    assert_eq!(bench.health.view(A, bench.now), None);
    bench.configure(vec![target(A, check())]);
    bench.outcome(probe, good());
    assert_eq!(bench.state(A), State::Checking, "its old probe says nothing of the new target");
}

#[test]
fn probes_beyond_the_limit_wait_in_line_and_a_stuck_one_delays_nobody_for_ever() {
    let targets: Vec<_> = (0..6).map(|n| target(TargetId(n), check())).collect();
    let mut bench = Bench::new(2, targets);
    let mut started = Vec::new();
    let until = bench.now + secs(20);

    // Nobody ever answers: each probe holds its place for its whole timeout.
    while bench.now < until {
        bench.wake();
        started.extend(bench.drain().into_iter().map(|(id, _)| id));
    }

    let (first, second) = (&started[..6], &started[6..12]);
    let mut all = first.to_vec();
    all.sort_unstable();
    assert_eq!(all, (0..6).map(TargetId).collect::<Vec<_>>(), "everyone had a turn before anyone had two");
    assert_eq!(first, second, "and the turns go round in the same order");
}

#[test]
fn two_thousand_targets_do_not_start_together_and_each_keeps_its_interval() {
    let targets: Vec<_> = (0..2000).map(|n| target(TargetId(n), check())).collect();
    let mut bench = Bench::new(256, targets);
    let begin = bench.now;
    let mut starts: BTreeMap<TargetId, Vec<Duration>> = BTreeMap::new();
    let mut per_tick: BTreeMap<u128, u32> = BTreeMap::new();

    while bench.now < begin + secs(60) {
        bench.wake();
        let elapsed = bench.now - begin;
        for probe in bench.drain() {
            starts.entry(probe.0).or_default().push(elapsed);
            *per_tick.entry(elapsed.as_millis() / 10).or_default() += 1;
            bench.outcome(probe, good());
        }
    }

    assert_eq!(starts.len(), 2000);
    assert!(starts.values().all(|times| times[0] < secs(4) && times.len() >= 14));
    assert!(starts.values().flat_map(|times| times.windows(2)).all(|pair| pair[1] - pair[0] == secs(4)));
    let most = per_tick.values().max().copied().expect("probes ran");
    assert!(most <= 25, "{most} probes started within 10 ms; evenly spread it would be 5");
}

#[test]
fn few_targets_are_checked_without_delay() {
    let slow = HealthCheck { interval: secs(3600), ..check() };
    let mut bench = Bench::new(256, (0..10).map(|n| target(TargetId(n), slow.clone())).collect());
    let begin = bench.now;
    for _ in 0..10 {
        bench.next_probe();
    }
    assert!(bench.now - begin < Duration::from_millis(20));
}

#[test]
fn of_two_targets_with_one_id_the_later_counts() {
    let mut bench = Bench::new(1, vec![target(A, check()), target(A, HealthCheck { port: Some(105), ..check() })]);
    bench.run([bad()], Duration::ZERO);
    assert_eq!(bench.reason(A), "connection refused by 172.26.11.100:105 (1 check failed)");
    assert_eq!(bench.transitions.len(), 1);
}

#[test]
fn the_view_tells_ages() {
    let mut bench = Bench::new(1, vec![target(A, check())]);
    bench.run([good()], Duration::ZERO);
    bench.now += secs(3);
    let view = bench.health.view(A, bench.now).expect("a target");
    assert_eq!(view.since, secs(3));
    assert_eq!(view.last_good, Some(secs(3)));
    assert_eq!(view.last_latency, Some(Duration::from_millis(3)));
    assert_eq!(view.reason, "172.26.11.100:104 answered in 3 ms");
}

#[test]
fn each_failure_is_a_sentence() {
    let detail = |text: &str| Detail::new(text);
    let cases = [
        (Failure::Refused, "connection refused by the real server"),
        (Failure::Timeout { after: Duration::from_millis(2500) }, "no answer from the real server within 2500 ms"),
        (Failure::Unreachable(detail("no route to host")), "the real server cannot be reached: no route to host"),
        (Failure::Reset, "connection reset by the real server"),
        (Failure::ClosedEarly { before: "it answered" }, "the real server closed the connection before it answered"),
        (
            Failure::DicomRejected { transient: false, reason: detail("called AE title not recognized") },
            "the real server rejected the DICOM association: called AE title not recognized",
        ),
        (
            Failure::DicomRejected { transient: true, reason: detail("temporary congestion") },
            "the real server rejected the DICOM association for now: temporary congestion",
        ),
        (Failure::DicomAborted(detail("no reason")), "the real server aborted the DICOM association: no reason"),
        (
            Failure::DicomVerificationRefused(detail("abstract syntax not supported")),
            "the real server does not take DICOM verification (C-ECHO): abstract syntax not supported",
        ),
        (
            Failure::DicomStatus(0x0122),
            "the real server answered the C-ECHO with status 0x0122 (SOP class not supported)",
        ),
        (Failure::BadAnswer(detail("junk")), "the real server gave an answer that cannot be understood: junk"),
        (Failure::NoPrivilege("CAP_NET_RAW"), "the real server was not checked: the daemon needs CAP_NET_RAW"),
        (Failure::Local(detail("no free port")), "the real server was not checked: no free port"),
    ];
    for (failure, sentence) in cases {
        assert_eq!(failure.to_string(), sentence);
    }
}

#[test]
fn an_endpoint_is_written_as_people_write_it() {
    let write = |address: &str, port| Endpoint { address: address.parse().expect("an address"), port }.to_string();
    assert_eq!(write("10.0.0.1", None), "10.0.0.1");
    assert_eq!(write("10.0.0.1", Some(104)), "10.0.0.1:104");
    assert_eq!(write("2001:db8::1", Some(104)), "[2001:db8::1]:104");
}

#[test]
fn what_comes_from_outside_is_short_and_on_one_line() {
    assert_eq!(Detail::new("a\nb\u{1b}[31m").to_string(), "a?b?[31m");
    assert_eq!(Detail::new("é".repeat(1000)).to_string().chars().count(), Detail::LIMIT);
}
