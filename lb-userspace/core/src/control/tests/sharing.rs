//! Services that ask the same question of the same server.

use std::time::Duration;

use super::*;
use crate::control::Notice;
use crate::health::TargetId;
use crate::view::{Check, EventKind, HealthState};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A service of this name and VIP, with a check, and one server.
fn service(name: &str, vip: &str, check: &str) -> String {
    format!(
        "  - name: {name}
    address: {vip}
    ports: [80]
    mode: l4-dr
    health_check: {{{check}}}
    real_servers:
      - {{name: s, address: 10.0.0.1}}
"
    )
}

fn site(services: &[String]) -> String {
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
{}",
        services.concat()
    )
}

const CONNECT: &str = "type: connect, port: 22";

/// Services `one`, `two`, ... on VIPs of their own, with these checks.
fn checked(checks: &[&str]) -> String {
    let names = ["one", "two", "three", "four"];
    let vips = ["10.0.0.101", "10.0.0.102", "10.0.0.103", "10.0.0.104"];
    let services = checks.iter().zip(names).zip(vips).map(|((check, name), vip)| service(name, vip, check));
    site(&services.collect::<Vec<_>>())
}

impl Site {
    /// Probes within the next ten seconds, by target.
    fn probes_soon(&mut self) -> BTreeMap<TargetId, usize> {
        self.asked.clear();
        self.run(SECONDS(10));
        let mut probes = BTreeMap::new();
        for asked in &self.asked {
            *probes.entry(asked.id).or_default() += 1;
        }
        probes
    }

    fn check(&self, service: &str) -> Check {
        let list = self.control.checks(self.now);
        list.checks.into_iter().find(|check| check.service == service).expect("it is configured")
    }

    /// Who was said to be down or up, in order.
    fn told(&self) -> Vec<(&str, bool)> {
        let health = self.notices.iter().filter(|notice| notice.kind == EventKind::Health);
        health.map(|Notice { server, worse, .. }| (&server.service[..], *worse)).collect()
    }
}

#[test]
fn the_same_question_is_asked_once_and_answers_for_all() {
    let mut site = Site::new(&checked(&[CONNECT, CONNECT, CONNECT]));
    assert_eq!(site.probes_soon().into_values().collect::<Vec<_>>(), [10]);
    site.notices.clear();
    site.answer("10.0.0.1", Answer::Refused);
    site.run(SECONDS(3));
    assert_eq!(site.told(), [("one", true), ("three", true), ("two", true)]);
    for name in ["one", "two", "three"] {
        assert!(!site.is_up(name, "s"), "{name}");
    }
    assert_eq!(site.check("two").shared_with, ["one/s", "three/s"]);
    assert_eq!(site.control.checks(site.now).checks.len(), 3);
    site.answer("10.0.0.1", Answer::Good);
    site.run(SECONDS(3));
    assert_eq!(site.told()[3..], [("one", false), ("three", false), ("two", false)]);
}

#[test]
fn questions_that_differ_in_anything_are_asked_apart() {
    for other in [
        "type: connect, port: 23",
        "type: connect, port: 22, interval: 2s",
        "type: connect, port: 22, timeout: 400ms",
        "type: connect, port: 22, rise: 1",
        "type: connect, port: 22, fall: 1",
        "type: connect, port: 22, flap_damping: false",
        "type: ping",
    ] {
        let mut site = Site::new(&checked(&[CONNECT, other]));
        assert_eq!(site.probes_soon().len(), 2, "{other}");
        assert!(site.check("one").shared_with.is_empty());
    }
}

#[test]
fn servers_on_other_addresses_are_asked_apart() {
    let two = service("two", "10.0.0.102", CONNECT).replace("address: 10.0.0.1}", "address: 10.0.0.2}");
    let mut site = Site::new(&site(&[service("one", "10.0.0.101", CONNECT), two]));
    assert_eq!(site.probes_soon().len(), 2);
}

#[test]
fn a_default_port_is_that_of_the_service() {
    let two = service("two", "10.0.0.102", "type: connect").replace("[80]", "[81]");
    let mut site = Site::new(&site(&[service("one", "10.0.0.101", "type: connect"), two]));
    assert_eq!(site.probes_soon().len(), 2);
}

