//! Servers that a reload removes while they have flows.

mod interrupted;
mod services;

use std::time::Duration;

use lb_common::abi::{Address, filter_bit};

use super::*;
use crate::control::{Measured, OrderError};
use crate::tables::ServerIdentity;
use crate::view::{EventKind, Order};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;
const B: &str = "      - {name: b, address: 10.0.0.2}\n";

fn without_b() -> String {
    TWO.replace(B, "")
}

/// `TWO` without its second service.
fn web_alone() -> String {
    TWO[..TWO.find("  - name: syslog").expect("it is there")].to_owned()
}

fn identity(service: &str, server: &str, address: &str) -> ServerIdentity {
    ServerIdentity { service: service.to_owned(), server: server.to_owned(), address: ip(address), port: None }
}

impl Site {
    fn installed(&self, id: ServerId) -> Server {
        self.control.installed().servers[&id]
    }

    fn leavers(&self) -> Vec<String> {
        self.control.wanted().leaving.keys().map(|of| format!("{}/{}@{}", of.service, of.server, of.address)).collect()
    }

    /// A walk that begins and ends a second from now finds so many connections.
    fn walk(&mut self, connections: &[(ServerId, u64)]) {
        self.run(SECONDS(1));
        let now = self.now;
        self.counted(connections, &[], now);
    }

    fn takes(&self, vip: &str) -> bool {
        let (word, bit) = filter_bit(&Address::from(ip(vip)));
        self.control.installed().filter.get(&word).is_some_and(|bits| bits & bit != 0)
    }

    /// Addresses that are probed within the next ten seconds.
    fn probed_soon(&mut self) -> BTreeSet<std::net::IpAddr> {
        self.probed.clear();
        self.run(SECONDS(10));
        self.probed.clone()
    }
}

#[test]
fn a_removed_server_keeps_its_number_and_generation_and_gets_nobody_new() {
    let mut site = Site::new(TWO);
    let (b, before) = (site.id("web", "b"), site.entry("web", "b"));
    site.notices.clear();
    site.plans.clear();

    site.reload(&without_b());

    let draining = Server { state: ServerState::Draining as u8, weight: 0, ..before };
    assert_eq!(site.installed(b), draining);
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    assert!(site.control.wanted().off_duty.contains(&b), "its clients move with their next flow");
    assert_eq!(servers_in(&site.plans.concat()), [b]);
    assert_eq!(site.leavers(), ["web/b@10.0.0.2"]);
    let [notice] = &site.notices[..] else { panic!("{:?}", site.notices) };
    assert_eq!((&notice.server, notice.kind, notice.worse), (&key("web", "b"), EventKind::Configuration, false));
    assert_eq!(notice.sentence, "10.0.0.2 is removed from the configuration; its flows finish first");

    site.run(SECONDS(3600));
    assert_eq!(site.installed(b), draining, "time alone ends nothing");
}

#[test]
fn it_is_shown_with_its_connections_until_it_is_gone() {
    let mut site = Site::new(TWO);
    let b = site.id("web", "b");
    site.reload(&without_b());
    site.run(SECONDS(5));
    let measures = crate::control::ServerMeasures { connections: 3, ..Default::default() };
    let services = site.control.status(&Measured::from([(b, measures)]), site.now);
    let rows: Vec<_> = services[0].real_servers.iter().map(|real| (&real.name[..], real.leaving)).collect();
    assert_eq!(rows, [("a", false), ("c", false), ("b", true)]);
    let row = &services[0].real_servers[2];
    assert_eq!((row.connections, row.since_seconds), (3, 5));
    assert_eq!(row.reason, "removed from the configuration; it goes when its 3 connections have ended");
    site.walk(&[]);
    assert_eq!(site.control.status(&Measured::new(), site.now)[0].real_servers.len(), 2);
}

#[test]
fn it_goes_when_a_count_that_began_after_its_removal_finds_nobody() {
    let mut site = Site::new(TWO);
    let (b, before) = (site.id("web", "b"), site.entry("web", "b"));
    let began = site.now;
    site.run(SECONDS(1));
    site.reload(&without_b());
    site.counted(&[], &[], began);
    assert_eq!(site.leavers(), ["web/b@10.0.0.2"], "who came during that walk was not seen");
    site.walk(&[(b, 1)]);
    assert_eq!(site.leavers(), ["web/b@10.0.0.2"]);
    site.notices.clear();

    site.walk(&[]);

    assert!(site.leavers().is_empty());
    let gone = Server { generation: before.generation + 1, ..Server::default() };
    assert_eq!(site.installed(b), gone);
    let [notice] = &site.notices[..] else { panic!("{:?}", site.notices) };
    assert_eq!((&notice.server, notice.worse), (&key("web", "b"), false));
    assert_eq!(notice.sentence, "10.0.0.2, which was removed from the configuration, is gone: its last flow has ended");
    assert_eq!(crate::tables::plan(site.control.installed(), site.control.wanted()), Ok(Vec::new()));
}

