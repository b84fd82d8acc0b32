//! DICOM: long connections that are to be spread by their number, and servers with limits.

use std::collections::BTreeMap;
use std::ops::Range;

use lb_common::datapath::Reason;

use super::product::{Product, Talk};

const VIP: &str = "172.26.11.70";

/// The archive, with these real servers; `more` are further lines of the service.
fn pacs(more: &str, servers: &[(&str, &str)]) -> String {
    let servers: Vec<String> =
        servers.iter().map(|(n, more)| format!("      - {{name: DS{n}, address: 172.26.11.10{n}{more}}}\n")).collect();
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
  - name: DICOM
    address: {VIP}
    ports: [104]
    mode: l4-dr
    health_check: {{type: dicom-echo}}
{more}    real_servers:
{}",
        servers.concat()
    )
}

/// Associations, each from a modality of its own.
fn associations(numbers: Range<u16>) -> impl Iterator<Item = Talk> {
    numbers.map(|i| Talk::tcp(&format!("172.26.{}.{}", 20 + i / 200, 1 + i % 200), 11_112, VIP, 104))
}

fn counts(of: &[(&str, u32)]) -> BTreeMap<String, u32> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn two_equal_servers_get_half_each() {
    let mut product = Product::new(&pacs("", &[("1", ""), ("2", "")]));
    assert_eq!(product.open_all(associations(0..300)), counts(&[("DS1", 150), ("DS2", 150)]));
}

#[test]
fn four_servers_get_shares_by_weight() {
    let servers = [("1", ", weight: 100"), ("2", ", weight: 50"), ("3", ", weight: 100"), ("4", ", weight: 50")];
    let mut product = Product::new(&pacs("", &servers));
    let shares = product.open_all(associations(0..600));
    for (server, wanted) in [("DS1", 200), ("DS2", 100), ("DS3", 200), ("DS4", 100)] {
        assert!(shares[server].abs_diff(wanted) <= 2, "{shares:?}");
    }
}

#[test]
fn the_count_of_live_connections_decides_not_that_of_all() {
    let mut product = Product::new(&pacs("", &[("1", ""), ("2", "")]));
    let mut on_ds1 = Vec::new();
    for talk in associations(0..100) {
        if product.open(talk) == "DS1" {
            on_ds1.push(talk);
        }
    }
    assert_eq!(on_ds1.len(), 50);
    for talk in on_ds1 {
        assert_eq!(product.close(talk).server.as_deref(), Some("DS1"));
    }
    // A closed flow is kept for half a minute, for packets that come late.
    product.wait(32);
    assert_eq!((product.connections("DICOM", "DS1"), product.connections("DICOM", "DS2")), (0, 50));
    assert_eq!(product.open_all(associations(200..250)), counts(&[("DS1", 50)]));
}

#[test]
fn weight_0_takes_no_new_client_and_keeps_the_old_ones() {
    let persistent = "    persistence: {by: source-ip, timeout: 5m}\n";
    let mut product = Product::new(&pacs(persistent, &[("1", ""), ("2", "")]));
    let of: Vec<(Talk, String)> = associations(0..40).map(|talk| (talk, product.open(talk))).collect();

    product.reload(&pacs(persistent, &[("1", ", weight: 0"), ("2", "")]));

    for (talk, server) in &of {
        assert_eq!(product.more(*talk).server.as_ref(), Some(server), "its flow stays");
        let second = Talk { client: (talk.client.0, 11_113), ..*talk };
        assert_eq!(product.open(second), *server, "the client stays");
    }
    assert_eq!(product.open_all(associations(100..150)), counts(&[("DS2", 50)]));

    product.reload(&pacs(persistent, &[("1", ""), ("2", "")]));
    assert!(product.open_all(associations(200..250)).contains_key("DS1"));
}

#[test]
fn a_full_server_takes_new_flows_again_below_its_low_mark() {
    let limits = ", max_connections: 10, min_connections: 8";
    let mut product = Product::new(&pacs("", &[("1", limits)]));
    let talks: Vec<Talk> = associations(0..10).collect();
    product.open_all(talks.iter().copied());
    let mut late = associations(100..110);
    let refused = |product: &mut Product, talk| {
        let sent = product.knock(talk);
        assert_eq!((sent.reason, sent.server), (Reason::ServersFull, None));
    };
    refused(&mut product, late.next().expect("ten"));

    // Two of ten leave: it is at its low mark, and not below.
    for talk in &talks[..2] {
        product.close(*talk);
    }
    product.wait(32);
    assert_eq!(product.connections("DICOM", "DS1"), 8);
    refused(&mut product, late.next().expect("ten"));

    product.close(talks[2]);
    product.wait(32);
    assert_eq!(product.open_all(late.by_ref().take(3)), counts(&[("DS1", 3)]));
    refused(&mut product, late.next().expect("ten"));
    assert_eq!(product.tables.verdicts_of(Reason::ServersFull), 3);
    assert_eq!(product.more(talks[9]).server.as_deref(), Some("DS1"), "whoever is in stays in");
}

#[test]
fn a_full_server_diverts_to_the_other() {
    let mut product = Product::new(&pacs("", &[("1", ", max_connections: 5"), ("2", "")]));
    assert_eq!(product.open_all(associations(0..50)), counts(&[("DS1", 5), ("DS2", 45)]));
}

#[test]
fn with_all_servers_down_packets_are_dropped_and_counted() {
    let mut product = Product::new(&pacs("", &[("1", ""), ("2", "")]));
    product.open_all(associations(0..10));
    product.fail("172.26.11.101");
    product.fail("172.26.11.102");
    for talk in associations(0..20) {
        assert_eq!(product.more(talk).reason, Reason::NoServer);
        assert_eq!(product.knock(talk).reason, Reason::NoServer);
    }
    assert_eq!(product.tables.verdicts_of(Reason::NoServer), 40);
    assert_eq!(product.status("DICOM").reason.as_deref(), Some("no real server takes new clients: 2 down"));
    product.repair("172.26.11.101");
    assert_eq!(product.open_all(associations(0..20)), counts(&[("DS1", 20)]));
}

#[test]
fn the_fallback_takes_over_and_gives_back() {
    let more = "    fallback: {address: 172.26.11.109}\n    persistence: {by: source-ip, timeout: 6h}\n";
    let mut product = Product::new(&pacs(more, &[("1", ""), ("2", "")]));
    assert!(!product.open_all(associations(0..20)).contains_key("fallback"));
    product.fail("172.26.11.101");
    product.fail("172.26.11.102");
    for talk in associations(0..20) {
        assert_eq!(product.more(talk).server.as_deref(), Some("fallback"));
    }
    let late: Vec<Talk> = associations(100..110).collect();
    assert_eq!(product.open_all(late.iter().copied()), counts(&[("fallback", 10)]));

    product.repair("172.26.11.101");
    for talk in &late {
        assert_eq!(product.more(*talk).server.as_deref(), Some("fallback"), "its flows end in peace");
        let second = Talk { client: (talk.client.0, 11_113), ..*talk };
        assert_eq!(product.open(second), "DS1", "its clients do not stay for six hours");
    }
}

#[test]
fn a_backup_server_is_used_when_no_other_can() {
    let mut product = Product::new(&pacs("", &[("1", ""), ("2", ", backup: true")]));
    assert_eq!(product.open_all(associations(0..20)), counts(&[("DS1", 20)]));
    product.fail("172.26.11.101");
    assert_eq!(product.open_all(associations(100..120)), counts(&[("DS2", 20)]));
}
