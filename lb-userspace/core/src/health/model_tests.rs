//! Random checks, delays, outcomes and reloads against a model that a reader can hold in the head.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tests::{bad, target};
use super::{Action, Health, Input, Outcome, State, Target, TargetId};
use crate::config::model::{HealthCheck, Probe};

/// What a shell will report of the probes of a target, in turn; `None`: nothing, ever.
type Script = Vec<Option<(u64, bool)>>;

#[derive(Clone, Debug)]
struct Case {
    check: HealthCheck,
    script: Script,
}

fn case() -> impl Strategy<Value = Case> {
    let script = prop::collection::vec(prop::option::weighted(0.8, (0..400u64, any::<bool>())), 1..20);
    // Often enough to be damped heavily, or so seldom that falls are forgiven.
    let interval = prop_oneof![2 => 1..500u64, 1 => 20_000..120_000u64];
    (interval, 1..300u64, 1..4u8, 1..4u8, any::<bool>(), script).prop_map(
        |(interval, timeout, rise, fall, damped, script)| {
            let check = HealthCheck {
                probe: Probe::Connect,
                port: Some(80),
                interval: Duration::from_millis(interval),
                timeout: Duration::from_millis(timeout),
                rise,
                fall,
                flap_damping: damped,
                proxy_protocol: None,
            };
            Case { check, script }
        },
    )
}

/// The reference: a state, the length of the present run of equal outcomes, and every fall there was.
struct Model {
    state: State,
    run: (bool, u32),
    fresh: bool,
    falls: Vec<Instant>,
}

impl Model {
    const NEW: Self = Self { state: State::Checking, run: (true, 0), fresh: true, falls: Vec::new() };

    fn apply(&mut self, ok: bool, check: &HealthCheck, now: Instant) {
        self.run = if self.run.0 == ok { (ok, self.run.1 + 1) } else { (ok, 1) };
        let needed = if ok { self.rise(check, now) } else { u32::from(check.fall) };
        // The first one decides, but for cutting who was up.
        let decides = self.fresh && (ok || self.state == State::Checking);
        if decides || self.run.1 >= needed {
            if !ok && self.state == State::Up {
                self.falls.push(now);
            }
            self.state = if ok { State::Up } else { State::Down };
        }
        self.fresh = false;
    }

    /// Twice as many for the third fall within ten minutes, and for each after it, up to 16 times.
    fn rise(&self, check: &HealthCheck, now: Instant) -> u32 {
        let lately = self.falls.iter().filter(|then| now - **then < Duration::from_secs(600)).count();
        match (check.flap_damping, lately) {
            (false, _) | (true, 0..=2) => u32::from(check.rise),
            (true, 3) => u32::from(check.rise) * 2,
            (true, 4) => u32::from(check.rise) * 4,
            (true, 5) => u32::from(check.rise) * 8,
            (true, _) => u32::from(check.rise) * 16,
        }
    }
}

struct World {
    health: Health,
    limit: usize,
    cases: BTreeMap<TargetId, Case>,
    models: BTreeMap<TargetId, Model>,
    states: BTreeMap<TargetId, State>,
    turns: BTreeMap<TargetId, usize>,
    probing: BTreeMap<TargetId, Probing>,
    /// Outcomes of cancelled probes that a shell reports all the same.
    late: Vec<(TargetId, u32, Report)>,
}

struct Probing {
    generation: u32,
    deadline: Instant,
    report: Option<Report>,
}

/// What a shell will say, and when.
#[derive(Clone, Copy)]
struct Report {
    at: Instant,
    /// How long the real server took; `None`: it failed.
    latency: Option<Duration>,
}

impl Report {
    fn outcome(self) -> Outcome {
        self.latency.map_or_else(bad, |latency| Outcome::Success { latency })
    }
}

impl World {
    fn configure(&mut self, targets: Vec<Target>, now: Instant) {
        for target in &targets {
            match self.cases.get_mut(&target.id) {
                Some(case) if self.models.contains_key(&target.id) => {
                    if case.check != target.check {
                        case.check = target.check.clone();
                        let model = self.models.get_mut(&target.id).expect("checked above");
                        let falls = std::mem::take(&mut model.falls);
                        *model = Model { state: model.state, falls, ..Model::NEW };
                    }
                }
                Some(case) => {
                    case.check = target.check.clone();
                    self.models.insert(target.id, Model::NEW);
                }
                None => unreachable!("every id has a case"),
            }
        }
        let kept: Vec<_> = targets.iter().map(|target| target.id).collect();
        self.models.retain(|id, _| kept.contains(id));
        self.states.retain(|id, _| kept.contains(id));
        self.health.handle(Input::Configure(targets), now);
    }

