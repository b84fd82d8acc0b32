//! Orders of administrators.

use std::time::Duration;

use super::site::{ANNA, AT};
use super::*;
use crate::control::{Notice, OrderError};
use crate::view::{self, Administration, AdministrativeState, EventKind, Order};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// One regular server, one behind it, one behind both.
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

impl Site {
    fn ordered(&self, service: &str, server: &str) -> Option<Administration> {
        self.control.orders().get(&key(service, server)).cloned()
    }

    fn shown(&self, service: &str, server: &str) -> view::RealServer {
        let services = self.control.status(&crate::control::Measured::new(), self.now);
        let service = services.into_iter().find(|of| of.name == service).expect("it is configured");
        service.real_servers.into_iter().find(|of| of.name == server).expect("it is configured")
    }

    /// A walk that began and ended now, and found nobody but these.
    fn count_now(&mut self, connections: &[(ServerId, u64)], clients: &[(ServerId, u64)]) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        self.counted(connections, clients, now);
    }
}

fn sentences(notices: &[Notice]) -> Vec<&str> {
    notices.iter().map(|notice| &notice.sentence[..]).collect()
}

#[test]
fn a_drained_server_leaves_ring_and_turns_and_keeps_its_generation() {
    let mut site = Site::new(TWO);
    let before = site.entry("web", "b");
    site.plans.clear();
    site.notices.clear();

    let came_to = site.order("web", "b", Order::Drain);

    assert!(came_to.changed);
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    assert_eq!(site.entry("web", "b"), Server { state: ServerState::Draining as u8, ..before });
    assert_eq!(servers_in(&site.plans.concat()), [site.id("web", "b")], "nobody else is written");
    let [notice] = &site.notices[..] else { panic!("{:?}", site.notices) };
    assert_eq!((&notice.server, notice.kind), (&key("web", "b"), EventKind::Administration));
    assert_eq!((notice.worse, notice.by.as_deref()), (false, Some(ANNA)));
    assert_eq!(notice.sentence, came_to.sentence);
    assert_eq!(site.shown("web", "b").state, view::ServerState::Draining);
    assert_eq!(consistent(site.control.installed()), Ok(()));
}

#[test]
fn a_halted_server_goes_down_and_its_generation_steps_on_once() {
    let mut site = Site::new(TWO);
    let before = site.entry("web", "b");
    let came_to = site.order("web", "b", Order::Halt);
    site.run(SECONDS(30));

    assert!(came_to.changed);
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    let after = site.entry("web", "b");
    assert_eq!((state(&after), after.generation), (ServerState::Down, before.generation + 1));
    let notice = site.notices.iter().find(|notice| notice.kind == EventKind::Administration).expect("it is said");
    assert_eq!((notice.worse, notice.by.as_deref()), (true, Some(ANNA)));

    site.order("web", "b", Order::Online);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.entry("web", "b").generation, before.generation + 1, "nobody is cut by coming back");
    assert_eq!(site.ordered("web", "b"), None);
}

#[test]
fn a_drain_that_becomes_a_halt_cuts() {
    let mut site = Site::new(TWO);
    let before = site.entry("web", "b").generation;
    site.order("web", "b", Order::Drain);
    site.order("web", "b", Order::Halt);
    assert_eq!(site.entry("web", "b").generation, before + 1);
    site.order("web", "b", Order::Drain);
    assert_eq!(state(&site.entry("web", "b")), ServerState::Draining);
    assert_eq!(site.entry("web", "b").generation, before + 1);
}

#[test]
fn an_order_given_twice_changes_nothing_and_is_not_told() {
    for (order, sentence) in [
        (Order::Drain, "it is drained already"),
        (Order::Halt, "it is halted already"),
        (Order::Weight { weight: Some(7) }, "its weight is 7 already"),
    ] {
        let mut site = Site::new(TWO);
        assert!(site.order("web", "b", order).changed);
        let (given, notices) = (site.ordered("web", "b"), site.notices.len());
        site.plans.clear();
        let again = site.order("web", "b", order);
        assert_eq!((again.changed, &again.sentence[..]), (false, sentence));
        assert_eq!(site.ordered("web", "b"), given);
        assert_eq!(site.notices.len(), notices);
        assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
    }
    let mut site = Site::new(TWO);
    assert_eq!(site.order("web", "b", Order::Online).sentence, "it is online already");
    let weight = site.order("web", "b", Order::Weight { weight: None });
    assert_eq!((weight.changed, &weight.sentence[..]), (false, "its weight is 100 already, as configured"));
}

