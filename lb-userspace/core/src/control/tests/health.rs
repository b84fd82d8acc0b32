//! What a check says reaches the tables.

use std::time::Duration;

use super::*;
use crate::control::Notice;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn nothing_is_forwarded_before_the_first_check_has_spoken() {
    let mut site = Site::before_start(TWO);
    for server in 1..=4 {
        site.answer(&format!("10.0.0.{server}"), Answer::Silent);
    }
    site.start();
    site.run(Duration::from_millis(400));
    assert_eq!(site.age(), Duration::from_millis(400));

    assert!(!site.control.all_checked());
    assert_eq!(site.service_entry("web").ring_size, 0);
    assert_eq!(state(&site.entry("web", "a")), ServerState::Down);

    site.answer("10.0.0.1", Answer::Good);
    site.run(SECONDS(2));
    assert_eq!(site.scheduled("web"), ["a"], "one good answer decides the first time");
    assert!(site.control.all_checked());
}

#[test]
fn a_server_that_goes_down_leaves_ring_and_turns_and_steps_its_generation_in_one_plan() {
    let mut site = Site::new(TWO);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    let before = site.entry("web", "b");
    site.plans.clear();

    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(3));

    assert_eq!(site.plans.len(), 1, "{:?}", site.plans);
    assert_eq!(servers_in(&site.plans[0]), [site.id("web", "b")]);
    let after = site.entry("web", "b");
    assert_eq!(state(&after), ServerState::Down);
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    assert_eq!(consistent(site.control.installed()), Ok(()));
}

#[test]
fn a_server_that_comes_back_keeps_the_new_generation() {
    let mut site = Site::new(TWO);
    let before = site.entry("web", "b").generation;
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(5));
    site.answer("10.0.0.2", Answer::Good);
    site.run(SECONDS(5));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.entry("web", "b").generation, before + 1);
}

#[test]
fn one_failure_of_two_changes_nothing() {
    let mut site = Site::new(TWO);
    site.plans.clear();
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(1));
    site.answer("10.0.0.2", Answer::Good);
    site.run(SECONDS(5));
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
}

#[test]
fn services_check_a_shared_machine_each_for_itself() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.1", Answer::Refused);
    site.run(SECONDS(3));
    assert_eq!(site.scheduled("web"), ["b", "c"]);
    assert_eq!(site.scheduled("syslog"), ["d"]);
    let said: Vec<_> = site.notices.iter().filter(|notice| notice.worse).collect();
    assert_eq!(said.iter().map(|n| &n.server.service[..]).collect::<Vec<_>>(), ["web", "syslog"]);
    let sentences = said.iter().map(|n| &n.sentence[..]).collect::<Vec<_>>();
    assert!(
        sentences[0].starts_with("down: connection refused by 10.0.0.1:80 (2 checks in a row failed)"),
        "{sentences:?}"
    );
    assert!(
        sentences[1].starts_with("down: connection refused by 10.0.0.1:22 (2 checks in a row failed)"),
        "{sentences:?}"
    );
}

#[test]
fn a_late_report_of_a_server_that_was_removed_is_ignored() {
    let two = cutting(TWO);
    let mut site = Site::new(&two);
    let without_b = two.replace("      - {name: b, address: 10.0.0.2}\n", "");
    site.answer("10.0.0.2", Answer::Silent);
    site.run(SECONDS(1));
    site.reload(&without_b);
    site.plans.clear();
    for id in 0..10 {
        for generation in 0..20 {
            let refused = crate::health::Outcome::Failure(crate::health::Failure::Refused);
            site.control.probed(crate::health::TargetId(id), generation, refused, site.now);
        }
    }
    site.run(SECONDS(2));
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
}

/// One server behind another.
const STANDBY: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
defaults: {health_check: {interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80]
    mode: l4-dr
    health_check: {type: connect}
    fallback: {address: 10.0.0.9}
    real_servers:
      - {name: a, address: 10.0.0.1}
      - {name: spare, address: 10.0.0.2, backup: true}
";

#[test]
fn the_fallback_answers_when_all_are_down_and_only_then() {
    let mut site = Site::new(STANDBY);
    assert_eq!(site.scheduled("web"), ["a"]);
    assert!(site.is_up("web", "fallback"), "its flows may end in peace");

    site.answer("10.0.0.1", Answer::Refused);
    site.run(SECONDS(3));
    assert_eq!(site.scheduled("web"), ["spare"]);

    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(3));
    assert_eq!(site.scheduled("web"), ["fallback"]);
    assert!(!site.probed.contains(&ip("10.0.0.9")), "the fallback is not checked");

    site.answer("10.0.0.1", Answer::Good);
    site.run(SECONDS(3));
    assert_eq!(site.scheduled("web"), ["a"]);
}

#[test]
fn without_a_fallback_nobody_is_scheduled() {
    let mut site = Site::new(&STANDBY.replace("    fallback: {address: 10.0.0.9}\n", ""));
    site.answer("10.0.0.1", Answer::Refused);
    site.answer("10.0.0.2", Answer::Silent);
    site.run(SECONDS(4));
    let entry = site.service_entry("web");
    assert_eq!((entry.ring_size, entry.turns_size), (0, 0));
}

#[test]
fn a_plan_that_the_kernel_refuses_anywhere_is_taken_up_again() {
    let mut length = 1;
    let mut refused_after = 0;
    while refused_after < length {
        let mut site = Site::new(TWO);
        let before = site.entry("web", "a").generation;
        site.answer("10.0.0.1", Answer::Refused);
        site.writes_left = Some(refused_after);
        site.run(SECONDS(3));
        assert_eq!(consistent(site.control.installed()), Ok(()), "after {refused_after} writes");

        // Meanwhile the world goes on.
        site.answer("10.0.0.3", Answer::Refused);
        site.run(SECONDS(3));
        site.plans.clear();
        site.writes_left = None;
        site.run(SECONDS(1));

        length = length.max(refused_after + site.plans.iter().map(Vec::len).sum::<usize>());
        assert_eq!(site.scheduled("web"), ["b"]);
        assert_eq!(site.scheduled("syslog"), ["d"]);
        assert_eq!(site.entry("web", "a").generation, before + 1, "flows are cut once, not at each attempt");
        assert_eq!(crate::tables::plan(site.control.installed(), site.control.wanted()), Ok(Vec::new()));
        refused_after += 1;
    }
    assert!(length > 5, "the plan has {length} operations, too few to be cut short");
}

#[test]
fn a_notice_says_who_came_back() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.3", Answer::Silent);
    site.run(SECONDS(4));
    site.answer("10.0.0.3", Answer::Good);
    site.notices.clear();
    site.run(SECONDS(3));
    let [Notice { server, worse: false, sentence, .. }] = &site.notices[..] else { panic!("{:?}", site.notices) };
    assert_eq!(*server, key("web", "c"));
    assert!(sentence.starts_with("up: 10.0.0.3:80 answered in 1 ms (2 checks in a row succeeded)"), "{sentence}");
    assert!(sentence.contains("it was down for"), "{sentence}");
}
