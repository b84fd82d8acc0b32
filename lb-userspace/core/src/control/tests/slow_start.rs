//! A server that comes back gets its share in steps.

use std::time::Duration;

use super::*;
use crate::control::Measured;
use crate::view::Order;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// `TWO`, where a server that comes back has its full share after 100 seconds.
fn slow() -> String {
    TWO.replace("defaults: {", "defaults: {slow_start: 100s, ")
}

impl Site {
    fn weight(&self, service: &str, server: &str) -> u32 {
        self.entry(service, server).weight
    }

    /// The weight now and each ten seconds from now on.
    fn weights(&mut self, service: &str, server: &str) -> Vec<u32> {
        let mut weights = vec![self.weight(service, server)];
        for _ in 0..12 {
            self.run(SECONDS(10));
            weights.push(self.weight(service, server));
        }
        weights
    }

    /// Down for a while, and up again just now.
    fn fall_and_rise(&mut self, server: &str, address: &str) {
        self.answer(address, Answer::Refused);
        self.run(SECONDS(5));
        assert!(!self.is_up("web", server));
        self.answer(address, Answer::Good);
        while !self.is_up("web", server) {
            self.run(Duration::from_millis(10));
        }
    }
}

/// 10 %, 20 %, ..., and then the full weight for good.
fn steps(weight: u32) -> Vec<u32> {
    (1..=9).map(|step| weight * step / 10).chain([weight; 4]).collect()
}

#[test]
fn a_server_that_comes_back_climbs_in_ten_steps() {
    let mut site = Site::new(&slow());
    let (before, others) = (site.entry("web", "b"), [site.entry("web", "a"), site.entry("web", "c")]);
    site.fall_and_rise("b", "10.0.0.2");
    assert_eq!(site.scheduled("web"), ["a", "b", "c"], "at once, with little");
    site.plans.clear();
    assert_eq!(site.weights("web", "b"), steps(100));
    assert_eq!(site.entry("web", "b"), Server { generation: before.generation + 1, ..before });
    let b = site.id("web", "b");
    let written = servers_in(&site.plans.concat());
    assert_eq!(written, [b; 9], "one write for each step, and none for anybody else");
    assert_eq!([site.entry("web", "a"), site.entry("web", "c")], others);
    let syslog = site.control.wanted().service_numbers["syslog"];
    let touched = |op: &TableOp| matches!(op, TableOp::SetService { id, .. } if *id == syslog);
    assert!(!site.plans.concat().iter().any(touched), "the other service is not touched");
}

#[test]
fn nobody_climbs_at_the_first_start_or_after_a_restart() {
    let mut site = Site::new(&slow());
    assert_eq!((site.weight("web", "b"), site.weight("syslog", "d")), (100, 50));
    let before = site.control.installed().clone();
    for with_memory in [false, true] {
        if with_memory {
            site.restart_with_memory(&slow(), true);
        } else {
            site.restart(&slow(), true);
        }
        site.start();
        site.run(SECONDS(5));
        assert!(*site.control.installed() == before, "memory: {with_memory}");
    }
}

#[test]
fn one_remembered_down_climbs_when_it_is_up_again_after_the_restart() {
    let mut site = Site::new(&slow());
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(5));
    site.restart_with_memory(&slow(), true);
    site.start();
    site.run(SECONDS(5));
    assert!(!site.is_up("web", "b"));
    site.answer("10.0.0.2", Answer::Good);
    while !site.is_up("web", "b") {
        site.run(Duration::from_millis(10));
    }
    assert_eq!(site.weights("web", "b"), steps(100));
}

#[test]
fn a_server_that_is_added_has_its_full_share_at_once() {
    let mut site = Site::new(&slow());
    site.reload(&slow().replace("weight: 50}", "weight: 50}\n      - {name: e, address: 10.0.0.5}"));
    site.run(SECONDS(2));
    assert_eq!(site.weight("syslog", "e"), 100);
}

#[test]
fn online_after_drain_or_halt_is_a_return() {
    for order in [Order::Drain, Order::Halt] {
        let mut site = Site::new(&slow());
        site.order("web", "b", order);
        site.run(SECONDS(30));
        let generation = site.entry("web", "b").generation;
        site.order("web", "b", Order::Online);
        assert_eq!(site.weights("web", "b"), steps(100), "{order:?}");
        assert_eq!(site.entry("web", "b").generation, generation);
    }
}

#[test]
fn another_weight_while_online_is_no_return() {
    let mut site = Site::new(&slow());
    site.order("web", "b", Order::Weight { weight: Some(40) });
    assert_eq!(site.weight("web", "b"), 40);
    site.order("web", "b", Order::Weight { weight: None });
    assert_eq!(site.weight("web", "b"), 100);
}

#[test]
fn a_weight_changed_on_the_way_changes_the_steps_and_not_the_place() {
    let mut site = Site::new(&slow());
    site.fall_and_rise("b", "10.0.0.2");
    site.run(SECONDS(35));
    assert_eq!(site.weight("web", "b"), 40);
    site.order("web", "b", Order::Weight { weight: Some(50) });
    assert_eq!(site.weight("web", "b"), 20);
    site.run(SECONDS(10));
    assert_eq!(site.weight("web", "b"), 25);
    site.order("web", "b", Order::Weight { weight: None });
    site.reload(&slow().replace("{name: b, address: 10.0.0.2}", "{name: b, address: 10.0.0.2, weight: 200}"));
    assert_eq!(site.weight("web", "b"), 100);
    site.run(SECONDS(60));
    assert_eq!(site.weight("web", "b"), 200);
}