#[test]
fn a_name_that_is_not_there_is_answered_with_those_that_are() {
    let mut site = Site::new(STANDBY);
    let asked =
        |site: &mut Site, service, server| site.try_order(service, server, Order::Drain).map_err(|e| e.to_string());
    assert_eq!(asked(&mut site, "mail", "a"), Err("there is no virtual service mail; there are: web".to_owned()));
    let nobody = "virtual service web has no real server x; it has: a, spare";
    assert_eq!(asked(&mut site, "web", "x"), Err(nobody.to_owned()));
    let fallback = site.try_order("web", "fallback", Order::Halt);
    assert!(matches!(fallback, Err(OrderError::NoServer { .. })), "{fallback:?}");
    assert!(site.control.orders().is_empty());
}

#[test]
fn weight_0_takes_no_new_flow_and_the_configured_one_comes_back() {
    let mut site = Site::new(TWO);
    let before = site.entry("syslog", "d");
    let zero = site.order("syslog", "d", Order::Weight { weight: Some(0) });
    assert_eq!((zero.changed, &zero.sentence[..]), (true, "weight 0, 50 is configured"));
    assert_eq!(site.scheduled("syslog"), ["a"]);
    assert_eq!(site.entry("syslog", "d"), Server { weight: 0, ..before });
    assert_eq!(site.shown("syslog", "d").weight, 0);

    let back = site.order("syslog", "d", Order::Weight { weight: None });
    assert_eq!((back.changed, &back.sentence[..]), (true, "weight 50, as configured"));
    assert_eq!(site.entry("syslog", "d"), before);
    assert_eq!(site.ordered("syslog", "d"), None, "nothing is ordered any more");
}

#[test]
fn an_ordered_weight_stands_above_the_file_and_outlives_a_drain() {
    let mut site = Site::new(TWO);
    site.order("syslog", "d", Order::Weight { weight: Some(20) });
    site.order("syslog", "d", Order::Drain);
    site.reload(&TWO.replace("weight: 50", "weight: 80"));
    assert_eq!(site.entry("syslog", "d").weight, 20);
    site.order("syslog", "d", Order::Online);
    assert_eq!(site.entry("syslog", "d").weight, 20);
    let given = Administration { state: AdministrativeState::Online, weight: Some(20), by: ANNA.to_owned(), at: AT };
    assert_eq!(site.ordered("syslog", "d"), Some(given));
    site.order("syslog", "d", Order::Weight { weight: None });
    assert_eq!(site.entry("syslog", "d").weight, 80);
}

#[test]
fn orders_survive_a_reload_and_a_restart() {
    for with_memory in [false, true] {
        let mut site = Site::new(TWO);
        site.order("web", "a", Order::Halt);
        site.order("web", "b", Order::Drain);
        site.order("syslog", "d", Order::Weight { weight: Some(10) });
        let (orders, b) = (site.control.orders(), site.entry("web", "b"));

        site.reload(&TWO.replace("ports: [80]", "ports: [80, 8080]"));
        assert_eq!(site.control.orders(), orders);
        assert_eq!(site.scheduled("web"), ["c"]);

        site.reload(TWO);
        let before = site.control.installed().clone();
        if with_memory {
            site.restart_with_memory(TWO, true);
        } else {
            site.restart(TWO, true);
        }
        assert_eq!(site.control.orders(), orders);
        site.start();
        site.run(SECONDS(10));
        let halted = site.id("web", "a");
        let written = servers_in(&site.plans.concat());
        assert!(written.iter().all(|id| *id == halted), "only the next hop of {halted} is looked up: {written:?}");
        assert!(*site.control.installed() == before, "the tables have changed");
        assert_eq!((site.entry("web", "b"), site.entry("syslog", "d").weight), (b, 10));
    }
}

