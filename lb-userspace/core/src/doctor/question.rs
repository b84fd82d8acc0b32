//! Which questions are asked of the network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::{Known, Machine};
use super::target::{Target, is_layer_4, on_duty};
use crate::config::model::{Mode, Protocol};
use crate::neighbour::NextHop;
use crate::tables::ServerKey;
use crate::view::Transport;

/// A question to others on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who answers ARP or neighbour discovery for a VIP?
    WhoAnswers {
        /// The VIP.
        vip: IpAddr,
        /// Where it is asked.
        ifindex: u32,
        /// The name of that interface.
        device: String,
        /// Who asks; `None`: this machine has no address of its own there.
        source: Option<IpAddr>,
    },
    /// Does a real server take packets for the VIP? Asked over `protocols` until one tells.
    Accepts {
        /// The real server.
        server: ServerKey,
        /// Its own address.
        address: IpAddr,
        /// How frames get there.
        hop: NextHop,
        /// The VIP.
        vip: IpAddr,
        /// The port on both addresses.
        port: u16,
        /// In this order.
        protocols: &'static [Transport],
        /// Who asks.
        source: IpAddr,
    },
    /// Does a real server's answer to an address far away come by this machine?
    ComesBack {
        /// The real server.
        server: ServerKey,
        /// Its address.
        address: IpAddr,
        /// How frames get there.
        hop: NextHop,
        /// The port of the real server.
        port: u16,
        /// Over which protocol.
        protocol: Transport,
        /// An address of this machine, for comparison.
        source: IpAddr,
    },
}

impl Question {
    /// Short, for a line of progress.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::WhoAnswers { vip, device, .. } => format!("who answers for {vip} on {device}"),
            Self::Accepts { server, vip, .. } => {
                format!("whether {} of {} takes packets for {vip}", server.server, server.service)
            }
            Self::ComesBack { server, .. } => {
                format!("whether answers of {} of {} come back", server.server, server.service)
            }
        }
    }
}

/// The questions that a configuration gives rise to on this machine.
#[must_use]
pub fn questions(known: &Known, machine: &Machine) -> Vec<Question> {
    let vips: Vec<IpAddr> = known.config.virtual_services.iter().map(|service| service.address).collect();
    let mut questions = who_answers(known, machine, &vips);
    for target in on_duty(known) {
        let Some(Ok(hop)) = known.hops.get(&target.address).map(|status| &status.next_hop) else { continue };
        let Some(source) = machine.source_to(target.address, &vips) else { continue };
        match target.service.mode {
            Mode::L4Dr if hop.on_link => questions.push(accepts(&target, hop.clone(), source)),
            Mode::L4Nat => questions.push(comes_back(&target, hop.clone(), source)),
            // The others answer to an address of this machine.
            Mode::L4Dr | Mode::L4Snat | Mode::L7Tcp | Mode::L7Http => {}
        }
    }
    questions
}

impl Machine {
    /// The address of this machine that a real server is asked from.
    fn source_to(&self, address: IpAddr, vips: &[IpAddr]) -> Option<IpAddr> {
        let route = self.routes.get(&address)?;
        let preferred = route.source.filter(|source| !vips.contains(source));
        preferred.or_else(|| self.own_address(route.ifindex, address, vips))
    }
}

/// Each VIP where this machine has it, and where its real servers are, as far as that is in its subnet: in another
/// nobody asks for it, and a router with proxy ARP answers for whatever it has a route to.
fn who_answers(known: &Known, machine: &Machine, vips: &[IpAddr]) -> Vec<Question> {
    let mut places = BTreeSet::new();
    for service in &known.config.virtual_services {
        let vip = service.address;
        let Some(holder) = machine.holder(vip) else { continue };
        places.insert((vip, holder.link.ifindex));
        if is_layer_4(service.mode) {
            let routes = service.real_servers.iter().filter_map(|real| machine.routes.get(&real.address));
            let beside = routes.filter(|route| route.gateway.is_none() && machine.has_in_subnet(route.ifindex, vip));
            places.extend(beside.map(|route| (vip, route.ifindex)));
        }
    }
    let asked = places.into_iter().filter_map(|(vip, ifindex)| {
        let device = machine.device(ifindex)?;
        // On a loopback or a tunnel there is nobody to ask.
        let can_ask = device.link.up && device.link.mac.is_some_and(|mac| mac != [0; 6]);
        let source = machine.own_address(ifindex, vip, vips);
        can_ask.then(|| Question::WhoAnswers { vip, ifindex, device: device.link.device.clone(), source })
    });
    asked.collect()
}

fn accepts(target: &Target<'_>, hop: NextHop, source: IpAddr) -> Question {
    Question::Accepts {
        server: target.key(),
        address: target.address,
        hop,
        vip: target.service.address,
        port: target.asked_port(),
        protocols: match target.service.protocol {
            Protocol::Tcp | Protocol::TcpUdp => &[Transport::Tcp],
            // A TCP port that nobody listens on is refused, which tells as much and bothers no application.
            Protocol::Udp => &[Transport::Tcp, Transport::Udp],
        },
        source,
    }
}

fn comes_back(target: &Target<'_>, hop: NextHop, source: IpAddr) -> Question {
    Question::ComesBack {
        server: target.key(),
        address: target.address,
        hop,
        port: target.port.unwrap_or_else(|| target.asked_port()),
        protocol: Transport::Tcp,
        source,
    }
}