#[test]
fn a_script_is_shared_within_one_vip_and_port_and_never_beyond() {
    let script = "type: script, path: /usr/local/bin/check";
    let mut apart = Site::new(&checked(&[script, script]));
    assert_eq!(apart.probes_soon().len(), 2);
    let subjects: BTreeSet<_> = apart.asked.iter().map(|asked| asked.subject).collect();
    assert_eq!(subjects, BTreeSet::from([Some((ip("10.0.0.101"), 80)), Some((ip("10.0.0.102"), 80))]));

    let udp = service("two", "10.0.0.101", script).replace("    mode", "    protocol: udp\n    mode");
    let mut same = Site::new(&site(&[service("one", "10.0.0.101", script), udp]));
    assert_eq!(same.probes_soon().len(), 1);
    assert_eq!(same.asked[0].subject, Some((ip("10.0.0.101"), 80)));
    assert_eq!(same.check("one").shared_with, ["two/s"]);

    let port = service("two", "10.0.0.101", script).replace("[80]", "[81]");
    let mut ports = Site::new(&site(&[service("one", "10.0.0.101", script), port]));
    assert_eq!(ports.probes_soon().len(), 2);
    let mut others = Site::new(&checked(&[CONNECT]));
    others.probes_soon();
    assert!(others.asked.iter().all(|asked| asked.subject.is_none()), "only scripts are told");
}

#[test]
fn what_one_sharer_leaves_the_other_goes_on_with() {
    for removed in ["one", "two"] {
        let (one, two) = (service("one", "10.0.0.101", CONNECT), service("two", "10.0.0.102", CONNECT));
        let mut site_of_both = Site::new(&site(&[one.clone(), two.clone()]));
        let target = site_of_both.asked[0].id;
        site_of_both.answer("10.0.0.1", Answer::Refused);
        site_of_both.run(Duration::from_millis(900));
        site_of_both.cancelled.clear();
        site_of_both.notices.clear();
        let (left, text) = if removed == "one" { ("two", two) } else { ("one", one) };
        let failures = site_of_both.check(left).failures;
        assert_eq!(failures, 1, "one of two");

        site_of_both.reload(&cutting(&site(&[text])));

        assert_eq!(site_of_both.check(left).failures, failures, "what was counted counts");
        assert_eq!(site_of_both.cancelled, []);
        site_of_both.run(SECONDS(1));
        assert_eq!(site_of_both.told(), [(left, true)]);
        assert_eq!(site_of_both.probes_soon().into_keys().collect::<Vec<_>>(), [target]);
    }
}

#[test]
fn a_sharer_that_asks_something_else_keeps_its_state_until_the_answer() {
    for (before, answer) in [(Answer::Good, HealthState::Up), (Answer::Refused, HealthState::Down)] {
        for changed in ["one", "two"] {
            let mut site = Site::new(&checked(&[CONNECT, CONNECT]));
            site.answer("10.0.0.1", before);
            site.run(SECONDS(5));
            let target = site.asked.last().expect("it is checked").id;
            let (up, counted) = (site.is_up(changed, "s"), site.check("one"));
            let entries = (site.entry("one", "s"), site.entry("two", "s"));
            site.notices.clear();
            site.answer("10.0.0.1", Answer::Silent);
            let other = "type: connect, port: 23";
            let (checks, stays) = if changed == "one" { ([other, CONNECT], "two") } else { ([CONNECT, other], "one") };
            site.reload(&checked(&checks));

            assert_eq!((site.entry("one", "s"), site.entry("two", "s")), entries);
            assert_eq!(site.is_up(changed, "s"), up);
            let kept = site.check(stays);
            assert_eq!((kept.state, kept.successes, kept.failures), (answer, counted.successes, counted.failures));
            assert_eq!(site.notices, Vec::new());
            site.answer("10.0.0.1", before);
            assert_eq!(site.probes_soon().len(), 2);
            assert!(site.asked.iter().any(|asked| asked.id == target && asked.check.port == Some(22)));
            assert_eq!(site.is_up(changed, "s"), up);
            assert_eq!(site.told(), [], "{changed}: the new check says what is known");
            assert_eq!((site.entry("one", "s"), site.entry("two", "s")), entries);
        }
    }
}

