//! A server that comes back is not met by everybody at once.

use std::collections::BTreeMap;

use lb_core::view::Order;

use super::product::{Product, Talk};
use super::site::Answer;

fn web(scheduler: &str) -> String {
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{slow_start: 100s, health_check: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80]
    mode: l4-dr
    scheduler: {scheduler}
    health_check: {{type: connect, port: 9}}
    real_servers:
      - {{name: s1, address: 10.0.0.1}}
      - {{name: s2, address: 10.0.0.2}}
      - {{name: s3, address: 10.0.0.3}}
"
    )
}

/// New clients, each time others.
fn crowd(round: u16) -> impl Iterator<Item = Talk> {
    (0..600).map(move |i| Talk::tcp(&format!("198.51.{}.{}", i / 200, 1 + i % 200), 20_000 + round, "10.0.0.100", 80))
}

/// What the returned server should get of 600 at each step, beside two with all their weight.
fn expected(step: u32) -> u32 {
    600 * step / (20 + step)
}

#[test]
fn new_flows_come_in_ten_steps() {
    for (scheduler, tolerance) in [("weighted-round-robin", 6), ("maglev", 60)] {
        let mut product = Product::new(&web(scheduler));
        product.fail("10.0.0.2");
        product.site.answer("10.0.0.2", Answer::Good);
        let up = |product: &Product| product.server("web", "s2").reason.starts_with("slow start");
        while !up(&product) {
            product.wait(1);
        }
        for step in 1..=10_u32 {
            let shares = product.open_all(crowd(u16::try_from(step).expect("small")));
            let (is, should) = (shares.get("s2").copied().unwrap_or(0), expected(step));
            assert!(is.abs_diff(should) <= tolerance, "{scheduler}, step {step}: {is} of 600, and not {should}");
            product.wait(10);
        }
    }
}

#[test]
fn least_connection_fills_it_by_its_share_of_the_moment() {
    let mut product = Product::new(&web("weighted-least-connection"));
    product.order("web", "s2", Order::Halt);
    let before = product.open_all(crowd(0));
    assert_eq!(before, BTreeMap::from([("s1".to_owned(), 300), ("s3".to_owned(), 300)]));
    product.order("web", "s2", Order::Online);
    let mut last = 0;
    for round in 1..=10 {
        // Few come: without slow start all of them would go to the empty one.
        product.open_all(crowd(round).take(60));
        let now = product.connections("web", "s2");
        let share = 60 * u64::from(round);
        assert!(now <= share && now >= last, "round {round}: {now}");
        if round == 1 {
            assert!(now <= 34, "a tenth of what the others have: {now}");
        }
        last = now;
        product.wait(10);
    }
}

#[test]
fn no_flow_of_anybody_moves_while_one_climbs() {
    for scheduler in ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"] {
        let mut product = Product::new(&web(scheduler));
        let of: Vec<(Talk, String)> = crowd(0).map(|talk| (talk, product.open(talk))).collect();
        product.order("web", "s2", Order::Drain);
        product.order("web", "s2", Order::Online);
        for step in 0..12 {
            for (talk, server) in &of {
                assert_eq!(product.more(*talk).server.as_ref(), Some(server), "{scheduler}, step {step}");
            }
            product.wait(10);
        }
    }
}
