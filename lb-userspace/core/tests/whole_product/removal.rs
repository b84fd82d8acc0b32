//! Servers and services go from the configuration while clients are connected.

use std::collections::BTreeSet;

use lb_common::abi::ServerState;
use lb_common::datapath::Reason;
use lb_core::view::Order;

use super::product::{Product, Talk};

/// A service on port 80 with these real servers; `more` are further lines.
fn service(name: &str, vip: &str, more: &str, servers: &[u8]) -> String {
    let servers: Vec<String> =
        servers.iter().map(|n| format!("      - {{name: s{n}, address: 10.0.0.{n}}}\n")).collect();
    format!(
        "  - name: {name}
    address: {vip}
    ports: [80]
    protocol: tcp+udp
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
{more}    real_servers:
{}",
        servers.concat()
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

fn web(more: &str, servers: &[u8]) -> String {
    site(&[service("web", "10.0.0.100", more, servers)])
}

const PERSISTENT: &str = "    persistence: {by: source-ip, timeout: 5m}\n";

fn talks(clients: std::ops::Range<u16>, vip: &str) -> Vec<Talk> {
    let client = |i: u16| format!("198.51.{}.{}", i / 200, 1 + i % 200);
    let both = |i: u16| [Talk::tcp(&client(i), 20_000, vip, 80), Talk::udp(&client(i), 20_000, vip, 80)];
    clients.flat_map(both).collect()
}

fn opened(product: &mut Product, clients: std::ops::Range<u16>) -> Vec<(Talk, String)> {
    talks(clients, "10.0.0.100").into_iter().map(|talk| (talk, product.open(talk))).collect()
}

fn all_gone(product: &Product) -> bool {
    product.site.control.wanted().leaving.is_empty()
}

#[test]
fn flows_of_a_removed_server_finish_and_new_ones_go_elsewhere() {
    for scheduler in ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"] {
        let more = format!("    scheduler: {scheduler}\n");
        let mut product = Product::new(&web(&more, &[1, 2, 3]));
        let of = opened(&mut product, 0..150);
        let s2 = product.site.control.wanted().server_numbers.iter().find(|(key, _)| key.server == "s2");
        let s2 = *s2.expect("it is configured").1;
        product.reload(&web(&more, &[1, 3]));
        for _ in 0..5 {
            for (talk, server) in &of {
                let sent = product.more(*talk);
                assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)), "{scheduler}");
            }
            product.wait(60);
        }
        let new: BTreeSet<String> = opened(&mut product, 200..300).into_iter().map(|(_, server)| server).collect();
        assert!(!new.contains("s2") && new.len() == 2, "{scheduler}: {new:?}");
        assert!(!all_gone(&product));

        // TCP says when it is over, UDP falls silent.
        for (talk, _) in of.iter().filter(|(_, server)| server == "s2") {
            product.close(*talk);
        }
        product.wait(400);
        assert!(all_gone(&product), "{scheduler}");
        assert_eq!(product.tables.servers[&s2].state, ServerState::Down as u8);
    }
}

#[test]
fn clients_of_a_removed_server_move_with_their_next_flow() {
    let mut product = Product::new(&web(PERSISTENT, &[1, 2, 3]));
    let of = opened(&mut product, 0..60);
    product.reload(&web(PERSISTENT, &[1, 3]));
    assert!(of.iter().any(|(_, server)| server == "s2"));
    for (talk, server) in &of {
        let second = Talk { client: (talk.client.0, 20_001), ..*talk };
        let now = product.open(second);
        assert_ne!(now, "s2");
        assert!(server == "s2" || now == *server, "{talk:?} was on {server} and is on {now}");
        assert_eq!(product.more(*talk).server.as_ref(), Some(server), "its old flow stays");
        let third = Talk { client: (talk.client.0, 20_002), ..*talk };
        assert_eq!(product.open(third), now, "and the client has settled");
    }
    // The old flow, going on for long, does not bring the client back.
    for _ in 0..8 {
        product.wait(100);
        for (talk, server) in &of {
            assert_eq!(product.more(*talk).server.as_ref(), Some(server));
            assert_ne!(product.open(Talk { client: (talk.client.0, 20_003), ..*talk }), "s2");
        }
    }
}

#[test]
fn a_server_that_comes_back_while_leaving_has_lost_no_flow() {
    let mut product = Product::new(&web(PERSISTENT, &[1, 2, 3]));
    let of = opened(&mut product, 0..60);
    product.reload(&web(PERSISTENT, &[1, 3]));
    product.wait(60);
    product.reload(&web(PERSISTENT, &[1, 2, 3]));
    for (talk, server) in &of {
        let sent = product.more(*talk);
        assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
    }
    assert!(opened(&mut product, 100..200).into_iter().any(|(_, server)| server == "s2"));
}

