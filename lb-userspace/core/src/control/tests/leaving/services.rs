//! Whole services that a reload removes, and what the file says of removal.

use super::*;

#[test]
fn a_removed_service_keeps_its_vip_and_its_number_until_its_flows_have_ended() {
    let mut site = Site::new(TWO);
    let number = site.control.wanted().service_numbers["syslog"];
    let (a, d) = (site.id("syslog", "a"), site.id("syslog", "d"));
    let entries = (site.entry("syslog", "a"), site.entry("syslog", "d"));

    site.reload(&web_alone());
    assert!(!site.control.installed().services.contains_key(&number), "new flows are not taken");
    assert!(site.control.installed().port_ranges.is_empty());
    assert!(site.takes("10.0.0.101"));
    assert_eq!(site.control.leaving_vips().collect::<BTreeSet<_>>(), BTreeSet::from([ip("10.0.0.101")]));
    for (id, entry) in [(a, entries.0), (d, entries.1)] {
        let draining = Server { state: ServerState::Draining as u8, weight: 0, ..entry };
        assert_eq!(site.installed(id), draining);
    }

    // Meanwhile services come and go; none of them gets its number.
    for round in 0..3 {
        let more = web_alone().replace("web", &format!("web{round}")).replace("10.0.0.100", "10.0.0.102");
        let more = web_alone() + &more[more.find("  - name").expect("it is there")..];
        site.reload(&more);
        site.run(SECONDS(2));
        assert_ne!(site.control.wanted().service_numbers[&format!("web{round}")], number);
        site.walk(&[(a, 1), (d, 1)]);
    }
    site.reload(&web_alone());
    site.walk(&[(d, 1)]);
    assert_eq!(site.leavers(), ["syslog/d@10.0.0.4"]);
    assert!(site.takes("10.0.0.101"));
    assert_eq!(state(&site.installed(a)), ServerState::Down);

    site.walk(&[]);
    assert!(!site.takes("10.0.0.101"));
    assert_eq!(site.control.leaving_vips().count(), 0);
    assert!(!site.control.wanted().service_numbers.contains_key("syslog"));
    assert_eq!(state(&site.installed(d)), ServerState::Down);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
}

#[test]
fn a_service_that_comes_back_has_the_same_number_and_servers() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    let numbers = site.control.wanted().server_numbers.clone();
    site.reload(&web_alone());
    site.run(SECONDS(5));
    site.reload(TWO);
    assert_eq!(site.control.wanted().server_numbers, numbers);
    assert_eq!(site.control.installed().servers, before.servers);
    assert_eq!(site.control.installed().service_ports, before.service_ports);
    assert_eq!(site.scheduled("syslog"), ["a", "d"]);
}

#[test]
fn a_service_with_another_name_on_the_same_port_lets_the_old_flows_finish() {
    let mut site = Site::new(TWO);
    let d = site.id("syslog", "d");
    let before = site.installed(d).generation;
    site.reload(&TWO.replace("name: syslog", "name: log"));
    site.run(SECONDS(2));
    assert_eq!(site.scheduled("log"), ["a", "d"]);
    assert_eq!(site.leavers(), ["syslog/a@10.0.0.1", "syslog/d@10.0.0.4"]);
    assert_eq!((state(&site.installed(d)), site.installed(d).generation), (ServerState::Draining, before));
    site.walk(&[]);
    assert!(site.takes("10.0.0.101"), "the new service has the VIP");
    assert_eq!(site.scheduled("log"), ["a", "d"]);
}

#[test]
fn cut_is_cut() {
    for yaml in
        [cutting(TWO), TWO.replace("    mode: l4-dr\n    health", "    mode: l4-dr\n    on_removal: cut\n    health")]
    {
        let mut site = Site::new(&yaml);
        let (b, generation) = (site.id("web", "b"), site.entry("web", "b").generation);
        site.reload(&yaml.replace(B, ""));
        assert!(site.leavers().is_empty());
        assert_eq!(site.installed(b), Server { generation: generation + 1, ..Server::default() });
    }
    // The new file decides for a service that stays, the old one for a service that goes.
    let mut site = Site::new(TWO);
    site.reload(&cutting(&without_b()));
    assert!(site.leavers().is_empty());
    let mut site = Site::new(&cutting(TWO));
    site.reload(&without_b());
    assert_eq!(site.leavers(), ["web/b@10.0.0.2"]);
    let mut site = Site::new(&cutting(TWO));
    site.reload(&web_alone());
    assert!(site.leavers().is_empty());
    let mut site = Site::new(TWO);
    site.reload(&cutting(&web_alone()));
    assert_eq!(site.leavers(), ["syslog/a@10.0.0.1", "syslog/d@10.0.0.4"]);
}

#[test]
fn a_fallback_server_that_is_removed_leaves_too() {
    let with = TWO.replace(
        "    real_servers:\n      - {name: a, address: 10.0.0.1}\n      - {name: b",
        "    fallback: {address: 10.0.0.9}\n    real_servers:\n      - {name: a, address: 10.0.0.1}\n      - {name: b",
    );
    let mut site = Site::new(&with);
    let id = site.id("web", "fallback");
    site.reload(TWO);
    assert_eq!(site.leavers(), ["web/fallback@10.0.0.9"]);
    assert_eq!(state(&site.installed(id)), ServerState::Draining);
    site.reload(&with);
    assert_eq!((site.id("web", "fallback"), state(&site.installed(id))), (id, ServerState::Active));
    site.reload(TWO);
    site.walk(&[]);
    assert_eq!(state(&site.installed(id)), ServerState::Down);
}