#[test]
fn its_probes_end_when_it_is_gone_and_not_before() {
    type End = fn(&mut Site);
    let ends: [(&str, End); 3] = [
        ("its last flow has ended", |site| site.walk(&[])),
        ("it was halted", |site| assert!(site.order("web", "b", Order::Halt).changed)),
        ("its check failed", |site| {
            site.answer("10.0.0.2", Answer::Refused);
            site.run(SECONDS(3));
        }),
    ];
    for (how, end) in ends {
        let mut site = Site::new(TWO);
        site.reload(&without_b());
        assert!(site.probed_soon().contains(&ip("10.0.0.2")), "{how}");
        site.probed.clear();
        end(&mut site);
        assert!(site.leavers().is_empty(), "{how}");
        assert!(!site.probed_soon().contains(&ip("10.0.0.2")), "{how}");
        assert!(!site.routed.is_empty());
        site.routed.clear();
        site.run(SECONDS(31));
        assert!(!site.routed.contains(&ip("10.0.0.2")), "{how}: nobody asks for the way there");
    }
}

#[test]
fn a_probe_of_a_halted_leaver_is_cancelled_at_once() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Silent);
    site.run(Duration::from_millis(1100));
    let probe = site.asked.iter().rev().find(|asked| asked.address == ip("10.0.0.2")).expect("it is checked").id;
    site.reload(&without_b());
    site.cancelled.clear();
    site.order("web", "b", Order::Halt);
    assert_eq!(site.cancelled, [probe]);
}

#[test]
fn one_that_comes_back_has_never_been_away() {
    let mut site = Site::new(TWO);
    let (b, before) = (site.id("web", "b"), site.entry("web", "b"));
    site.reload(&without_b());
    site.run(SECONDS(60));
    site.asked.clear();

    site.reload(TWO);

    assert_eq!((site.id("web", "b"), site.entry("web", "b")), (b, before));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"], "at once");
    assert!(site.leavers().is_empty());
    assert!(!site.control.wanted().off_duty.contains(&b));
    site.walk(&[]);
    site.run(SECONDS(10));
    assert_eq!(site.entry("web", "b"), before);
}

#[test]
fn one_that_comes_back_with_another_address_is_somebody_else_beside_the_old() {
    let mut site = Site::new(TWO);
    let (old, before) = (site.id("web", "b"), site.entry("web", "b"));
    site.reload(&TWO.replace("address: 10.0.0.2}", "address: 10.0.0.22}"));
    site.run(SECONDS(2));
    assert_eq!(site.leavers(), ["web/b@10.0.0.2"]);
    let new = site.id("web", "b");
    assert_ne!(new, old);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(state(&site.entry("web", "b")), ServerState::Active);
    assert_eq!(state(&site.installed(old)), ServerState::Draining);

    // And back again: now the other one leaves.
    site.reload(TWO);
    assert_eq!((site.id("web", "b"), site.entry("web", "b")), (old, before));
    assert_eq!(site.leavers(), ["web/b@10.0.0.22"]);
    site.walk(&[(old, 5)]);
    assert_eq!(state(&site.installed(new)), ServerState::Down);
    assert_eq!(site.entry("web", "b"), before);
}

#[test]
fn an_order_is_about_the_server_of_the_configuration_while_there_is_one() {
    let mut site = Site::new(TWO);
    let old = site.id("web", "b");
    site.reload(&TWO.replace("address: 10.0.0.2}", "address: 10.0.0.22}"));
    site.run(SECONDS(2));
    site.order("web", "b", Order::Halt);
    assert_eq!(state(&site.entry("web", "b")), ServerState::Down);
    assert_eq!(state(&site.installed(old)), ServerState::Draining);
}

#[test]
fn halting_cuts_everybody_who_leaves_by_that_name() {
    let mut site = Site::new(TWO);
    let first = site.id("web", "b");
    site.reload(&TWO.replace("address: 10.0.0.2}", "address: 10.0.0.22}"));
    site.run(SECONDS(2));
    let second = site.id("web", "b");
    site.reload(&without_b());
    assert_eq!(site.leavers(), ["web/b@10.0.0.2", "web/b@10.0.0.22"]);
    assert!(site.order("web", "b", Order::Halt).changed);
    assert!(site.leavers().is_empty(), "{:?}", site.leavers());
    for id in [first, second] {
        assert_eq!(state(&site.installed(id)), ServerState::Down);
    }
}

