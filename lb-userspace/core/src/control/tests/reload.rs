//! Another configuration comes into force.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::site::load;
use super::*;
use crate::config::model::PortRange;
use crate::control::{Measured, Refusal};

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|address| ip(address)).collect()
}

#[test]
fn an_equal_configuration_plans_nothing_and_disturbs_no_check() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(Duration::from_secs(3));
    let before = site.control.installed().clone();
    site.plans.clear();
    site.notices.clear();

    site.reload(TWO);
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
    site.run(Duration::from_secs(10));
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
    assert_eq!(site.control.installed(), &before);
    assert_eq!(site.notices, Vec::new());
}

#[test]
fn a_change_of_one_service_plans_no_operation_for_another() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    let web = site.control.wanted().service_numbers["web"];
    site.plans.clear();

    site.reload(&TWO.replace("weight: 50}", "weight: 75}\n      - {name: e, address: 10.0.0.5}"));
    site.run(Duration::from_secs(2));

    assert_eq!(site.scheduled("syslog"), ["a", "d", "e"]);
    for op in site.plans.concat() {
        match op {
            TableOp::SetServer { id, entry } => assert_ne!(entry.service, web, "server {id}"),
            TableOp::SetService { id, .. } => assert_ne!(id, web),
            TableOp::WriteSchedule { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let entry = before.services[&web];
    assert_eq!(site.service_entry("web"), entry);
    assert!(
        site.control
            .installed()
            .places(entry.ring_base, entry.ring_size)
            .eq(before.places(entry.ring_base, entry.ring_size))
    );
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let mut site = Site::new(TWO);
    let before = (site.control.installed().clone(), site.control.config().clone(), site.control.wanted().clone());
    site.plans.clear();
    site.probed.clear();

    // What `load` would have refused: 20 ranges on one VIP and protocol, and there is room for 16.
    let mut config = load(&TWO.replace("10.0.0.3}", "10.0.0.33}"));
    config.virtual_services[0].ports =
        (0..20).map(|i| PortRange { first: 10_000 + 10 * i, last: 10_005 + 10 * i }).collect();
    config.virtual_services.swap(0, 1);
    let refused = site.try_reload(config);

    assert!(matches!(refused, Err(Refusal::Compile(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().starts_with("10.0.0.100 has 20 port ranges for TCP"));
    site.run(Duration::from_secs(5));
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
    assert_eq!(
        (site.control.installed().clone(), site.control.config().clone(), site.control.wanted().clone()),
        before
    );
    assert_eq!(site.probed, addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]));
}

#[test]
fn who_is_watched_and_checked_follows_the_configuration() {
    let two = cutting(TWO);
    let mut site = Site::new(&two);
    site.reload(
        &two.replace("{name: b, address: 10.0.0.2}", "{name: b, address: 10.0.0.22}")
            .replace("      - {name: c, address: 10.0.0.3}\n", "")
            .replace(
                "    mode: l4-dr\n    scheduler",
                "    mode: l4-dr\n    fallback: {address: 10.0.0.9}\n    scheduler",
            ),
    );
    site.run(Duration::from_secs(1));
    site.probed.clear();
    site.routed.clear();
    // Routes are asked again at least every 30 seconds.
    site.run(Duration::from_secs(31));
    assert_eq!(site.probed, addresses(&["10.0.0.1", "10.0.0.22", "10.0.0.4"]));
    assert_eq!(site.routed, addresses(&["10.0.0.1", "10.0.0.22", "10.0.0.4", "10.0.0.9"]));
}

#[test]
fn a_server_added_on_a_machine_that_is_known_is_in_service_at_once() {
    let mut site = Site::new(TWO);
    site.reload(&TWO.replace("weight: 50}", "weight: 50}\n      - {name: b, address: 10.0.0.2}"));
    site.run(Duration::from_secs(2));
    assert_eq!(site.scheduled("syslog"), ["a", "b", "d"]);
}

#[test]
fn a_service_added_on_machines_that_are_known_hears_of_their_problems() {
    let mut site = Site::new(TWO);
    site.lead("10.0.0.2", Way::Gateway(ip("10.0.0.254")));
    site.lead("10.0.0.3", Way::Nobody);
    let more = TWO.replace(
        "weight: 50}",
        "weight: 50}\n      - {name: b, address: 10.0.0.2}\n      - {name: c, address: 10.0.0.3}",
    );
    site.reload(&more);
    site.run(Duration::from_secs(2));
    let services = site.control.status(&Measured::new(), site.now);
    let [_, _, b, c] = &services[1].real_servers[..] else { panic!("{services:?}") };
    assert!(b.reason.contains("leads by the gateway 10.0.0.254"), "{}", b.reason);
    assert!(c.reason.contains("10.0.0.3 does not answer ARP"), "{}", c.reason);
}

#[test]
fn another_address_is_another_server() {
    let two = cutting(TWO);
    let mut site = Site::new(&two);
    let old = site.id("web", "b");
    let generation = site.entry("web", "b").generation;
    site.answer("10.0.0.22", Answer::Silent);

    site.reload(&two.replace("{name: b, address: 10.0.0.2}", "{name: b, address: 10.0.0.22}"));
    assert_ne!(site.id("web", "b"), old, "its flows are not the old one's");
    assert_eq!(site.control.installed().servers[&old], Server { generation: generation + 1, ..Server::default() });
    assert_eq!(site.scheduled("web"), ["a", "c"], "nothing is known of it yet");

    site.answer("10.0.0.22", Answer::Good);
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
}

#[test]
fn another_check_lets_the_server_serve_until_it_has_spoken() {
    let mut site = Site::new(TWO);
    let generation = site.entry("web", "a").generation;
    for server in 1..=4 {
        site.answer(&format!("10.0.0.{server}"), Answer::Silent);
    }
    site.reload(&TWO.replace("timeout: 500ms", "timeout: 900ms"));
    site.run(Duration::from_millis(500));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.entry("web", "a").generation, generation);
    site.run(Duration::from_secs(3));
    assert_eq!(site.service_entry("web").ring_size, 0);
}

#[test]
fn a_check_that_is_taken_away_brings_the_server_up() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(Duration::from_secs(3));
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    site.reload(&TWO.replace("type: connect, port: 22", "type: none").replace("type: connect", "type: none"));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
}

#[test]
fn a_service_that_is_removed_leaves_nothing_behind() {
    let two = cutting(TWO);
    let mut site = Site::new(&two);
    let (service, d) = (site.control.wanted().service_numbers["syslog"], site.id("syslog", "d"));
    let cut = two.find("  - name: syslog").expect("it is there");
    site.reload(&two[..cut]);
    let installed = site.control.installed();
    assert!(!installed.services.contains_key(&service));
    assert!(installed.port_ranges.is_empty());
    assert_eq!(installed.service_ports.len(), 1);
    assert_eq!(state(&installed.servers[&d]), ServerState::Down);
    let bits: u32 = installed.filter.values().map(|bits| bits.count_ones()).sum();
    assert_eq!(bits, 1, "one VIP is left");
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
}