#[test]
fn a_halt_cuts_the_flows_of_a_leaver() {
    let mut product = Product::new(&web("", &[1, 2, 3]));
    let of = opened(&mut product, 0..60);
    product.reload(&web("", &[1, 3]));
    product.order("web", "s2", Order::Halt);
    for (talk, server) in &of {
        let sent = product.more(*talk);
        if server == "s2" {
            assert_ne!(sent.server.as_deref(), Some("s2"), "{sent:?}");
        } else {
            assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
        }
    }
    product.wait(1);
    assert!(all_gone(&product));
}

#[test]
fn flows_of_a_removed_service_finish_while_its_vip_passes_all_else() {
    let web = service("web", "10.0.0.100", "", &[1, 2]);
    let mail = service("mail", "10.0.0.101", PERSISTENT, &[1, 2, 3]);
    let mut product = Product::new(&site(&[web.clone(), mail]));
    let to_web = opened(&mut product, 0..20);
    let of: Vec<(Talk, String)> =
        talks(0..30, "10.0.0.101").into_iter().map(|talk| (talk, product.open(talk))).collect();

    product.reload(&site(&[web]));
    for _ in 0..5 {
        for (talk, server) in of.iter().chain(&to_web) {
            let sent = product.more(*talk);
            assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
        }
        product.wait(60);
    }
    for talk in talks(100..110, "10.0.0.101") {
        assert_eq!(product.knock(talk).reason, Reason::NoService, "the kernel answers");
    }
    assert!(product.tables.persistence.is_empty(), "its clients are forgotten");

    // All but one end.
    let (last, server) = of[0].clone();
    assert_eq!(last.protocol, lb_common::wire::protocol::TCP);
    for (talk, _) in &of[1..] {
        product.close(*talk);
    }
    for _ in 0..5 {
        product.wait(60);
        assert_eq!(product.more(last).server.as_ref(), Some(&server));
    }
    assert_eq!(product.site.control.wanted().leaving.len(), 1);
    product.close(last);
    product.wait(40);
    assert!(all_gone(&product));
    assert_eq!(product.more(last).reason, Reason::NotVip);
    assert_eq!(product.site.control.leaving_vips().count(), 0);
}

#[test]
fn a_service_under_another_name_takes_the_port_and_the_old_flows_finish() {
    let old = service("old", "10.0.0.100", "", &[1, 2]);
    let new = service("new", "10.0.0.100", "", &[3, 4]);
    let mut product = Product::new(&site(&[old]));
    let of = opened(&mut product, 0..30);
    product.reload(&site(&[new]));
    for (talk, server) in &of {
        let sent = product.more(*talk);
        assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
    }
    let fresh: BTreeSet<String> = opened(&mut product, 100..130).into_iter().map(|(_, server)| server).collect();
    assert_eq!(fresh, BTreeSet::from(["s3".to_owned(), "s4".to_owned()]));
}

#[test]
fn a_restart_moves_no_flow_of_a_leaver_whose_service_stays() {
    let mut product = Product::new(&web(PERSISTENT, &[1, 2, 3]));
    let of = opened(&mut product, 0..60);
    product.reload(&web(PERSISTENT, &[1, 3]));
    product.site.restart_with_memory(&web(PERSISTENT, &[1, 3]), true);
    product.site.start();
    product.wait(5);
    for (talk, server) in &of {
        let sent = product.more(*talk);
        assert_eq!((sent.reason, sent.server.as_ref()), (Reason::Established, Some(server)));
    }
    assert!(opened(&mut product, 100..160).into_iter().all(|(_, server)| server != "s2"));
}

#[test]
fn a_leaver_that_dies_gives_its_flows_to_others() {
    let mut product = Product::new(&web("", &[1, 2, 3]));
    let of = opened(&mut product, 0..60);
    product.reload(&web("", &[1, 3]));
    product.fail("10.0.0.2");
    for (talk, server) in of.iter().filter(|(_, server)| server == "s2") {
        let now = product.more(*talk).server;
        assert!(now.is_some() && now.as_ref() != Some(server), "{now:?}");
    }
    product.wait(2);
    assert!(all_gone(&product));
}

#[test]
fn a_client_that_has_said_all_it_has_to_say_still_hears_the_answer() {
    let mut product = Product::new(&web("", &[1, 2, 3]));
    let of = opened(&mut product, 0..60);
    product.reload(&web("", &[1, 3]));
    let late: Vec<Talk> = of.iter().filter(|(_, server)| server == "s2").map(|(talk, _)| *talk).collect();
    // Half closed (RFC 9293 §3.6): the client sends no more, and acknowledges what comes.
    for talk in &late {
        product.close(*talk);
    }
    for _ in 0..20 {
        product.wait(10);
        for talk in late.iter().filter(|talk| talk.protocol == lb_common::wire::protocol::TCP) {
            assert_eq!(product.more(*talk).server.as_deref(), Some("s2"));
        }
    }
    product.wait(200);
    assert!(all_gone(&product));
}