#[test]
fn the_smallest_weight_is_never_rounded_to_nothing_and_0_stays_0() {
    for weight in [1, 3, 0] {
        let yaml = slow()
            .replace("{name: b, address: 10.0.0.2}", &format!("{{name: b, address: 10.0.0.2, weight: {weight}}}"));
        let mut site = Site::new(&yaml);
        site.order("web", "b", Order::Halt);
        site.order("web", "b", Order::Online);
        let weights = site.weights("web", "b");
        assert!(weights.iter().all(|w| (*w > 0) == (weight > 0)), "{weights:?}");
        assert_eq!(weights.last(), Some(&weight));
    }
}

#[test]
fn without_slow_start_a_return_is_whole_at_once() {
    for yaml in [TWO.to_owned(), TWO.replace("defaults: {", "defaults: {slow_start: 0s, ")] {
        let mut site = Site::new(&yaml);
        site.fall_and_rise("b", "10.0.0.2");
        assert_eq!(site.weight("web", "b"), 100);
        site.order("web", "b", Order::Drain);
        site.order("web", "b", Order::Online);
        assert_eq!(site.weight("web", "b"), 100);
    }
}

#[test]
fn slow_start_taken_away_by_a_reload_ends_every_climb() {
    let mut site = Site::new(&slow());
    site.fall_and_rise("b", "10.0.0.2");
    assert_eq!(site.weight("web", "b"), 10);
    site.reload(TWO);
    assert_eq!(site.weight("web", "b"), 100);
}

#[test]
fn a_reload_of_something_else_keeps_the_place() {
    let mut site = Site::new(&slow());
    site.fall_and_rise("b", "10.0.0.2");
    site.run(SECONDS(25));
    assert_eq!(site.weight("web", "b"), 30);
    site.reload(&slow().replace("ports: [80]", "ports: [80, 8080]"));
    assert_eq!(site.weight("web", "b"), 30);
    assert_eq!(site.weights("web", "b")[1..3], [40, 50]);
}

#[test]
fn one_that_falls_on_the_way_begins_anew() {
    let mut site = Site::new(&slow());
    site.fall_and_rise("b", "10.0.0.2");
    site.run(SECONDS(55));
    assert_eq!(site.weight("web", "b"), 60);
    site.fall_and_rise("b", "10.0.0.2");
    assert_eq!(site.weights("web", "b"), steps(100));
}

#[test]
fn one_that_comes_back_while_leaving_goes_on_where_time_has_brought_it() {
    // `run` refuses deadlines that have passed.
    for (away, weight) in [(10, 30), (50, 70), (500, 100)] {
        let mut site = Site::new(&slow());
        site.fall_and_rise("b", "10.0.0.2");
        site.run(SECONDS(15));
        assert_eq!(site.weight("web", "b"), 20);
        site.reload(&slow().replace("      - {name: b, address: 10.0.0.2}\n", ""));
        site.run(SECONDS(away));
        site.reload(&slow());
        assert_eq!(site.weight("web", "b"), weight, "after {away} s");
        site.run(SECONDS(200));
        assert_eq!(site.weight("web", "b"), 100);
    }
}

#[test]
fn a_drained_server_on_its_way_is_scheduled_by_nobody() {
    let mut site = Site::new(&slow());
    site.fall_and_rise("b", "10.0.0.2");
    site.order("web", "b", Order::Drain);
    for _ in 0..12 {
        site.run(SECONDS(10));
        assert_eq!(site.scheduled("web"), ["a", "c"]);
    }
}

#[test]
fn the_overview_says_how_far_it_is() {
    let mut site = Site::new(&slow());
    site.fall_and_rise("b", "10.0.0.2");
    site.run(SECONDS(35));
    let status = site.control.status(&Measured::new(), site.now);
    let b = &status[0].real_servers[1];
    assert_eq!(b.weight, 40);
    assert_eq!(b.reason, "slow start, 40 % of its weight of 100; 10.0.0.2:80 answered in 1 ms");
    site.run(SECONDS(100));
    let status = site.control.status(&Measured::new(), site.now);
    assert_eq!(status[0].real_servers[1].reason, "10.0.0.2:80 answered in 1 ms");
}

#[test]
fn the_whole_service_that_comes_back_together_shares_as_before() {
    let mut site = Site::new(&slow());
    for server in 1..=3 {
        site.answer(&format!("10.0.0.{server}"), Answer::Refused);
    }
    site.run(SECONDS(5));
    assert_eq!(site.service_entry("web").ring_size, 0);
    for server in 1..=3 {
        site.answer(&format!("10.0.0.{server}"), Answer::Good);
    }
    site.run(SECONDS(5));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    let weights: BTreeSet<u32> = ["a", "b", "c"].into_iter().map(|server| site.weight("web", server)).collect();
    assert_eq!(weights, BTreeSet::from([10]), "equal shares of everything");
}
