//! An administrator takes servers out of service while clients are connected.

use std::collections::BTreeSet;

use lb_common::datapath::Reason;
use lb_core::view::{Order, ServerState};

use super::product::{Product, Talk};

/// Three servers; `more` are further lines of the service.
fn web(more: &str) -> String {
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80]
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
{more}    real_servers:
      - {{name: s1, address: 10.0.0.1}}
      - {{name: s2, address: 10.0.0.2}}
      - {{name: s3, address: 10.0.0.3}}
"
    )
}

const PERSISTENT: &str = "    persistence: {by: source-ip, timeout: 5m}\n";

fn talks(clients: std::ops::Range<u16>) -> impl Iterator<Item = Talk> {
    clients.map(|i| Talk::tcp(&format!("198.51.{}.{}", i / 200, 1 + i % 200), 20_000, "10.0.0.100", 80))
}

/// A second connection of the same client.
fn again(talk: Talk, from: u16) -> Talk {
    Talk { client: (talk.client.0, from), ..talk }
}

fn opened(product: &mut Product, clients: std::ops::Range<u16>) -> Vec<(Talk, String)> {
    talks(clients).map(|talk| (talk, product.open(talk))).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn flows_of_a_drained_server_go_on_and_new_clients_go_elsewhere() {
    for scheduler in ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"] {
        let mut product = Product::new(&web(&format!("    scheduler: {scheduler}\n")));
        let of = opened(&mut product, 0..300);
        product.order("web", "s2", Order::Drain);
        product.wait(10);
        for (talk, server) in &of {
            let sent = product.more(*talk);
            assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)), "{scheduler}");
        }
        let new = product.open_all(talks(300..600));
        assert_eq!(new.into_keys().collect::<BTreeSet<_>>(), names(&["s1", "s3"]), "{scheduler}");
        // Without persistence a known client is a new one.
        for (talk, _) in &of {
            assert_ne!(product.open(again(*talk, 20_001)), "s2", "{scheduler}");
        }
        product.order("web", "s2", Order::Online);
        assert!(product.open_all(talks(600..900)).contains_key("s2"), "{scheduler}");
    }
}

#[test]
fn persistent_clients_of_a_drained_server_come_back_to_it_until_they_stay_away() {
    let mut product = Product::new(&web(PERSISTENT));
    let of = opened(&mut product, 0..60);
    product.order("web", "s2", Order::Drain);
    product.site.notices.clear();
    for round in 0..4 {
        product.wait(200);
        for (talk, server) in &of {
            assert_eq!(product.open(again(*talk, 30_000 + round)), *server, "round {round}");
        }
    }
    assert_eq!(product.server("web", "s2").state, ServerState::Draining);
    for (talk, _) in &of {
        for from in [20_000, 30_000, 30_001, 30_002, 30_003] {
            product.close(again(*talk, from));
        }
    }
    product.wait(200);
    assert_eq!(product.site.notices, Vec::new(), "clients are still remembered");
    product.wait(110);
    let told: Vec<_> =
        product.site.notices.iter().map(|notice| (&notice.server.server[..], &notice.sentence[..])).collect();
    assert_eq!(told, [("s2", "drained: no connection and no persistent client is left")]);
    for (talk, _) in &of {
        assert_ne!(product.open(again(*talk, 40_000)), "s2");
    }
}

#[test]
fn a_halted_server_is_cut_at_once_and_its_clients_move() {
    for more in ["", PERSISTENT] {
        let mut product = Product::new(&web(more));
        let of = opened(&mut product, 0..60);
        product.order("web", "s2", Order::Halt);
        for (talk, server) in &of {
            let sent = product.more(*talk);
            if server == "s2" {
                assert!(matches!(sent.reason, Reason::Resumed | Reason::Scheduled), "{sent:?}");
                assert_ne!(sent.server.as_deref(), Some("s2"));
            } else {
                assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
            }
        }
        product.wait(2);
        let rows = product.status("web");
        assert_eq!((rows.real_servers[1].connections, rows.real_servers[1].persistent_clients), (0, 0));

        // Back in service, it has forgotten everybody, and gets its share of who is new.
        let moved: Vec<(Talk, Option<String>)> =
            of.iter().map(|(talk, _)| (*talk, product.more(*talk).server)).collect();
        product.order("web", "s2", Order::Online);
        for (talk, server) in &moved {
            assert_eq!(product.more(*talk).server, *server);
        }
        assert!(product.open_all(talks(100..200)).contains_key("s2"));
    }
}

#[test]
fn an_ordered_weight_sets_the_share() {
    let mut product = Product::new(&web("    scheduler: weighted-round-robin\n"));
    product.order("web", "s2", Order::Weight { weight: Some(50) });
    let shares = product.open_all(talks(0..250));
    assert_eq!((shares["s1"], shares["s2"], shares["s3"]), (100, 50, 100));
    product.order("web", "s2", Order::Weight { weight: Some(0) });
    assert_eq!(product.open_all(talks(300..400)).into_keys().collect::<BTreeSet<_>>(), names(&["s1", "s3"]));
    product.order("web", "s2", Order::Weight { weight: None });
    assert_eq!(product.open_all(talks(500..800))["s2"], 100);
}

#[test]
fn with_everybody_drained_old_flows_go_on_and_new_ones_have_nobody() {
    let mut product = Product::new(&web(PERSISTENT));
    let of = opened(&mut product, 0..30);
    for server in ["s1", "s2", "s3"] {
        product.order("web", server, Order::Drain);
    }
    for (talk, server) in &of {
        assert_eq!(product.more(*talk).server.as_ref(), Some(server));
        assert_eq!(product.open(again(*talk, 20_001)), *server);
    }
    for talk in talks(100..110) {
        assert_eq!(product.knock(talk).reason, Reason::NoServer);
    }
    assert_eq!(product.status("web").reason.as_deref(), Some("no real server takes new clients: 3 draining"));
}

#[test]
fn the_fallback_takes_new_clients_while_drained_servers_keep_theirs() {
    let mut product = Product::new(&web(&format!("    fallback: {{address: 10.0.0.9}}\n{PERSISTENT}")));
    let of = opened(&mut product, 0..30);
    for server in ["s1", "s2", "s3"] {
        product.order("web", server, Order::Drain);
    }
    product.wait(5);
    assert_eq!(product.open_all(talks(100..110)).into_keys().collect::<BTreeSet<_>>(), names(&["fallback"]));
    for (talk, server) in &of {
        assert_eq!(product.more(*talk).server.as_ref(), Some(server));
        assert_eq!(product.open(again(*talk, 20_001)), *server);
    }
}

#[test]
fn a_drain_outlives_a_restart_of_the_daemon_with_all_its_flows() {
    for with_memory in [false, true] {
        let mut product = Product::new(&web(PERSISTENT));
        let of = opened(&mut product, 0..60);
        product.order("web", "s2", Order::Drain);
        if with_memory {
            product.site.restart_with_memory(&web(PERSISTENT), true);
        } else {
            product.site.restart(&web(PERSISTENT), true);
        }
        product.site.start();
        product.wait(5);
        for (talk, server) in &of {
            let sent = product.more(*talk);
            assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
            assert_eq!(product.open(again(*talk, 20_001)), *server);
        }
        assert!(!product.open_all(talks(100..200)).contains_key("s2"));
    }
}