#[test]
fn who_joins_a_target_that_is_down_is_down_at_once_and_says_so() {
    let mut site = Site::new(&checked(&[CONNECT, "type: none"]));
    site.answer("10.0.0.1", Answer::Refused);
    site.run(SECONDS(10));
    assert!(site.is_up("two", "s"));
    site.notices.clear();
    site.answer("10.0.0.1", Answer::Silent);

    site.reload(&checked(&[CONNECT, CONNECT]));
    assert!(!site.is_up("two", "s"));
    assert_eq!(site.told(), [("two", true)]);
    assert!(site.notices[0].sentence.contains("connection refused by 10.0.0.1:22"), "{}", site.notices[0].sentence);

    // And a service that is new.
    site.reload(&checked(&[CONNECT, CONNECT, CONNECT]));
    assert!(!site.is_up("three", "s"));
    assert_eq!(site.told(), [("two", true), ("three", true)]);
    assert!(site.control.all_checked());
}

#[test]
fn who_joins_a_target_that_is_up_is_up_at_once() {
    let mut site = Site::new(&checked(&[CONNECT, "type: connect, port: 23"]));
    site.answer("10.0.0.1", Answer::Silent);
    site.reload(&checked(&[CONNECT, CONNECT, CONNECT]));
    assert!(site.is_up("two", "s"));
    assert!(site.is_up("three", "s"));
    assert_eq!(site.control.checks(site.now).checks.iter().filter(|check| check.shared_with.len() == 2).count(), 3);
}

#[test]
fn an_interval_changed_for_all_keeps_every_state_and_who_shares() {
    let all = checked(&[CONNECT, CONNECT, "type: connect, port: 23", "type: ping"]);
    for (answer, state) in [(Answer::Good, HealthState::Up), (Answer::Refused, HealthState::Down)] {
        let mut site = Site::new(&all);
        site.answer("10.0.0.1", answer);
        site.run(SECONDS(5));
        let targets: BTreeSet<TargetId> = site.probes_soon().into_keys().collect();
        let before = site.control.installed().clone();
        site.notices.clear();
        site.answer("10.0.0.1", Answer::Silent);
        site.reload(&all.replace("interval: 1s", "interval: 3s"));
        for service in ["one", "two", "three", "four"] {
            assert_eq!(site.check(service).state, state, "{service}");
        }
        site.answer("10.0.0.1", answer);
        assert_eq!(site.probes_soon().into_keys().collect::<BTreeSet<_>>(), targets);
        assert!(*site.control.installed() == before, "the tables have changed");
        assert_eq!(site.notices, Vec::new());
    }
}

#[test]
fn a_newcomer_that_asks_the_changed_question_first_does_not_take_the_state_away() {
    let port = "type: connect, port: 23";
    for (answer, state) in [(Answer::Good, HealthState::Up), (Answer::Refused, HealthState::Down)] {
        let mut site = Site::new(&checked(&[CONNECT, CONNECT]));
        site.answer("10.0.0.1", answer);
        site.run(SECONDS(5));
        let target = site.asked.last().expect("it is checked").id;
        site.notices.clear();
        site.answer("10.0.0.1", Answer::Silent);
        // Its name comes before the others'.
        let more =
            [service("a", "10.0.0.109", port), service("one", "10.0.0.101", port), service("two", "10.0.0.102", port)];
        site.reload(&super::sharing::site(&more));
        for name in ["a", "one", "two"] {
            assert_eq!(site.check(name).state, state, "{name}");
            assert_eq!(site.is_up(name, "s"), state == HealthState::Up, "{name}");
        }
        site.answer("10.0.0.1", answer);
        assert_eq!(site.probes_soon().into_keys().collect::<Vec<_>>(), [target]);
        let about_a = usize::from(state == HealthState::Down);
        assert_eq!(site.told(), vec![("a", true); about_a]);
    }
}

