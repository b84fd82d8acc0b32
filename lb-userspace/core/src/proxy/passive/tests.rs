//! When somebody becomes suspect, what ends it, and an hour of it.

mod hour;
mod random;

use std::thread;

use super::*;

const REST: Duration = Duration::from_secs(10);

fn config(connect_failures: u32, server_errors: u32) -> PassiveHealth {
    PassiveHealth { connect_failures, server_errors, rest: REST }
}

fn millisecond() -> Duration {
    Duration::from_millis(1)
}

fn sentence(change: Option<Change>) -> String {
    match change {
        Some(Change::BecameSuspect(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn three_in_a_row_and_not_three_in_all() {
    let now = Instant::now();
    let passive = Passive::new(Some(config(3, 0)), now);
    for _ in 0..5 {
        assert_eq!([passive.connect_failed(now), passive.connect_failed(now), passive.connected()], [None, None, None]);
    }
    assert!(!passive.is_suspect(now));
    assert_eq!([passive.connect_failed(now), passive.connect_failed(now)], [None, None]);
    assert_eq!(
        sentence(passive.connect_failed(now)),
        "3 connections in a row to it could not be opened; it is asked last for 10 s"
    );
    assert!(passive.is_suspect(now));
    assert_eq!(passive.connect_failed(now), None, "told once");
}

#[test]
fn answers_of_500_to_599_count_and_others_do_not() {
    let now = Instant::now();
    let passive = Passive::new(Some(config(0, 2)), now);
    for status in [500, 404, 599, 200, 503, 499, 500, 600, 500, 304] {
        assert_eq!(passive.answered(status, now), None, "{status}");
    }
    assert_eq!(passive.answered(500, now), None);
    assert_eq!(passive.connect_failed(now), None, "that does not count here");
    assert_eq!(passive.connected(), None, "a connection is no answer");
    assert_eq!(
        sentence(passive.answered(503, now)),
        "2 of its answers in a row had a status of 500 to 599, the last one 503; it is asked last for 10 s"
    );
}

#[test]
fn who_returns_by_its_health_check_is_no_suspect_and_begins_anew() {
    let now = Instant::now();
    let passive = Passive::new(Some(config(2, 2)), now);
    assert_eq!(passive.returned(), None, "it was none");
    for fail in
        [|passive: &Passive, now| passive.connect_failed(now), |passive: &Passive, now| passive.answered(500, now)]
    {
        assert_eq!(fail(&passive, now), None);
        assert_eq!(passive.returned(), None, "one failure makes no suspect");
        assert_eq!(fail(&passive, now), None, "and the one before does not count any more");
        sentence(fail(&passive, now));
        assert!(passive.is_suspect(now));
        assert_eq!(passive.returned(), Some(Change::Recovered));
        assert!(!passive.is_suspect(now) && passive.claim(now));
    }
}

#[test]
fn where_one_is_enough_the_sentence_says_so() {
    let now = Instant::now();
    let first = |happens: fn(&Passive, Instant) -> Option<Change>| {
        sentence(happens(&Passive::new(Some(config(1, 1)), now), now))
    };
    let connection = first(Passive::connect_failed);
    assert_eq!(connection, "a connection to it could not be opened; it is asked last for 10 s");
    let answer = first(|passive, now| passive.answered(502, now));
    assert_eq!(answer, "it answered with status 502; it is asked last for 10 s");
}

#[test]
fn what_does_not_count_makes_nobody_suspect() {
    let now = Instant::now();
    for config in [None, Some(config(0, 0))] {
        let passive = Passive::new(config, now);
        for _ in 0..100 {
            assert_eq!([passive.connect_failed(now), passive.answered(500, now)], [None, None]);
        }
        assert!(!passive.is_suspect(now) && passive.claim(now));
    }
}

#[test]
fn successes_during_the_rest_do_not_end_it() {
    let now = Instant::now();
    let passive = Passive::new(Some(config(1, 1)), now);
    sentence(passive.connect_failed(now));
    assert_eq!([passive.connected(), passive.answered(200, now)], [None, None]);
    assert!(passive.is_suspect(now + REST - millisecond()));
    assert!(!passive.claim(now + REST - millisecond()));
}

#[test]
fn after_the_rest_one_client_decides() {
    let begin = Instant::now();
    let passive = Passive::new(Some(config(3, 0)), begin);
    for _ in 0..3 {
        passive.connect_failed(begin);
    }
    let trial = begin + REST;
    assert!(!passive.is_suspect(trial));
    assert!(passive.claim(trial));
    assert!(passive.is_suspect(trial) && !passive.claim(trial), "to everybody else");

    assert_eq!(passive.connect_failed(trial + millisecond()), None, "one failure is enough, and nothing new");
    assert!(passive.is_suspect(trial + REST));
    let second_trial = trial + millisecond() + REST;
    assert!(passive.claim(second_trial));
    assert_eq!(passive.connected(), Some(Change::Recovered));
    assert!(!passive.is_suspect(second_trial) && passive.claim(second_trial) && passive.claim(second_trial));

    let later = second_trial + millisecond();
    assert_eq!([passive.connect_failed(later), passive.connect_failed(later)], [None, None], "it counts anew");
    sentence(passive.connect_failed(later));
}

#[test]
fn a_failure_after_the_rest_that_nobody_claimed_is_a_trial_too() {
    let begin = Instant::now();
    let passive = Passive::new(Some(config(3, 0)), begin);
    for _ in 0..3 {
        passive.connect_failed(begin);
    }
    assert_eq!(passive.connect_failed(begin + REST), None);
    assert!(passive.is_suspect(begin + REST));
}

#[test]
fn a_trial_of_which_nothing_is_heard_makes_room_for_the_next() {
    let begin = Instant::now();
    let passive = Passive::new(Some(config(1, 0)), begin);
    sentence(passive.connect_failed(begin));
    assert!(passive.claim(begin + REST));
    assert!(!passive.claim(begin + REST * 2 - millisecond()));
    assert!(passive.claim(begin + REST * 2));
    assert!(!passive.claim(begin + REST * 2));
}

#[test]
fn a_trial_ends_the_suspicion_by_what_was_suspected() {
    let begin = Instant::now();
    let trial_of = |cause: fn(&Passive, Instant) -> Option<Change>| {
        let passive = Passive::new(Some(config(1, 1)), begin);
        sentence(cause(&passive, begin));
        assert!(passive.claim(begin + REST));
        passive
    };
    let now = begin + REST;
    let errors = || trial_of(|passive, now| passive.answered(500, now));
    assert_eq!(errors().connected(), None, "its answers were bad");
    assert_eq!(errors().answered(404, now), Some(Change::Recovered));
    let still = errors();
    assert_eq!((still.answered(502, now), still.is_suspect(now + REST - millisecond())), (None, true));
    let unreachable = errors();
    assert_eq!((unreachable.connect_failed(now), unreachable.is_suspect(now)), (None, true));

    let connect = || trial_of(Passive::connect_failed);
    assert_eq!(connect().connected(), Some(Change::Recovered));
    assert_eq!(connect().answered(200, now), Some(Change::Recovered), "by a connection that was kept");
    assert_eq!(connect().answered(500, now), Some(Change::Recovered), "what counts is that it is reached");
}

#[test]
fn a_reload_ends_suspicions_that_do_not_count_any_more() {
    let now = Instant::now();
    let passive = Passive::new(Some(config(1, 1)), now);
    sentence(passive.connect_failed(now));
    assert_eq!(passive.configure(Some(config(5, 0))), None);
    assert!(passive.is_suspect(now));
    assert_eq!(passive.configure(Some(config(0, 1))), Some(Change::Recovered));
    sentence(passive.answered(500, now));
    assert_eq!([passive.configure(None), passive.configure(None)], [Some(Change::Recovered), None]);
    assert!(!passive.is_suspect(now));
}

#[test]
fn the_longest_and_the_shortest_rest_are_rests() {
    let now = Instant::now();
    let of = |rest| Passive::new(Some(PassiveHealth { connect_failures: 1, server_errors: 0, rest }), now);
    let long = of(Duration::MAX);
    sentence(long.connect_failed(now));
    assert!(long.is_suspect(now + REST * 1_000_000));
    let none = of(Duration::ZERO);
    sentence(none.connect_failed(now));
    assert!(!none.is_suspect(now) && none.claim(now));
    assert_eq!((none.connect_failed(now), none.connected()), (None, None), "it failed again");
    assert!(none.claim(now));
    assert_eq!(none.connected(), Some(Change::Recovered));
}

#[test]
fn of_many_threads_one_is_told_of_each_change_and_one_has_the_trial() {
    const THREADS: u32 = 2;
    const ROUNDS: u32 = 5000;
    let begin = Instant::now();
    let passive = Passive::new(Some(config(10, 0)), begin);
    let arrived = AtomicU32::new(0);
    // They wait without sleep, so that they go on at nearly the same moment.
    let meet = |meeting: u32| {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < meeting * THREADS {
            thread::yield_now();
        }
    };
    let told: Vec<[u32; 3]> = thread::scope(|scope| {
        let work = || {
            let mut told = [0; 3];
            for round in 0..ROUNDS {
                let failed = begin + REST * 3 * round;
                meet(round * 3 + 1);
                for _ in 0..10 {
                    told[0] += u32::from(matches!(passive.connect_failed(failed), Some(Change::BecameSuspect(_))));
                }
                meet(round * 3 + 2);
                told[1] += u32::from(passive.claim(failed + REST));
                meet(round * 3 + 3);
                told[2] += u32::from(passive.connected() == Some(Change::Recovered));
            }
            told
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let sum = |kind: usize| told.iter().map(|of_thread| of_thread[kind]).sum::<u32>();
    assert_eq!([sum(0), sum(1), sum(2)], [ROUNDS; 3]);
}