#[test]
fn an_order_is_forgotten_with_its_server() {
    let two = cutting(TWO);
    let mut site = Site::new(&two);
    site.order("web", "b", Order::Halt);
    site.order("web", "c", Order::Drain);
    site.reload(&two.replace("      - {name: b, address: 10.0.0.2}\n", ""));
    assert_eq!(site.control.orders().into_keys().collect::<Vec<_>>(), [key("web", "c")]);
    site.reload(&two);
    site.run(SECONDS(3));
    assert_eq!(site.scheduled("web"), ["a", "b"]);
}

#[test]
fn a_rollback_brings_the_orders_back_with_the_configuration() {
    for (yaml, drains) in [(cutting(TWO), false), (TWO.to_owned(), true)] {
        let mut site = Site::new(&yaml);
        site.order("web", "b", Order::Drain);
        site.order("syslog", "d", Order::Weight { weight: Some(3) });
        let (config, orders) = (site.control.config().clone(), site.control.orders());
        let before = (site.id("web", "b"), site.entry("web", "b"));
        let without = yaml.replace("      - {name: b, address: 10.0.0.2}\n", "");
        site.reload(&without.replace("      - {name: d, address: 10.0.0.4, weight: 50}\n", ""));
        assert!(site.control.orders().is_empty());
        site.run(SECONDS(2));

        site.control.restore(config.clone(), &orders, site.now).expect("it was in force before");
        site.run(SECONDS(3));

        assert_eq!(site.control.config(), &config);
        assert_eq!(site.control.orders(), orders);
        assert_eq!(site.scheduled("web"), ["a", "c"]);
        assert_eq!(state(&site.entry("web", "b")), ServerState::Draining);
        assert_eq!(site.entry("syslog", "d").weight, 3);
        let after = (site.id("web", "b"), site.entry("web", "b"));
        assert_eq!(after == before, drains, "it was never away only where removal drains");
    }
}

#[test]
fn a_rollback_takes_orders_back_that_were_given_since() {
    let mut site = Site::new(TWO);
    let (config, orders) = (site.control.config().clone(), site.control.orders());
    site.reload(&TWO.replace("ports: [80]", "ports: [80, 8080]"));
    site.order("web", "b", Order::Drain);
    site.control.restore(config, &orders, site.now).expect("it was in force before");
    site.run(SECONDS(1));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.ordered("web", "b"), None);
}

#[test]
fn a_server_that_is_down_can_be_drained_and_serves_nobody_when_it_comes_up() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(3));
    let down = site.entry("web", "b");
    site.plans.clear();
    assert!(site.order("web", "b", Order::Drain).changed);
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new(), "down is down");
    let shown = site.shown("web", "b");
    assert_eq!(shown.state, view::ServerState::Down);
    assert!(shown.reason.starts_with("connection refused"), "{}", shown.reason);

    site.answer("10.0.0.2", Answer::Good);
    site.run(SECONDS(4));
    assert_eq!(site.entry("web", "b"), Server { state: ServerState::Draining as u8, ..down });
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    site.order("web", "b", Order::Online);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
}

#[test]
fn a_halted_server_whose_check_comes_up_stays_halted() {
    let mut site = Site::new(TWO);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(3));
    site.order("web", "b", Order::Halt);
    let before = site.entry("web", "b");
    site.answer("10.0.0.2", Answer::Good);
    site.run(SECONDS(10));
    assert_eq!(site.entry("web", "b"), before, "down once is cut once");
    assert_eq!(site.shown("web", "b").state, view::ServerState::Halted);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(10));
    assert_eq!(site.entry("web", "b"), before);
}

