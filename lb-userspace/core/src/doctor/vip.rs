//! Who has a VIP, and who takes packets for it.

use std::net::IpAddr;

use super::facts::{Acceptance, Answer, Facts, Heard, Known};
use super::finding;
use super::question::Question;
use super::remedy::{hold_quietly, mac_text, remedy, whole};
use super::target::targets;
use crate::config::model::{Mode, Protocol, VirtualService};
use crate::tables::ServerKey;
use crate::view::{Finding, FindingCode, Place, Transport};

pub(super) fn examine(known: &Known, facts: &Facts, findings: &mut Vec<Finding>) {
    for service in &known.config.virtual_services {
        if facts.machine.holder(service.address).is_none() {
            findings.push(missing(service));
        }
    }
    for asked in &facts.asked {
        match (&asked.question, &asked.answer) {
            (Question::WhoAnswers { vip, device, .. }, Answer::Macs(macs)) => {
                let others = macs.iter().filter(|mac| !facts.machine.is_own(**mac));
                findings.extend(others.map(|mac| answered(known, *vip, device, *mac)));
            }
            (Question::Accepts { server, vip, address, port, .. }, Answer::Acceptance(acceptance)) => {
                findings.extend(accepted(known, server, *vip, *address, *port, *acceptance));
            }
            _ => {}
        }
    }
}

fn missing(service: &VirtualService) -> Finding {
    let vip = service.address;
    finding(
        FindingCode::VipMissing,
        Place { services: vec![service.name.clone()], ..Place::default() },
        format!("no interface of this machine has {vip}"),
        "Nobody answers for the address, so clients do not find it.",
        vec![remedy(
            "on this machine, to see why it was not brought up",
            ["lbctl status".to_owned(), format!("journalctl -u lbd | grep {vip}")],
        )],
    )
}

/// Somebody who is not this machine answers for a VIP.
fn answered(known: &Known, vip: IpAddr, device: &str, mac: [u8; 6]) -> Finding {
    let services = || known.config.virtual_services.iter().filter(|service| service.address == vip);
    let named = || services().map(|service| service.name.clone()).collect();
    let is_it = |address: IpAddr| {
        let hop = known.hops.get(&address).and_then(|status| status.next_hop.as_ref().ok());
        hop.is_some_and(|hop| hop.on_link && hop.destination_mac == mac)
    };
    let mac = mac_text(mac);
    if let Some(target) = targets(&known.config).find(|target| is_it(target.address)) {
        let (server, address) = (target.name, target.address);
        let held = services().any(|service| service.mode == Mode::L4Dr);
        let question = if vip.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let place = Place { services: named(), server: Some(server.to_owned()), interface: Some(device.to_owned()) };
        let away = remedy(
            format!("on {server}, if an interface that others reach has {vip}"),
            ["ip address show".to_owned(), format!("ip address del {} dev INTERFACE", whole(vip))],
        );
        let fix = if held { hold_quietly(server, vip).into_iter().chain([away]).collect() } else { vec![away] };
        return finding(
            FindingCode::VipAnswered,
            place,
            format!("{server} ({address}, {mac}) answers {question} for the VIP {vip}"),
            "Clients and routers that hear its answer send everything to this one server, past the balancer: no \
             balancing, no health check, and an outage when it stops.",
            fix,
        );
    }
    finding(
        FindingCode::VipDuplicate,
        Place { services: named(), server: None, interface: Some(device.to_owned()) },
        format!("a machine with the MAC address {mac} has the VIP {vip} too"),
        "Clients reach now this machine, now the other, whichever answers first.",
        vec![remedy(
            format!(
                "on this machine, to find it: its MAC address is in the address table of the switch behind {device}"
            ),
            [format!("ip neighbour show | grep -i {mac}")],
        )],
    )
}

/// What a real server makes of packets for the VIP.
fn accepted(
    known: &Known,
    key: &ServerKey,
    vip: IpAddr,
    address: IpAddr,
    port: u16,
    acceptance: Acceptance,
) -> Option<Finding> {
    let server = key.server.as_str();
    let device =
        known.hops.get(&address).and_then(|status| status.next_hop.as_ref().ok()).map(|hop| hop.destination_mac);
    let mac = device.map_or_else(String::new, |mac| format!(", {}", mac_text(mac)));
    let place = Place { services: vec![key.service.clone()], server: Some(server.to_owned()), interface: None };
    match (acceptance.vip, acceptance.own?) {
        (Heard::Silent, Heard::Answered | Heard::Refused) => Some(finding(
            FindingCode::VipNotAccepted,
            place,
            format!("{server} ({address}{mac}) does not take packets for the VIP {vip}"),
            "In l4-dr the packets of clients arrive there with the VIP as their destination. A machine that does not \
             have the address drops them, or sends them back.",
            hold_quietly(server, vip),
        )),
        // What TCP says of a port tells nothing of a service on UDP.
        (Heard::Refused, Heard::Answered) if !is_udp(known, key) => Some(finding(
            FindingCode::VipRefused,
            place,
            format!(
                "{server} refuses connections to {vip}, {}, and accepts them at its own address {address}",
                port_text(port)
            ),
            "The application listens at the server's own address only, or a firewall there forbids the VIP. In l4-dr \
             clients connect to the VIP; a health check of the server's own address stays green.",
            vec![remedy(
                format!("on {server}: let the application listen at every address, or at {vip} too; then look"),
                [format!("ss -ltn 'sport = :{port}'")],
            )],
        )),
        _ => None,
    }
}

fn is_udp(known: &Known, key: &ServerKey) -> bool {
    let service = known.config.virtual_services.iter().find(|service| service.name == key.service);
    service.is_some_and(|service| service.protocol == Protocol::Udp)
}

fn port_text(port: u16) -> String {
    format!("{} port {port}", Transport::Tcp)
}
