use super::*;

const LOOK: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// A watchdog and the time it is held at.
struct Kennel {
    dog: Watchdog,
    now: Instant,
}

impl Kennel {
    fn new() -> Self {
        let now = Instant::now();
        Self { dog: Watchdog::new(LOOK, now), now }
    }

    /// The next look, and what comes of it.
    fn look(&mut self) -> Vec<Action> {
        self.now = self.now.max(self.dog.next_deadline());
        self.dog.handle_timeout(self.now);
        std::iter::from_fn(|| self.dog.poll_action()).collect()
    }

    /// Looks until `until` has passed; each look's actions.
    fn looks_for(&mut self, until: Duration) -> Vec<Vec<Action>> {
        let end = self.now + until;
        let mut looks = Vec::new();
        while self.dog.next_deadline() <= end {
            looks.push(self.look());
        }
        self.now = end;
        looks
    }
}

#[test]
fn a_daemon_that_owes_nothing_is_fed_at_every_look() {
    let mut kennel = Kennel::new();
    assert_eq!(kennel.looks_for(LOOK * 4), vec![vec![Action::Feed]; 5]);
}

#[test]
fn a_look_before_its_time_feeds_nothing() {
    let mut kennel = Kennel::new();
    assert_eq!(kennel.look(), [Action::Feed]);
    kennel.dog.handle_timeout(kennel.now + LOOK - Duration::from_nanos(1));
    assert_eq!(kennel.dog.poll_action(), None);
}

#[test]
fn each_work_that_is_stuck_starves_the_dog_by_itself_and_is_told_once() {
    for work in Work::ALL {
        let mut kennel = Kennel::new();
        kennel.dog.proved(work, kennel.now);
        let looks = kennel.looks_for(work.patience() * 2);
        let late = looks.iter().position(|look| !look.contains(&Action::Feed)).unwrap();
        let on_time = usize::try_from(work.patience().as_secs() / LOOK.as_secs()).unwrap() + 1;
        assert_eq!(late, on_time, "{work}: it is fed while the work may still come");
        assert_eq!(looks[late], [Action::Stuck(work, work.patience() + LOOK)], "{work}");
        assert!(looks[late + 1..].iter().all(Vec::is_empty), "{work}: {looks:?}");
        assert!(looks.len() > late + 1, "{work}");
    }
}

#[test]
fn a_loop_that_turns_does_not_hide_a_sweep_that_hangs() {
    let mut kennel = Kennel::new();
    kennel.dog.proved(Work::Sweep, kennel.now + SECOND);
    let mut fed = 0;
    let mut last = Vec::new();
    for _ in 0..100 {
        kennel.dog.proved(Work::Loop, kennel.now + SECOND);
        kennel.dog.proved(Work::Deadlines, kennel.now + SECOND);
        last = kennel.look();
        fed += last.iter().filter(|action| **action == Action::Feed).count();
    }
    assert_eq!(last, []);
    assert_eq!(fed, 61, "5 minutes and a second, every 5 seconds");
}

#[test]
fn work_that_comes_back_is_told_and_the_dog_is_fed_again() {
    let mut kennel = Kennel::new();
    kennel.dog.owe(Work::Plan, kennel.now);
    kennel.looks_for(Work::Plan.patience() + LOOK * 2);
    kennel.dog.settle(Work::Plan);
    assert_eq!(kennel.look(), [Action::Recovered(Work::Plan), Action::Feed]);
    assert_eq!(kennel.look(), [Action::Feed]);
}

#[test]
fn owing_again_gives_no_more_time() {
    let mut kennel = Kennel::new();
    let first = kennel.now;
    let mut looks = Vec::new();
    for _ in 0..14 {
        // A plan that fails each time it is tried is owed since it failed first.
        kennel.dog.owe(Work::Plan, kennel.now.max(first));
        looks.push(kennel.look());
    }
    assert_eq!(looks[13], [Action::Stuck(Work::Plan, Work::Plan.patience() + LOOK)]);
}

#[test]
fn two_that_are_stuck_must_both_come_back() {
    let mut kennel = Kennel::new();
    kennel.dog.proved(Work::Loop, kennel.now);
    kennel.dog.owe(Work::Requests, kennel.now);
    let stuck = kennel.looks_for(Work::Loop.patience() + LOOK).pop().unwrap();
    assert_eq!(stuck.len(), 2, "{stuck:?}");
    kennel.dog.proved(Work::Loop, kennel.now + SECOND);
    assert_eq!(kennel.look(), [Action::Recovered(Work::Loop)]);
    kennel.dog.settle(Work::Requests);
    kennel.dog.proved(Work::Loop, kennel.now + LOOK + SECOND);
    assert_eq!(kennel.look(), [Action::Recovered(Work::Requests), Action::Feed]);
}

#[test]
fn a_machine_that_slept_is_not_ended_when_its_work_goes_on() {
    let mut kennel = Kennel::new();
    kennel.dog.proved(Work::Loop, kennel.now + SECOND);
    kennel.look();
    // Everything is late at once, also the look itself.
    kennel.now += Duration::from_secs(3600);
    let first = kennel.look();
    assert!(matches!(first[..], [Action::Stuck(Work::Loop, _)]), "{first:?}");
    kennel.dog.proved(Work::Loop, kennel.now + SECOND);
    assert_eq!(kennel.look(), [Action::Recovered(Work::Loop), Action::Feed], "one look later, not an hour");
}
