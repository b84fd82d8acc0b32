//! What is said beforehand of live flows comes true.

use lb_common::datapath::{Kind, Reason, forward};
use lb_common::testing::{MemPacket, PacketBuilder};
use lb_common::wire::tcp;

use super::product::{Product, Talk};
use lb_core::config::impact::{Flows, impact};
use lb_core::config::model::Config;

const OTHER: &str = "
  - {name: other, address: 10.0.0.100, ports: [9000], mode: l4-dr, health_check: {type: connect}, real_servers: [{name: o1, address: 10.0.0.9}]}";

/// A site with one service; `more` are its settings.
fn site(address: &str, more: &str, servers: &str, others: &str) -> String {
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
  - name: web
    address: {address}
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
{more}
    real_servers: [{servers}]{others}
"
    )
}

fn before() -> String {
    site(VIP, PORTS, ONE, "")
}

const VIP: &str = "10.0.0.100";
const PORTS: &str = "    ports: [80, 443]\n    protocol: tcp+udp";
const ONE: &str = "{name: s1, address: 10.0.0.1}";
const TWO: &str = "{name: s2, address: 10.0.0.2}";

/// The service is gone, and another one is there.
fn without(vip: &str) -> String {
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
virtual_services:{}
",
        OTHER.replace(VIP, vip)
    )
}

/// Whether a further packet of a flow is forwarded as one of a flow that is known.
fn goes_on(product: &Product, talk: Talk, is_udp: bool) -> bool {
    let packet = match is_udp {
        true => PacketBuilder::udp(talk.client, talk.vip, b"more"),
        false => PacketBuilder::tcp(talk.client, talk.vip, tcp::ACK, b"more"),
    };
    let verdict = forward(&mut MemPacket::new(&packet.build(), 3), &product.tables);
    verdict.reason == Reason::Established && verdict.reason.kind() == Kind::Forward
}

#[test]
fn what_is_said_of_live_flows_comes_true() {
    let cut = "    ports: [80, 443]\n    protocol: tcp+udp\n    on_removal: cut";
    let cases = [
        ("nothing", before(), Flows::Stay),
        ("another weight", site(VIP, PORTS, "{name: s1, address: 10.0.0.1, weight: 7}", ""), Flows::Stay),
        ("another scheduler", site(VIP, &format!("{PORTS}\n    scheduler: maglev"), ONE, ""), Flows::Stay),
        ("one more server", site(VIP, PORTS, &format!("{ONE}, {TWO}"), ""), Flows::Stay),
        ("another server, drained", site(VIP, PORTS, TWO, ""), Flows::Finish),
        ("another server, cut", site(VIP, cut, TWO, ""), Flows::Cut),
        ("a server that moves, drained", site(VIP, PORTS, "{name: s1, address: 10.0.0.2}", ""), Flows::Finish),
        ("a server that moves, cut", site(VIP, cut, "{name: s1, address: 10.0.0.2}", ""), Flows::Cut),
        ("ports that close", site(VIP, "    ports: [8080]\n    protocol: tcp+udp", ONE, ""), Flows::Finish),
        ("a service that goes, drained", without("10.0.0.102"), Flows::Finish),
        ("a service that goes from a VIP in use, drained", without(VIP), Flows::Finish),
        ("a service that moves", site("10.0.0.101", PORTS, ONE, ""), Flows::Cut),
        ("a service that moves from a VIP in use", site("10.0.0.101", PORTS, ONE, OTHER), Flows::Finish),
    ];
    for (change, after, flows) in cases {
        let mut product = Product::new(&before());
        let talks =
            [(Talk::tcp("198.51.100.1", 20_000, VIP, 443), false), (Talk::udp("198.51.100.1", 20_000, VIP, 443), true)];
        for (talk, _) in talks {
            product.open(talk);
            product.more(talk);
        }
        let old: Config = product.site.control.config().clone();
        product.reload(&after);
        let touched = impact(&old, product.site.control.config());
        let worst = [Flows::Cut, Flows::Finish].into_iter().find(|flows| touched.iter().any(|one| one.flows == *flows));
        assert_eq!(worst.unwrap_or(Flows::Stay), flows, "{change}: {touched:?}");
        for (talk, is_udp) in talks {
            assert_eq!(goes_on(&product, talk, is_udp), flows != Flows::Cut, "{change}: {talk:?}");
        }
    }
}

#[test]
fn flows_of_a_protocol_that_closes_go_on_until_they_end() {
    for (left, closed) in [("tcp", "udp"), ("udp", "tcp")] {
        let mut product = Product::new(&before());
        let is_udp = closed == "udp";
        let talk = |from| match is_udp {
            true => Talk::udp("198.51.100.1", from, VIP, 80),
            false => Talk::tcp("198.51.100.1", from, VIP, 80),
        };
        product.open(talk(20_000));
        product.more(talk(20_000));
        product.reload(&site(VIP, &format!("    ports: [80, 443]\n    protocol: {left}"), ONE, ""));
        assert!(goes_on(&product, talk(20_000), is_udp), "{closed}");
        assert_eq!(product.knock(talk(20_001)).reason, Reason::NoService, "{closed}");
    }
}
