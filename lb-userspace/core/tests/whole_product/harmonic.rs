//! Video: one VIP with single ports and a range, TCP and UDP, and clients that must keep their
//! server over all of them.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::datapath::Reason;
use lb_common::testing::PacketBuilder;
use lb_common::wire::protocol;

use super::product::{Product, Talk};
use super::site::{Answer, ip};

const VIP: &str = "192.168.94.110";

const HARMONIC: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
defaults: {health_check: {interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
virtual_services:
  - name: Harmonic_Traffic
    address: 192.168.94.110
    ports: [1935, 554, 50000-65535]
    protocol: tcp+udp
    mode: l4-dr
    persistence: {by: source-ip, timeout: 5m}
    health_check: {type: connect, port: 8443}
    real_servers:
      - {name: HT1, address: 192.168.94.115}
      - {name: HT2, address: 192.168.94.116}
";

fn client(number: u8) -> String {
    format!("203.0.113.{number}")
}

fn rtsp(number: u8) -> Talk {
    Talk::tcp(&client(number), 40_000, VIP, 554)
}

fn media(number: u8) -> Talk {
    Talk::udp(&client(number), 41_000, VIP, 50_000 + 2 * u16::from(number))
}

/// Each client opens its control connection and its media flow; who has whom.
fn watch_video(product: &mut Product, clients: std::ops::Range<u8>) -> BTreeMap<u8, String> {
    let mut of = BTreeMap::new();
    for number in clients {
        let server = product.open(rtsp(number));
        assert_eq!(product.open(media(number)), server, "client {number}: control and media are apart");
        of.insert(number, server);
    }
    of
}

#[test]
fn every_port_of_list_and_range_is_served_in_both_protocols_and_no_other_is() {
    let mut product = Product::new(HARMONIC);
    for port in [554, 1935, 50_000, 50_001, 65_535] {
        assert!(product.knock(Talk::tcp(&client(1), 40_000, VIP, port)).server.is_some(), "TCP {port}");
        assert!(product.knock(Talk::udp(&client(1), 40_000, VIP, port)).server.is_some(), "UDP {port}");
    }
    for port in [22, 553, 555, 1934, 8443, 49_999] {
        for talk in [Talk::tcp(&client(1), 40_000, VIP, port), Talk::udp(&client(1), 40_000, VIP, port)] {
            assert_eq!(product.knock(talk).reason, Reason::NoService, "{talk:?}");
        }
    }
    let ssh = Talk::tcp(&client(1), 40_000, "192.168.94.10", 22);
    assert_eq!(product.knock(ssh).reason, Reason::NotVip);
    let ping = PacketBuilder::icmp(ip(&client(1)), ip(VIP), 8, 0, 1, b"ping");
    assert_eq!(product.send(&ping, (ip(VIP), 0), protocol::ICMP).reason, Reason::Icmp);
    assert_eq!(product.tables.verdicts_of(Reason::NoService), 12);
}

#[test]
fn control_and_media_of_one_client_go_to_one_server_and_clients_are_spread() {
    let mut product = Product::new(HARMONIC);
    let of = watch_video(&mut product, 1..101);
    let ht1 = of.values().filter(|server| *server == "HT1").count();
    assert_eq!(ht1, 50, "least connection shares equally");
    let service = product.status("Harmonic_Traffic");
    assert_eq!((service.connections, service.flows, service.packets), (200, 200, 400));
    assert_eq!(service.real_servers.iter().map(|real| real.persistent_clients).sum::<u64>(), 100);
}

#[test]
fn a_client_is_remembered_for_five_minutes_after_its_last_packet() {
    let mut product = Product::new(HARMONIC);
    let of = watch_video(&mut product, 1..21);
    product.wait(200);
    for number in 1..21 {
        // The control connection lives on; that keeps the client.
        product.more(rtsp(number));
    }
    product.wait(299);
    for (number, server) in &of {
        let again = product.knock(Talk::tcp(&client(*number), 45_000, VIP, 1935));
        assert_eq!((again.reason, again.server.as_ref()), (Reason::Persistent, Some(server)));
    }
    product.wait(302);
    assert!(product.tables.persistence.is_empty() && product.tables.new_clients.is_empty());
    for number in of.keys() {
        let anew = product.knock(Talk::tcp(&client(*number), 46_000, VIP, 1935));
        assert_eq!(anew.reason, Reason::Scheduled);
    }
}

#[test]
fn clients_of_a_server_that_dies_move_at_once_and_the_others_stay() {
    let mut product = Product::new(HARMONIC);
    let of = watch_video(&mut product, 1..41);
    product.fail("192.168.94.115");
    for (number, server) in &of {
        for talk in [rtsp(*number), media(*number)] {
            let now = product.more(talk);
            assert_eq!(now.server.as_deref(), Some("HT2"), "{talk:?}");
            if server == "HT2" {
                assert_eq!(now.reason, Reason::Established, "{talk:?}");
            }
        }
    }
    let status = product.status("Harmonic_Traffic");
    assert_eq!(status.reason.as_deref(), Some("1 of 2 real servers is down"));

    // The dead one comes back to new clients only.
    product.repair("192.168.94.115");
    for number in of.keys() {
        assert_eq!(product.more(rtsp(*number)).server.as_deref(), Some("HT2"));
        assert_eq!(product.open(Talk::udp(&client(*number), 47_000, VIP, 60_000)), "HT2");
    }
    let new: BTreeSet<String> = watch_video(&mut product, 100..120).into_values().collect();
    assert!(new.contains("HT1"), "{new:?}");
}

#[test]
fn flows_of_a_server_that_was_down_are_cut_even_if_nobody_swept_meanwhile() {
    let mut product = Product::new(HARMONIC);
    let of = watch_video(&mut product, 1..11);
    product.fail("192.168.94.115");
    product.site.answer("192.168.94.115", Answer::Good);
    product.site.run(std::time::Duration::from_secs(3));
    product.write();
    for (number, server) in &of {
        // The server has forgotten its connections; whoever it gets now has to begin anew.
        let reason = product.more(rtsp(*number)).reason;
        assert_eq!(reason == Reason::Established, server == "HT2", "client {number} of {server}: {reason:?}");
    }
}

#[test]
fn a_check_that_hangs_counts_as_a_failure() {
    let mut product = Product::new(HARMONIC);
    product.site.answer("192.168.94.116", Answer::Silent);
    product.wait(4);
    let of = watch_video(&mut product, 1..11);
    assert!(of.values().all(|server| server == "HT1"), "{of:?}");
    let reason = product.server("Harmonic_Traffic", "HT2").reason;
    assert!(reason.starts_with("no answer from 192.168.94.116:8443 within 500 ms"), "{reason}");
}

#[test]
fn a_restart_of_the_daemon_moves_nobody() {
    let mut product = Product::new(HARMONIC);
    let of = watch_video(&mut product, 1..41);
    product.site.restart(HARMONIC, true);
    product.site.start();
    product.wait(5);
    for (number, server) in &of {
        let now = product.more(rtsp(*number));
        assert_eq!((now.reason, now.server.as_ref()), (Reason::Established, Some(server)));
    }
}

#[test]
fn clients_of_one_network_count_as_one_where_that_is_asked() {
    let mut product = Product::new(&HARMONIC.replace("by: source-ip,", "by: source-ip, prefix: 24,"));
    let of: BTreeSet<String> = watch_video(&mut product, 1..30).into_values().collect();
    assert_eq!(of.len(), 1, "{of:?}");
    assert_eq!(product.tables.persistence.len(), 1);
    let stranger = product.knock(Talk::tcp("198.51.100.1", 40_000, VIP, 554));
    assert_eq!(stranger.reason, Reason::Scheduled);
}

#[test]
fn control_and_media_move_together_when_their_server_dies() {
    let three = HARMONIC.to_owned() + "      - {name: HT3, address: 192.168.94.117}\n";
    let mut product = Product::new(&three);
    let of = watch_video(&mut product, 1..61);
    product.fail("192.168.94.115");
    // Packets come in before the daemon has swept the records of the dead server.
    let mut moved = BTreeMap::new();
    for number in of.iter().filter(|(_, server)| *server == "HT1").map(|(number, _)| *number) {
        let control = product.more(rtsp(number)).server;
        assert_eq!(product.more(media(number)).server, control, "client {number}");
        moved.insert(number, control);
    }
    // And they stay together for as long as the control connection is in use.
    for _ in 0..4 {
        product.wait(200);
        for number in moved.keys() {
            product.more(rtsp(*number));
        }
    }
    for (number, server) in &moved {
        assert_eq!(product.knock(Talk::udp(&client(*number), 48_000, VIP, 60_000)).server, *server, "client {number}");
    }
}
