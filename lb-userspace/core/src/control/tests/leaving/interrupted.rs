//! Removal while the kernel refuses, and over a restart of the daemon.

use super::*;

#[test]
fn a_count_says_nothing_while_the_kernel_does_not_know_of_the_removal() {
    let mut site = Site::new(TWO);
    let (b, before) = (site.id("web", "b"), site.entry("web", "b"));
    site.writes_left = Some(0);
    site.reload(&without_b());
    // The ring still names it, and somebody comes after this walk.
    site.walk(&[]);
    let began = site.now;
    site.run(SECONDS(1));
    site.writes_left = None;
    site.run(SECONDS(1));
    site.counted(&[], &[], began);
    assert_eq!(site.installed(b).generation, before.generation, "whoever came meanwhile is cut");
    assert_eq!(state(&site.installed(b)), ServerState::Draining);
    site.walk(&[]);
    assert_eq!(state(&site.installed(b)), ServerState::Down);
}

#[test]
fn a_halt_that_the_kernel_has_not_taken_yet_is_not_undone_by_the_removal() {
    let mut site = Site::new(TWO);
    let (b, generation) = (site.id("web", "b"), site.entry("web", "b").generation);
    site.writes_left = Some(0);
    site.order("web", "b", Order::Halt);
    site.reload(&without_b());
    site.writes_left = None;
    site.run(SECONDS(1));
    assert_eq!(state(&site.installed(b)), ServerState::Down);
    assert_eq!(site.installed(b).generation, generation + 1);
}

#[test]
fn a_restart_goes_on_with_those_who_leave_if_their_service_stays() {
    for with_memory in [false, true] {
        let mut site = Site::new(TWO);
        let b = site.id("web", "b");
        site.reload(&without_b());
        site.run(SECONDS(5));
        let before = site.control.installed().clone();
        if with_memory {
            site.restart_with_memory(&without_b(), true);
        } else {
            site.restart(&without_b(), true);
        }
        site.start();
        site.run(SECONDS(5));
        assert!(*site.control.installed() == before, "memory: {with_memory}");
        assert_eq!(site.control.wanted().leaving, BTreeMap::from([(identity("web", "b", "10.0.0.2"), b)]));
        site.walk(&[(b, 1)]);
        assert!(*site.control.installed() == before, "the tables have changed");
        site.walk(&[]);
        assert_eq!(state(&site.installed(b)), ServerState::Down);
    }
}

#[test]
fn a_restart_with_another_file_lets_whoever_is_missing_in_it_leave() {
    let mut site = Site::new(TWO);
    let (b, before) = (site.id("web", "b"), site.entry("web", "b"));
    site.restart(&without_b(), true);
    site.start();
    site.run(SECONDS(5));
    assert_eq!(site.installed(b), Server { state: ServerState::Draining as u8, weight: 0, ..before });
    site.restart(TWO, true);
    site.start();
    site.run(SECONDS(5));
    assert_eq!((site.id("web", "b"), site.entry("web", "b")), (b, before));
    site.restart(&cutting(&without_b()), true);
    site.start();
    site.run(SECONDS(5));
    assert_eq!(state(&site.installed(b)), ServerState::Down);
}

#[test]
fn a_restart_cuts_those_whose_service_is_gone_and_those_whose_names_were_lost() {
    let mut site = Site::new(TWO);
    let (d, generation) = (site.id("syslog", "d"), site.entry("syslog", "d").generation);
    site.reload(&web_alone());
    site.restart(&web_alone(), true);
    site.start();
    site.run(SECONDS(5));
    assert_eq!(state(&site.installed(d)), ServerState::Down);
    assert_eq!(site.installed(d).generation, generation + 1);
    assert!(!site.takes("10.0.0.101"));

    let mut site = Site::new(TWO);
    let (b, generation) = (site.id("web", "b"), site.entry("web", "b").generation);
    site.reload(&without_b());
    site.restart(&without_b(), false);
    site.start();
    site.run(SECONDS(5));
    assert_eq!(state(&site.installed(b)), ServerState::Down);
    assert_ne!(site.installed(b).generation, generation);
    assert_eq!(consistent(site.control.installed()), Ok(()));
}

#[test]
fn a_removal_that_the_kernel_refuses_anywhere_cuts_nobody_and_is_taken_up_again() {
    let mut length = 1;
    let mut takes = 0;
    while takes < length {
        let mut site = Site::new(TWO);
        let leaving = [site.id("web", "b"), site.id("syslog", "a"), site.id("syslog", "d")];
        let before = site.control.installed().clone();
        site.plans.clear();
        site.writes_left = Some(takes);
        let smaller = web_alone().replace(B, "");
        site.reload(&smaller);
        site.run(SECONDS(1));
        assert_eq!(consistent(site.control.installed()), Ok(()), "after {takes} writes");
        site.writes_left = None;
        site.run(SECONDS(1));
        length = length.max(site.plans.iter().map(Vec::len).sum());
        for id in leaving {
            let (was, is) = (before.servers[&id], site.installed(id));
            assert_eq!((state(&is), is.generation), (ServerState::Draining, was.generation), "after {takes} writes");
        }
        assert_eq!(crate::tables::plan(site.control.installed(), site.control.wanted()), Ok(Vec::new()));
        takes += 1;
    }
    assert!(length > 5, "the plan has {length} operations, too few to be cut short");
}