#[test]
fn a_halt_cuts_a_leaver_and_any_other_order_is_refused() {
    let mut site = Site::new(TWO);
    let (b, generation) = (site.id("web", "b"), site.entry("web", "b").generation);
    site.reload(&without_b());
    for order in [Order::Drain, Order::Online, Order::Weight { weight: Some(1) }] {
        let refused = site.try_order("web", "b", order);
        assert!(matches!(refused, Err(OrderError::Leaving { .. })), "{order:?}: {refused:?}");
    }
    assert_eq!(site.installed(b).generation, generation);
    site.notices.clear();
    let came_to = site.order("web", "b", Order::Halt);
    assert_eq!((came_to.changed, &came_to.sentence[..]), (true, "is gone, its flows are cut by order of anna"));
    assert_eq!(site.installed(b), Server { generation: generation + 1, ..Server::default() });
    let [notice] = &site.notices[..] else { panic!("{:?}", site.notices) };
    assert_eq!((notice.worse, notice.by.as_deref()), (true, Some("anna")));
    let again = site.try_order("web", "b", Order::Halt);
    assert!(matches!(again, Err(OrderError::NoServer { .. })), "{again:?}");
}

#[test]
fn a_check_that_fails_cuts_a_leaver() {
    let mut site = Site::new(TWO);
    let (b, generation) = (site.id("web", "b"), site.entry("web", "b").generation);
    site.reload(&without_b());
    site.notices.clear();
    site.answer("10.0.0.2", Answer::Refused);
    site.run(Duration::from_millis(900));
    assert_eq!(state(&site.installed(b)), ServerState::Draining, "one of two failures");
    site.run(SECONDS(2));
    assert_eq!(site.installed(b), Server { generation: generation + 1, ..Server::default() });
    let [notice] = &site.notices[..] else { panic!("{:?}", site.notices) };
    assert!(notice.worse);
    assert!(
        notice.sentence.starts_with(
            "10.0.0.2, which was removed from the configuration, is gone, its flows are cut: connection refused by"
        ),
        "{}",
        notice.sentence
    );
}

#[test]
fn a_server_that_is_down_or_halted_is_gone_at_once() {
    for halted in [false, true] {
        let mut site = Site::new(TWO);
        let b = site.id("web", "b");
        if halted {
            site.order("web", "b", Order::Halt);
        } else {
            site.answer("10.0.0.2", Answer::Refused);
            site.run(SECONDS(3));
        }
        site.reload(&without_b());
        assert!(site.leavers().is_empty());
        assert_eq!(site.installed(b), Server { generation: site.installed(b).generation, ..Server::default() });
    }
}

#[test]
fn a_drained_server_that_is_removed_leaves_and_comes_back_online() {
    let mut site = Site::new(TWO);
    let (b, generation) = (site.id("web", "b"), site.entry("web", "b").generation);
    site.order("web", "b", Order::Drain);
    site.reload(&without_b());
    assert_eq!((state(&site.installed(b)), site.installed(b).generation), (ServerState::Draining, generation));
    assert!(site.control.wanted().off_duty.contains(&b));
    site.reload(TWO);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"], "the order was forgotten with the server");
    assert_eq!(site.entry("web", "b").generation, generation);
}

#[test]
fn another_next_hop_reaches_a_leaver() {
    let mut site = Site::new(TWO);
    let b = site.id("web", "b");
    site.reload(&without_b());
    site.lead("10.0.0.2", Way::Mac([6, 9, 9, 9, 9, 9]));
    assert_eq!(site.installed(b).destination_mac, [6, 9, 9, 9, 9, 9]);
    assert_eq!(state(&site.installed(b)), ServerState::Draining);
}

#[test]
fn a_second_reload_keeps_the_first_leavers_and_tells_them_once() {
    let mut site = Site::new(TWO);
    let (b, c) = (site.id("web", "b"), site.id("web", "c"));
    site.notices.clear();
    site.reload(&without_b());
    let since = site.now;
    site.run(SECONDS(5));
    site.reload(&without_b());
    site.reload(&without_b().replace("      - {name: c, address: 10.0.0.3}\n", ""));
    assert_eq!(site.leavers(), ["web/b@10.0.0.2", "web/c@10.0.0.3"]);
    assert_eq!(site.notices.len(), 2, "{:?}", site.notices);
    // This walk began between the two reloads: it decides for the first only.
    site.counted(&[], &[], since + SECONDS(1));
    assert_eq!(site.leavers(), ["web/c@10.0.0.3"]);
    assert_eq!((state(&site.installed(b)), state(&site.installed(c))), (ServerState::Down, ServerState::Draining));
}

#[test]
fn a_refused_configuration_lets_nobody_leave() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    site.notices.clear();
    let mut config = site::load(&without_b());
    config.virtual_services[0].ports =
        (0..20).map(|i| crate::config::model::PortRange { first: 10_000 + 10 * i, last: 10_005 + 10 * i }).collect();
    site.try_reload(config).expect_err("20 ranges do not fit");
    site.run(SECONDS(5));
    assert!(*site.control.installed() == before, "the tables have changed");
    assert_eq!(site.notices, Vec::new());
}