#[test]
fn whoever_stands_behind_takes_over_from_drained_and_halted_servers() {
    for (order, worse) in [(Order::Drain, false), (Order::Halt, true), (Order::Weight { weight: Some(0) }, false)] {
        let mut site = Site::new(STANDBY);
        site.order("web", "a", order);
        assert_eq!(site.scheduled("web"), ["spare"], "{order:?}");
        site.order("web", "spare", order);
        assert_eq!(site.scheduled("web"), ["fallback"], "{order:?}");
        assert_eq!(site.notices.iter().filter(|notice| notice.worse).count(), if worse { 2 } else { 0 });
        let off_duty = &site.control.wanted().off_duty;
        assert!(!off_duty.contains(&site.id("web", "a")), "persistent clients of a drained server stay");
        site.order("web", "a", Order::Online);
        site.order("web", "a", Order::Weight { weight: None });
        assert_eq!(site.scheduled("web"), ["a"], "{order:?}");
    }
}

#[test]
fn drained_is_said_once_and_only_when_nobody_is_left() {
    let mut site = Site::new(TWO);
    let b = site.id("web", "b");
    site.count_now(&[], &[]);
    site.order("web", "b", Order::Drain);
    site.notices.clear();
    for (connections, clients) in [(2, 1), (0, 1), (1, 0)] {
        site.count_now(&[(b, connections)], &[(b, clients)]);
        assert_eq!(site.notices, Vec::new(), "{connections} connections, {clients} clients");
    }
    for _ in 0..3 {
        site.count_now(&[], &[]);
    }
    site.reload(&TWO.replace("ports: [80]", "ports: [80, 8080]"));
    site.count_now(&[], &[]);
    assert_eq!(sentences(&site.notices), ["drained: no connection and no persistent client is left"]);
    assert_eq!((site.notices[0].worse, &site.notices[0].by), (false, &None));
}

#[test]
fn another_weight_does_not_make_it_drained_a_second_time() {
    let mut site = Site::new(TWO);
    site.order("web", "b", Order::Drain);
    site.count_now(&[], &[]);
    site.order("web", "b", Order::Weight { weight: Some(5) });
    site.count_now(&[], &[]);
    let told = site.notices.iter().filter(|notice| notice.sentence.starts_with("drained: no connection")).count();
    assert_eq!(told, 1);

    site.order("web", "b", Order::Online);
    site.order("web", "b", Order::Drain);
    site.count_now(&[], &[]);
    let told = site.notices.iter().filter(|notice| notice.sentence.starts_with("drained: no connection")).count();
    assert_eq!(told, 2, "another drain is another story");
}

#[test]
fn a_count_that_began_before_the_drain_says_nothing_of_it() {
    let mut site = Site::new(TWO);
    let before = site.now;
    site.run(SECONDS(1));
    site.order("web", "b", Order::Drain);
    site.notices.clear();
    // A client came after the walk had passed, and before the order.
    site.counted(&[], &[], before);
    assert_eq!(site.notices, Vec::new());
    site.count_now(&[], &[]);
    assert_eq!(site.notices.len(), 1);
}

#[test]
fn a_drained_server_that_fails_is_down_and_drained_again_when_it_is_back() {
    let mut site = Site::new(TWO);
    let generation = site.entry("web", "b").generation;
    site.order("web", "b", Order::Drain);
    site.answer("10.0.0.2", Answer::Refused);
    site.run(SECONDS(3));
    assert_eq!(state(&site.entry("web", "b")), ServerState::Down);
    assert_eq!(site.entry("web", "b").generation, generation + 1);
    site.answer("10.0.0.2", Answer::Good);
    site.run(SECONDS(3));
    assert_eq!(state(&site.entry("web", "b")), ServerState::Draining);
    assert_eq!(site.scheduled("web"), ["a", "c"]);
}

#[test]
fn an_order_that_the_kernel_does_not_take_yet_is_carried_out_later_and_once() {
    for order in [Order::Drain, Order::Halt] {
        for takes in 0..3 {
            let mut site = Site::new(TWO);
            let before = site.entry("web", "b").generation;
            site.writes_left = Some(takes);
            site.order("web", "b", order);
            site.run(SECONDS(2));
            assert_eq!(consistent(site.control.installed()), Ok(()), "{order:?} after {takes} writes");
            site.writes_left = None;
            site.run(SECONDS(2));
            assert_eq!(site.scheduled("web"), ["a", "c"]);
            let steps = u32::from(order == Order::Halt);
            assert_eq!(site.entry("web", "b").generation, before + steps, "{order:?} after {takes} writes");
        }
    }
}
