//! The daemon dies and another one goes on.

use std::time::Duration;

use super::*;
use crate::control::Measured;
use crate::view::ServiceState;

#[test]
fn the_same_tables_need_nothing_after_a_restart() {
    let mut site = Site::new(TWO);
    site.restart(TWO, true);
    site.start();
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new(), "before the first check");
    site.run(Duration::from_secs(10));
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new(), "after it");
}

#[test]
fn servers_stay_in_service_until_their_check_has_spoken() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    for server in 1..=4 {
        site.answer(&format!("10.0.0.{server}"), Answer::Silent);
    }
    site.restart(TWO, true);
    site.start();
    site.run(Duration::from_millis(400));
    assert!(*site.control.installed() == before, "the tables have changed");
    let services = site.control.status(&Measured::new(), site.now);
    assert!(services.iter().all(|service| service.state == ServiceState::Up), "{services:?}");
    assert_eq!(services[0].real_servers[0].reason, "10.0.0.1:80 was up before lbd started");

    site.run(Duration::from_secs(3));
    assert_eq!(site.service_entry("web").ring_size, 0, "the check has the last word");
}

#[test]
fn a_server_that_was_down_comes_back_only_by_its_check() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(Duration::from_secs(3));
    let generation = site.entry("web", "b").generation;

    site.answer("10.0.0.2", Answer::Silent);
    site.restart(TWO, true);
    site.start();
    site.run(Duration::from_millis(400));
    assert_eq!(site.scheduled("web"), ["a", "c"]);

    site.answer("10.0.0.2", Answer::Good);
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.entry("web", "b").generation, generation);
}

#[test]
fn a_failure_while_the_daemon_was_away_cuts_the_flows_of_that_server_only() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    site.answer("10.0.0.2", Answer::Refused);
    site.restart(TWO, true);
    site.start();
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    let b = site.id("web", "b");
    for (id, entry) in &site.control.installed().servers {
        let was = before.servers[id];
        assert_eq!(entry.generation, was.generation + u32::from(*id == b), "server {id}");
    }
}

#[test]
fn a_configuration_that_changed_meanwhile_is_carried_out() {
    let mut site = Site::new(TWO);
    let kept = site.entry("web", "a");
    let changed = TWO.replace("      - {name: b, address: 10.0.0.2}\n", "      - {name: e, address: 10.0.0.5}\n");
    site.restart(&changed, true);
    site.start();
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "c", "e"]);
    assert_eq!(site.entry("web", "a"), kept);
    assert_eq!(consistent(site.control.installed()), Ok(()));
}

#[test]
fn a_server_whose_address_changed_meanwhile_is_another_one() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.22", Answer::Silent);
    site.restart(&TWO.replace("{name: b, address: 10.0.0.2}", "{name: b, address: 10.0.0.22}"), true);
    site.start();
    site.run(Duration::from_millis(400));
    assert_eq!(site.scheduled("web"), ["a", "c"], "nothing is known of it yet");

    site.answer("10.0.0.22", Answer::Good);
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.entry("web", "b").destination_mac, mac(ip("10.0.0.22")));
}

#[test]
fn lost_names_cut_the_flows_and_nothing_worse() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    site.restart(TWO, false);
    site.start();
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.scheduled("syslog"), ["a", "d"]);
    for (id, was) in &before.servers {
        let now = site.control.installed().servers[id];
        assert_ne!(now.generation, was.generation, "server {id}");
        assert_eq!(state(&now), ServerState::Down, "server {id}");
    }
    assert_eq!(consistent(site.control.installed()), Ok(()));
}

#[test]
fn a_daemon_that_died_within_a_plan_is_followed_by_one_that_finishes_it() {
    for written in 0..12 {
        let mut site = Site::new(TWO);
        site.answer("10.0.0.1", Answer::Refused);
        site.writes_left = Some(written);
        site.run(Duration::from_secs(3));
        site.writes_left = None;
        site.restart(TWO, true);
        site.start();
        assert_eq!(consistent(site.control.installed()), Ok(()), "after {written} writes");
        site.run(Duration::from_secs(3));
        assert_eq!(site.scheduled("web"), ["b", "c"], "after {written} writes");
        assert_eq!(site.scheduled("syslog"), ["d"], "after {written} writes");
    }
}

#[test]
fn one_failed_check_after_a_restart_cuts_nobody() {
    let two = TWO.replace("fall: 2", "fall: 3");
    let mut site = Site::new(&two);
    let generation = site.entry("web", "b").generation;
    site.answer("10.0.0.2", Answer::Refused);
    site.restart(&two, true);
    site.start();
    site.run(Duration::from_millis(1500));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    site.answer("10.0.0.2", Answer::Good);
    site.run(Duration::from_secs(5));
    assert_eq!(site.entry("web", "b").generation, generation);
}

#[test]
fn a_server_that_keeps_silent_after_a_restart_keeps_its_mac_address() {
    let mut site = Site::new(TWO);
    let before = site.entry("web", "b");
    site.restart(TWO, true);
    site.start();
    site.lead("10.0.0.2", Way::Nobody);
    site.run(Duration::from_secs(60));
    assert_eq!(site.entry("web", "b"), before, "its check has the last word, not ARP");
    let services = site.control.status(&Measured::new(), site.now);
    let reason = &services[0].real_servers[1].reason;
    assert!(reason.contains("frames still go") || reason.contains("does not answer ARP"), "{reason}");
    site.lead("10.0.0.2", Way::Mac([6, 9, 9, 9, 9, 9]));
    assert_eq!(site.entry("web", "b").destination_mac, [6, 9, 9, 9, 9, 9]);
}
