//! Interfaces: whether XDP is there, where it runs, and what is in its way.

use super::facts::{Attachment, Device, Facts, Known};
use super::finding;
use super::remedy::remedy;
use super::target::targets;
use crate::config::model::{Mode, XdpMode};
use crate::view::{Finding, FindingCode, Place};

/// Drivers keep a frame for XDP in one page of 4096 bytes, together with 256 bytes of room before it and some
/// 320 behind it; this is what the strictest of the common ones takes, Ethernet header and tag aside.
const XDP_MTU: u32 = 3_498;

/// The MTU of Ethernet, which every driver takes.
const ETHERNET_MTU: u32 = 1_500;

pub(super) fn examine(known: &Known, facts: &Facts, findings: &mut Vec<Finding>) {
    for interface in &known.config.node.interfaces {
        let name = interface.device.as_str();
        let Some(device) = facts.machine.named(name) else {
            findings.push(not_attached(name, format!("there is no interface {name}")));
            continue;
        };
        if !device.link.up {
            findings.push(down(name));
        }
        match (device.xdp, interface.xdp) {
            (Attachment::None, _) => {
                findings.push(not_attached(name, format!("no XDP program is attached to {name}")));
            }
            (Attachment::Generic, XdpMode::Auto | XdpMode::Native) => findings.push(generic(device)),
            (Attachment::Generic, XdpMode::Generic) | (Attachment::Native, _) => {}
        }
        findings.extend(joined(device));
    }
    findings.extend(smaller(known, facts));
}

fn place(name: &str) -> Place {
    Place { interface: Some(name.to_owned()), ..Place::default() }
}

fn not_attached(name: &str, what: String) -> Finding {
    finding(
        FindingCode::XdpNotAttached,
        place(name),
        what,
        "Packets for virtual services that arrive there are not balanced; the kernel drops or refuses them.",
        vec![remedy(
            "on this machine",
            [format!("ip link show {name}"), "systemctl restart lbd".to_owned(), "journalctl -u lbd -n 50".to_owned()],
        )],
    )
}

fn down(name: &str) -> Finding {
    finding(
        FindingCode::LinkDown,
        place(name),
        format!("{name} has no link"),
        "Nothing arrives there and nothing leaves.",
        vec![remedy(
            "on this machine, after a look at cable and switch port",
            [format!("ip link set {name} up"), format!("ip link show {name}")],
        )],
    )
}

fn generic(device: &Device) -> Finding {
    let name = device.link.device.as_str();
    let driver = device.driver.as_ref().map_or_else(String::new, |driver| format!(" (driver {driver})"));
    if device.mtu > XDP_MTU {
        let mtu = device.mtu;
        return finding(
            FindingCode::XdpMtu,
            place(name),
            format!("{name}{driver} has an MTU of {mtu}, so XDP runs in the network stack and not in the driver"),
            format!(
                "In the driver a frame has to fit into one page of memory, which ends at an MTU of about {XDP_MTU}. In the \
                 network stack each packet costs several times as much CPU."
            ),
            vec![remedy(
                "on this machine, unless real servers and clients need the long frames",
                [format!("ip link set {name} mtu {ETHERNET_MTU}"), "systemctl restart lbd".to_owned()],
            )],
        );
    }
    finding(
        FindingCode::XdpGeneric,
        place(name),
        format!("XDP runs in the network stack of {name}{driver}, not in its driver"),
        "Each packet costs several times as much CPU. The driver cannot do XDP, or refused: MTU, offloads and the number \
         of queues are the usual reasons.",
        vec![
            remedy(
                "on this machine, to see why the driver refused, and to try again",
                [
                    "journalctl -k -n 50".to_owned(),
                    format!("ethtool -K {name} lro off"),
                    "systemctl restart lbd".to_owned(),
                ],
            ),
            remedy("or in the configuration, if this speed is enough", [format!("{{device: {name}, xdp: generic}}")]),
        ],
    )
}

/// Features by which the card joins packets.
fn joined(device: &Device) -> Option<Finding> {
    let is_on = |feature: &&&str| device.features.iter().any(|on| on == **feature);
    // virtio_net shows hardware GRO as on while its XDP has turned it off (virtnet_xdp_set).
    let is_real = |feature: &&&str| **feature == "rx-lro" || device.driver.as_deref() != Some("virtio_net");
    let on: Vec<&str> = ["rx-lro", "rx-gro-hw"].iter().filter(is_on).filter(is_real).copied().collect();
    if on.is_empty() {
        return None;
    }
    let name = device.link.device.as_str();
    Some(finding(
        FindingCode::Offload,
        place(name),
        format!("{name} joins packets before XDP sees them ({} on)", on.join(" and ")),
        "Joined packets are longer than the MTU and cannot be sent on: transfers stall while small requests work.",
        vec![remedy("on this machine", on.iter().map(|feature| format!("ethtool -K {name} {feature} off")))],
    ))
}

/// Interfaces of real servers with a smaller MTU than that of their clients.
fn smaller(known: &Known, facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let through = targets(&known.config).filter(|target| matches!(target.service.mode, Mode::L4Nat | Mode::L4Snat));
    let found = through.filter_map(|target| {
        let client_side = machine.holder(target.service.address)?;
        let server_side = machine.device(machine.routes.get(&target.address)?.ifindex)?;
        // A VIP on the loopback says nothing about where its clients are.
        if client_side.link.mac.is_none_or(|mac| mac == [0; 6]) || server_side.mtu >= client_side.mtu {
            return None;
        }
        let (clients, servers) = (client_side.link.device.as_str(), server_side.link.device.as_str());
        Some(finding(
            FindingCode::MtuMismatch,
            Place {
                services: vec![target.service.name.clone()],
                server: None,
                interface: Some(server_side.link.device.clone()),
            },
            format!(
                "clients come by {clients} with an MTU of {}, real servers are at {servers} with one of {}",
                client_side.mtu, server_side.mtu
            ),
            "Packets of clients that are longer than the smaller one cannot be sent on. Clients that do not hear of it \
             (path MTU discovery is often filtered) stall on large transfers while small requests work.",
            vec![remedy(
                "on this machine, if the network of the real servers takes such packets",
                [format!("ip link set {servers} mtu {}", client_side.mtu)],
            )],
        ))
    });
    found.collect()
}
