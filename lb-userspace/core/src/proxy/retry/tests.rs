//! How many retries are granted.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Retries granted of so many wishes.
fn granted(budget: &RetryBudget, wishes: u32, now: Instant) -> u32 {
    (0..wishes).map(|_| u32::from(budget.may_retry(now))).sum()
}

fn requests(budget: &RetryBudget, requests: u32, now: Instant) {
    for _ in 0..requests {
        budget.request(now);
    }
}

#[test]
fn ten_a_second_are_granted_whatever_the_percentage() {
    let begin = Instant::now();
    for percent in [0, 20, 100] {
        let budget = RetryBudget::new(percent, begin);
        for second in 0..30 {
            let now = begin + Duration::from_secs(second);
            assert_eq!(granted(&budget, 50, now), 10, "{percent} percent, second {second}");
        }
    }
}

#[test]
fn a_fifth_of_the_requests_of_ten_seconds_is_granted_and_not_more() {
    let begin = Instant::now();
    let budget = RetryBudget::new(20, begin);
    requests(&budget, 1000, begin);
    assert_eq!(granted(&budget, 1000, begin), 200);
    assert_eq!(granted(&budget, 1000, begin + Duration::from_secs(9)), 10, "they are spent, but for the ten");

    let later = begin + Duration::from_secs(10);
    assert_eq!(granted(&budget, 1000, later), 10, "the requests are too long ago");
    requests(&budget, 1000, later);
    assert_eq!(granted(&budget, 1000, later), 200 - 20, "less those of this and the last second");
    budget.set_percent(50);
    assert_eq!(granted(&budget, 1000, later), 300);
}

#[test]
fn when_every_request_fails_the_load_grows_by_a_fifth() {
    let begin = Instant::now();
    let budget = RetryBudget::new(20, begin);
    let mut retries = 0;
    for millisecond in 0..60_000_u64 {
        let now = begin + Duration::from_millis(millisecond);
        budget.request(now);
        retries += granted(&budget, 1, now);
    }
    assert!((11_900..=12_100).contains(&retries), "{retries} of 60000");
}

#[test]
fn threads_are_granted_no_more_together() {
    let begin = Instant::now();
    let budget = RetryBudget::new(20, begin);
    let all: u32 = thread::scope(|scope| {
        let work = || {
            requests(&budget, 5000, begin);
            granted(&budget, 5000, begin)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    assert!((1000..=4000).contains(&all), "{all}");
    assert_eq!(all + granted(&budget, 5000, begin), 4000, "a fifth of all that were counted");
}

#[test]
fn years_and_clocks_that_are_behind_are_taken() {
    let begin = Instant::now();
    let budget = RetryBudget::new(100, begin);
    let years = begin + Duration::from_secs(200 * 366 * 86_400);
    requests(&budget, 50, years);
    assert_eq!(granted(&budget, 99, years), 50);
    assert_eq!(granted(&budget, 99, begin), 10);
}

proptest! {
    #[test]
    fn nothing_differs_from_lists_of_times(
        percent in 0..=100_u8,
        steps in prop::collection::vec((0..1500_u64, 0..60_u32, 0..40_u32), 1..80),
    ) {
        let begin = Instant::now();
        let budget = RetryBudget::new(percent, begin);
        let (mut asked, mut retried) = (VecDeque::new(), VecDeque::new());
        let mut milliseconds = 0;
        for (wait, arrivals, wishes) in steps {
            milliseconds += wait;
            let (now, second) = (begin + Duration::from_millis(milliseconds), milliseconds / 1000);
            for list in [&mut asked, &mut retried] {
                while list.front().is_some_and(|then| *then + 10 <= second) {
                    list.pop_front();
                }
            }
            requests(&budget, arrivals, now);
            asked.extend((0..arrivals).map(|_| second));
            for _ in 0..wishes {
                let within_part = (retried.len() + 1) * 100 <= asked.len() * usize::from(percent);
                let within_ten = retried.iter().filter(|then| **then == second).count() < 10;
                prop_assert_eq!(budget.may_retry(now), within_part || within_ten);
                if within_part || within_ten {
                    retried.push_back(second);
                }
            }
        }
    }
}
