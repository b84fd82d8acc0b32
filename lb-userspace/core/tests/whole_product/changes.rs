//! The administrator changes the configuration while clients are connected.

use lb_common::datapath::Reason;

use super::product::{Product, Talk};

/// A service of this name, VIP, port and scheduler, with these real servers: number and weight.
fn service(name: &str, vip: &str, port: &str, more: &str, servers: &[(u8, u16)]) -> String {
    let network = if vip.contains(':') { "2001:db8::" } else { "10.0.0." };
    let servers: Vec<String> = servers
        .iter()
        .map(|(n, weight)| format!("      - {{name: s{n}, address: \"{network}{n}\", weight: {weight}}}\n"))
        .collect();
    format!(
        "  - name: {name}
    address: \"{vip}\"
    ports: [{port}]
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

fn web(scheduler: &str, servers: &[(u8, u16)]) -> String {
    site(&[service("web", "10.0.0.100", "80", &format!("    scheduler: {scheduler}\n"), servers)])
}

fn talks(count: u16) -> impl Iterator<Item = Talk> {
    (0..count).map(|i| Talk::tcp(&format!("198.51.100.{}", i % 250), 20_000 + i, "10.0.0.100", 80))
}

#[test]
fn no_flow_of_a_server_that_stays_is_moved_by_a_reload() {
    let before = [(1, 100), (2, 100), (3, 100)];
    let changes: [(&str, &[(u8, u16)]); 5] = [
        ("one more", &[(1, 100), (2, 100), (3, 100), (4, 100)]),
        ("one less", &[(1, 100), (3, 100)]),
        ("other weights", &[(1, 1), (2, 1000), (3, 0)]),
        ("another order", &[(3, 100), (1, 100), (2, 100)]),
        ("one for another", &[(1, 100), (2, 100), (4, 100)]),
    ];
    for scheduler in ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"] {
        for (change, after) in changes {
            let mut product = Product::new(&web(scheduler, &before));
            let of: Vec<(Talk, String)> = talks(300).map(|talk| (talk, product.open(talk))).collect();
            product.reload(&web(scheduler, after));
            for (talk, server) in &of {
                let now = product.more(*talk);
                if after.iter().any(|(n, _)| format!("s{n}") == *server) {
                    let stays = (now.reason, now.server.as_ref()) == (Reason::Established, Some(server));
                    assert!(stays, "{scheduler}, {change}: {talk:?} was on {server}, and is {now:?}");
                } else {
                    assert!(now.server.is_some(), "{scheduler}, {change}: {talk:?} of {server} has nobody");
                }
            }
        }
    }
}

#[test]
fn a_new_scheduler_moves_no_flow() {
    let servers = [(1, 100), (2, 100), (3, 100)];
    let mut product = Product::new(&web("maglev", &servers));
    let of: Vec<(Talk, String)> = talks(100).map(|talk| (talk, product.open(talk))).collect();
    product.reload(&web("weighted-round-robin", &servers));
    for (talk, server) in &of {
        assert_eq!(product.more(*talk).server.as_ref(), Some(server));
    }
}

#[test]
fn few_unrecorded_flows_move_when_maglev_gets_one_more_server() {
    let mut product = Product::new(&web("maglev", &[(1, 100), (2, 100), (3, 100), (4, 100)]));
    let of: Vec<(Talk, String)> = talks(1000).map(|talk| (talk, product.open(talk))).collect();
    product.tables.flows.clear();
    product.reload(&web("maglev", &[(1, 100), (2, 100), (3, 100), (4, 100), (5, 100)]));
    let moved = of.iter().filter(|(talk, server)| product.more(*talk).server.as_ref() != Some(server)).count();
    assert!((100..300).contains(&moved), "a fifth should move, and {moved} of 1000 did");
}

#[test]
fn a_service_that_is_removed_is_passed_to_the_kernel_and_its_neighbour_stays() {
    let one = service("one", "10.0.0.100", "80", "", &[(1, 100), (2, 100)]);
    let two = service("two", "10.0.0.101", "80", "    on_removal: cut\n", &[(1, 100), (2, 100)]);
    let mut product = Product::new(&site(&[one.clone(), two]));
    let to_two = Talk::tcp("198.51.100.1", 20_000, "10.0.0.101", 80);
    let of: Vec<(Talk, String)> = talks(50).map(|talk| (talk, product.open(talk))).collect();
    product.open(to_two);

    product.reload(&site(&[one]));

    let ended = product.more(to_two);
    assert!(matches!(ended.reason, Reason::NotVip | Reason::NoService), "{ended:?}");
    for (talk, server) in &of {
        assert_eq!(product.more(*talk).server.as_ref(), Some(server));
    }
    assert_eq!(product.tables.flows.len(), 50, "flows of a service that is gone are swept");
}

#[test]
fn two_services_share_a_vip_on_different_ports() {
    let http = service("http", "10.0.0.100", "80", "", &[(1, 100)]);
    let https = service("https", "10.0.0.100", "443, 9000-9010", "    protocol: tcp+udp\n", &[(2, 100)]);
    let mut product = Product::new(&site(&[http, https]));
    let talk = |port| Talk::tcp("198.51.100.1", 20_000, "10.0.0.100", port);
    assert_eq!(product.open(talk(80)), "s1");
    assert_eq!(product.open(talk(443)), "s2");
    assert_eq!(product.open(talk(9005)), "s2");
    assert_eq!(product.knock(Talk::udp("198.51.100.1", 20_000, "10.0.0.100", 80)).reason, Reason::NoService);

    product.fail("10.0.0.1");
    assert_eq!(product.knock(talk(80)).reason, Reason::NoServer);
    assert_eq!(product.more(talk(443)).reason, Reason::Established);
}

#[test]
fn a_port_moves_from_one_service_to_another() {
    let one = |ports| service("one", "10.0.0.100", ports, "", &[(1, 100)]);
    let two = |ports| service("two", "10.0.0.100", ports, "", &[(2, 100)]);
    let mut product = Product::new(&site(&[one("80, 443"), two("8000-8010")]));
    let talk = |from| Talk::tcp("198.51.100.1", from, "10.0.0.100", 443);
    assert_eq!(product.open(talk(20_000)), "s1");
    product.reload(&site(&[one("80"), two("443, 8000-8010")]));
    assert_eq!(product.open(talk(20_001)), "s2");
}

#[test]
fn ipv6_is_served_as_ipv4_is() {
    let more = "    persistence: {by: source-ip, timeout: 5m}\n    protocol: tcp+udp\n";
    let six = service("six", "2001:db8::100", "80, 5000-5010", more, &[(1, 100), (2, 100), (3, 100)]);
    let mut product = Product::new(&site(&[six]));
    let vip = "2001:db8::100";
    let mut of = Vec::new();
    for i in 0..60 {
        let client = format!("2001:db8:1::{i:x}");
        let server = product.open(Talk::tcp(&client, 20_000, vip, 80));
        assert_eq!(product.open(Talk::udp(&client, 20_000, vip, 5005)), server);
        of.push((client, server));
    }
    for server in ["s1", "s2", "s3"] {
        assert_eq!(of.iter().filter(|(_, of)| of == server).count(), 20, "{server}");
    }
    product.fail("2001:db8::2");
    for (client, server) in &of {
        let now = product.more(Talk::tcp(client, 20_000, vip, 80)).server.expect("two are left");
        assert_ne!(now, "s2");
        assert!(server == "s2" || now == *server, "{client} was on {server} and is on {now}");
    }
}

#[test]
fn a_next_hop_that_moves_takes_the_flows_along() {
    let mut product = Product::new(&web("maglev", &[(1, 100), (2, 100)]));
    let of: Vec<(Talk, String)> = talks(50).map(|talk| (talk, product.open(talk))).collect();
    // An administrator pulls the cable and plugs it in again.
    product.site.tell(lb_core::neighbour::Input::Link(super::site::link(false)));
    product.wait(1);
    for (talk, _) in &of {
        assert_eq!(product.more(*talk).reason, Reason::NextHopUnknown);
    }
    product.site.tell(lb_core::neighbour::Input::Link(super::site::link(true)));
    product.wait(2);
    for (talk, server) in &of {
        assert_eq!(product.more(*talk).server.as_ref(), Some(server));
    }
}