    fn targets(&self) -> Vec<Target> {
        self.cases.iter().map(|(id, case)| target(*id, case.check.clone())).collect()
    }

    /// The next moment at which something happens.
    fn next(&self) -> Option<Instant> {
        let reports = self.probing.values().filter_map(|probing| probing.report);
        let reports = reports.chain(self.late.iter().map(|(_, _, report)| *report));
        reports.map(|report| report.at).chain(self.health.next_deadline()).min()
    }

    fn step(&mut self, now: Instant) {
        for (id, generation, report) in self.late.extract_if(.., |(_, _, report)| report.at <= now) {
            self.health.handle(Input::Outcome { id, generation, outcome: report.outcome() }, now);
        }
        let is_due = |probing: &Probing| probing.report.is_some_and(|report| report.at <= now);
        let due: Vec<_> = self.probing.extract_if(.., |_, probing| is_due(probing)).collect();
        for (id, Probing { generation, deadline, report }) in due {
            let report = report.expect("it is due");
            self.health.handle(Input::Outcome { id, generation, outcome: report.outcome() }, now);
            if let Some(model) = self.models.get_mut(&id) {
                model.apply(report.latency.is_some() && now <= deadline, &self.cases[&id].check, now);
            }
        }
        self.drain(now);
        self.health.handle_timeout(now);
        self.drain(now);
        assert!(self.health.next_deadline().is_none_or(|at| at > now), "a deadline in the past");
    }

    fn drain(&mut self, now: Instant) {
        while let Some(action) = self.health.poll_action() {
            match action {
                Action::Probe { id, generation, check, .. } => {
                    assert_eq!(*check, self.cases[&id].check);
                    let turn = self.turns.entry(id).or_default();
                    let script = &self.cases[&id].script;
                    let report = script[*turn % script.len()].map(|(delay, ok)| {
                        let delay = Duration::from_millis(delay);
                        Report { at: now + delay, latency: ok.then_some(delay) }
                    });
                    *turn += 1;
                    let probing = Probing { generation, deadline: now + check.timeout, report };
                    let old = self.probing.insert(id, probing);
                    assert!(old.is_none(), "two probes of one target at a time");
                    assert!(self.probing.len() <= self.limit, "more probes than the limit");
                }
                Action::Cancel { id, generation } => {
                    let probing = self.probing.remove(&id).expect("a probe under way");
                    assert_eq!(probing.generation, generation);
                    self.late.extend(probing.report.map(|report| (id, generation, report)));
                    // A cancel before the deadline comes from a reload, and is not an outcome.
                    if now >= probing.deadline
                        && let Some(model) = self.models.get_mut(&id)
                    {
                        model.apply(false, &self.cases[&id].check, now);
                    }
                }
                Action::Transition(transition) => {
                    let before = self.states.insert(transition.id, transition.to).unwrap_or(State::Checking);
                    assert_eq!(before, transition.from);
                    assert_ne!(transition.from, transition.to);
                    assert!(!transition.reason.is_empty());
                }
            }
        }
    }

    fn agree(&self, now: Instant) {
        for id in self.cases.keys() {
            let seen = self.health.view(*id, now).map(|view| (view.state, view.rise));
            let model = self.models.get(id);
            let expected = model.map(|model| (model.state, model.rise(&self.cases[id].check, now)));
            assert_eq!(seen, expected, "{id:?}");
            if let Some((state, _)) = seen {
                assert_eq!(self.states.get(id).copied().unwrap_or(State::Checking), state, "transitions tell all");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_machine_agrees_with_the_model(
        cases in prop::collection::vec(case(), 1..8),
        seed: u64,
        limit in 1..5usize,
        reloads in prop::collection::vec((0..8usize, any::<bool>(), 1..60usize), 0..6),
    ) {
        let mut now = Instant::now();
        let cases: BTreeMap<_, _> = (0..).map(TargetId).zip(cases).collect();
        let mut world = World {
            health: Health::with_limit(seed, limit),
            limit,
            cases,
            models: BTreeMap::new(),
            states: BTreeMap::new(),
            turns: BTreeMap::new(),
            probing: BTreeMap::new(),
            late: Vec::new(),
        };
        let all = world.targets();
        world.configure(all, now);
        world.drain(now);

        for (nth, leaves, steps) in reloads.into_iter().chain([(usize::MAX, false, 100)]) {
            for _ in 0..steps {
                let Some(next) = world.next() else { break };
                prop_assert!(next >= now);
                now = next;
                world.step(now);
                world.agree(now);
            }
            let mut targets = world.targets();
            if nth < targets.len() {
                if leaves {
                    targets.remove(nth);
                } else {
                    targets[nth].check.fall += 1;
                }
            }
            world.configure(targets, now);
            world.drain(now);
            world.agree(now);
        }
    }
}