#[test]
fn two_sharers_that_part_both_keep_their_state_without_a_word() {
    for answer in [Answer::Good, Answer::Refused] {
        let mut site = Site::new(&checked(&[CONNECT, CONNECT]));
        site.answer("10.0.0.1", answer);
        site.run(SECONDS(5));
        let before = site.control.installed().clone();
        let since = site.control.status(&crate::control::Measured::new(), site.now);
        site.notices.clear();
        site.reload(&checked(&["type: connect, port: 23", "type: connect, port: 24"]));
        assert_eq!(site.probes_soon().len(), 2);
        assert_eq!(site.notices, Vec::new());
        assert!(*site.control.installed() == before, "the tables have changed");
        let now = site.control.status(&crate::control::Measured::new(), site.now);
        for (then, now) in since.iter().zip(&now) {
            assert_eq!(now.real_servers[0].since_seconds, then.real_servers[0].since_seconds + 10, "{}", now.name);
        }
    }
}

#[test]
fn a_memory_counts_for_everybody_who_asks_the_question() {
    let mut site = Site::new(&checked(&[CONNECT]));
    site.answer("10.0.0.1", Answer::Refused);
    site.run(SECONDS(5));
    // A service came into the file while no daemon ran, and its name comes first.
    let more = [service("a", "10.0.0.109", CONNECT), service("one", "10.0.0.101", CONNECT)];
    site.restart_with_memory(&super::sharing::site(&more), true);
    site.start();
    for name in ["a", "one"] {
        assert_eq!(site.check(name).state, HealthState::Down, "{name}");
    }
    site.answer("10.0.0.1", Answer::Good);
    site.run(Duration::from_millis(900));
    assert!(!site.is_up("one", "s"), "it needs two good checks");
    site.run(SECONDS(1));
    assert!(site.is_up("one", "s") && site.is_up("a", "s"));
}

#[test]
fn remembered_up_stands_until_the_check_has_failed_often_enough() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    site.run(SECONDS(60));
    site.answer("10.0.0.2", Answer::Refused);
    site.restart_with_memory(TWO, true);
    site.start();
    site.run(Duration::from_millis(900));
    assert!(*site.control.installed() == before, "one failure of two");
    site.run(SECONDS(1));
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    assert_eq!(site.told(), [("web", true)]);
}

#[test]
fn remembered_since_goes_on() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(100));
    let before = site.control.checks(site.now);
    site.restart_with_memory(TWO, true);
    site.start();
    let after = site.control.checks(site.now);
    for (before, after) in before.checks.iter().zip(&after.checks) {
        assert_eq!((after.state, after.since_seconds), (before.state, before.since_seconds), "{}", after.server);
    }
    let b = &after.checks[1];
    assert_eq!((&b.server[..], &b.reason[..]), ("b", "10.0.0.2:80 was down before lbd started"));
    assert_eq!(site.notices, Vec::new(), "nothing has happened");
}

#[test]
fn another_address_is_not_remembered() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(10));
    site.answer("10.0.0.22", Answer::Silent);
    site.restart_with_memory(&TWO.replace("address: 10.0.0.2}", "address: 10.0.0.22}"), true);
    site.start();
    assert_eq!(site.control.checks(site.now).checks[1].state, HealthState::Checking);
}

#[test]
fn there_is_something_new_to_remember_when_a_state_changes_and_only_then() {
    let mut site = Site::new(TWO);
    assert!(!site.control.has_news(), "the site has asked");
    let known = |site: &mut Site| {
        site.restart_with_memory(TWO, true);
        assert!(site.control.has_news(), "nobody has asked yet");
        site.control.remember(site.now)
    };
    let all = known(&mut site);
    assert!(all.values().all(|memory| memory.up), "{all:?}");
    assert_eq!(all.len(), 5);
    site.start();
    site.answer("10.0.0.4", Answer::Refused);
    site.run(SECONDS(5));
    let all = known(&mut site);
    let down: Vec<_> = all.iter().filter(|(_, memory)| !memory.up).map(|((key, _), _)| key.clone()).collect();
    assert_eq!(down, [key("syslog", "d")]);
}
