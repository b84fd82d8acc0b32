//! Whether answers of real servers come back through the balancer.

use std::net::IpAddr;

use super::facts::{Answer, Asked, Facts, Known};
use super::finding;
use super::question::Question;
use super::remedy::remedy;
use crate::view::{Finding, FindingCode, Place};

pub(super) fn examine(known: &Known, facts: &Facts, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let Question::ComesBack { server, address, source, .. } = &asked.question else { continue };
        if !is_elsewhere(asked) || known.heard.contains(server) {
            continue;
        }
        let name = &server.server;
        let place = Place { services: vec![server.service.clone()], server: Some(name.clone()), interface: None };
        findings.push(finding(
            FindingCode::NatGateway,
            place,
            format!("{name} ({address}) answers this machine, but not through it: its gateway is another"),
            "In l4-nat the answers of a real server pass the balancer, which puts the VIP back as their source. Those \
             that go another way reach the client from an address that it never asked, and it drops them.",
            vec![
                remedy(format!("on {name} (Linux)"), linux(*source)),
                remedy(format!("on {name} (Windows)"), [windows(*source)]),
                remedy(
                    "or in the configuration, if its gateway has to stay: the balancer's own address as source",
                    ["mode: l4-snat".to_owned()],
                ),
            ],
        ));
    }
}

/// Answers that seem to go elsewhere while clients get them: the gateway was changed a moment ago, or a firewall
/// of the real server knows its clients and no others.
pub(super) fn untold(known: &Known, facts: &Facts) -> Vec<String> {
    let contradicted = facts.asked.iter().filter(|asked| {
        let Question::ComesBack { server, .. } = &asked.question else { return false };
        is_elsewhere(asked) && known.heard.contains(server)
    });
    let sentence = |asked: &Asked| {
        format!(
            "{}: clients have flows that work, and an address far away hears nothing; if new clients fail, look at its \
             gateway, else its firewall lets in its clients only",
            asked.question.subject()
        )
    };
    contradicted.map(sentence).collect()
}

fn is_elsewhere(asked: &Asked) -> bool {
    asked.answer == Answer::CameBack { by_us: false, answers: true }
}

fn linux(balancer: IpAddr) -> [String; 1] {
    let family = if balancer.is_ipv4() { "-4" } else { "-6" };
    [format!("ip {family} route replace default via {balancer}")]
}

fn windows(balancer: IpAddr) -> String {
    match balancer {
        IpAddr::V4(_) => format!("route -p change 0.0.0.0 mask 0.0.0.0 {balancer}"),
        IpAddr::V6(_) => format!("netsh interface ipv6 set route ::/0 \"LAN\" {balancer}"),
    }
}
