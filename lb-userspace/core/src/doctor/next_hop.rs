//! Real servers that frames cannot be sent to.

use super::facts::{Facts, Known};
use super::finding;
use super::remedy::remedy;
use super::target::{Target, on_duty};
use crate::config::model::Mode;
use crate::neighbour::Problem;
use crate::view::{Finding, FindingCode, Place, Remedy};

pub(super) fn examine(known: &Known, facts: &Facts, findings: &mut Vec<Finding>) {
    for target in on_duty(known) {
        let Some(status) = known.hops.get(&target.address) else { continue };
        let found = match (&status.next_hop, &status.doubt) {
            (Err(problem), _) | (Ok(_), Some(problem)) => Some(unreachable(&target, problem)),
            (Ok(hop), None) if !hop.on_link && target.service.mode == Mode::L4Dr => {
                let by = hop.gateway.map_or_else(String::new, |gateway| format!(" {gateway}"));
                let device = facts.machine.device(hop.ifindex).map(|device| device.link.device.clone());
                Some(not_on_link(&target, &by, device))
            }
            (Ok(_), None) => None,
        };
        findings.extend(found);
    }
}

fn place(target: &Target<'_>, interface: Option<String>) -> Place {
    Place { services: vec![target.service.name.clone()], server: Some(target.name.to_owned()), interface }
}

fn not_on_link(target: &Target<'_>, gateway: &str, interface: Option<String>) -> Finding {
    let Target { name, address, .. } = target;
    finding(
        FindingCode::NotOnLink,
        place(target, interface),
        format!("{name} ({address}) is behind the router{gateway}"),
        "In l4-dr a frame arrives at the real server with the VIP in it; a router would send it back to the balancer. \
         The server is not used.",
        vec![
            remedy(
                format!("on this machine, if a cable leads to the network of {name}"),
                [format!("ip address add ADDRESS/PREFIX dev {}", device_or_name(None))],
            ),
            remedy("or in the configuration of the virtual service", ["mode: l4-snat".to_owned()]),
        ],
    )
}

fn device_or_name(device: Option<&str>) -> &str {
    device.unwrap_or("INTERFACE")
}

fn unreachable(target: &Target<'_>, problem: &Problem) -> Finding {
    let Target { name, address, .. } = target;
    let why = "No client is sent to a real server that cannot be reached.";
    let (code, interface, fix) = match problem {
        Problem::NoRoute => (FindingCode::NoRoute, None, no_route(target)),
        Problem::Unresolved { device, address: asked } => (
            FindingCode::NeighbourUnresolved,
            Some(device),
            vec![remedy(
                "on this machine, to see whether it answers meanwhile",
                [
                    format!("ping -c 3 -I {device} {asked}"),
                    format!("ip neighbour show {asked} dev {device}"),
                    format!("ip -s link show {device}"),
                ],
            )],
        ),
        Problem::LinkDown { device } => {
            (FindingCode::LinkDown, Some(device), vec![remedy("on this machine", [format!("ip link set {device} up")])])
        }
        Problem::NoMac { device } | Problem::Tags { device } | Problem::TagType { device } => {
            (FindingCode::NextHopUnusable, Some(device), look(target, device))
        }
        Problem::Local | Problem::NotUnicast | Problem::UnknownDevice { .. } | Problem::NotAsked { .. } => {
            (FindingCode::NextHopUnusable, None, look(target, "INTERFACE"))
        }
    };
    let what = format!("{name} ({address}) cannot be reached: {problem}");
    finding(code, place(target, interface.cloned()), what, why, fix)
}

fn no_route(target: &Target<'_>) -> Vec<Remedy> {
    let address = target.address;
    vec![remedy(
        "on this machine, to see its routes and give it the one that is missing",
        [format!("ip route get {address}"), format!("ip route add {address} via GATEWAY")],
    )]
}

fn look(target: &Target<'_>, device: &str) -> Vec<Remedy> {
    vec![remedy(
        "on this machine, to see the route and the interface",
        [format!("ip route get {}", target.address), format!("ip -d link show {}", device_or_name(Some(device)))],
    )]
}
