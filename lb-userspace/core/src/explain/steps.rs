//! The steps of an explanation, in the order in which the datapath takes them.

use std::net::SocketAddr;

use lb_common::abi::{Address, Explanation, Role};
use lb_common::datapath::{Kind, Reason};

use super::account::{Account, Named};
use super::phrase::{shortened, span, state};
use super::serves;
use crate::config::model::{Mode, Protocol, VirtualService};
use crate::view::{self, Step, StepKind, Transport};

/// Names in one list.
pub(super) const MOST_NAMES: usize = 8;

impl Account<'_> {
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut say = |about, sentences: Vec<String>| {
            steps.extend(sentences.into_iter().map(|sentence| Step { about, sentence }));
        };
        say(StepKind::Service, vec![self.service_step()]);
        if self.service.is_some() {
            say(StepKind::Flow, self.flow_steps());
            say(StepKind::Persistence, self.persistence_step().into_iter().collect());
            say(StepKind::Scheduler, self.scheduler_steps());
            say(StepKind::Others, self.others());
        }
        say(StepKind::Answer, self.answer());
        steps
    }

    fn target(&self) -> String {
        format!("{}/{}", self.query.vip.0, transport(self.asked.protocol))
    }

    pub(super) fn client(&self) -> String {
        SocketAddr::new(self.query.client.address, self.asked.port).to_string()
    }

    fn service_step(&self) -> String {
        let target = self.target();
        match (&self.service, self.configured) {
            (Some(name), Some(service)) => {
                let persistence = match self.persistence_timeout() {
                    0 => String::new(),
                    ticks => format!(", a client stays with its real server for {}", span(self.seconds(ticks))),
                };
                let scheduler = view::Scheduler::from(service.scheduler).word();
                format!("{target} is virtual service {name} ({}, {scheduler}{persistence})", mode(service.mode))
            }
            (Some(name), None) => {
                format!(
                    "{target} was virtual service {name}, which is removed from the configuration; flows that it has finish first"
                )
            }
            (None, _) => self.no_service(),
        }
    }

    /// What there is instead.
    fn no_service(&self) -> String {
        if self.reason == Some(Reason::Reply) {
            let server = self.named(self.found.server).name;
            return format!("{} is real server {server}, whose packet answers a flow", self.client());
        }
        let (vip, target) = (self.query.vip.0, self.target());
        let services = &self.control.config().virtual_services;
        let of_vip: Vec<&VirtualService> = services.iter().filter(|service| service.address == vip.ip()).collect();
        if let Some(proxied) = of_vip.iter().find(|service| serves(service, vip) && is_proxied(service.mode)) {
            let mode = mode(proxied.mode);
            return format!(
                "{target} is virtual service {} ({mode}), a proxy: the datapath does not place its clients",
                proxied.name
            );
        }
        let answers = |service: &&&VirtualService| serves(service, vip) && takes(service.protocol, self.asked.protocol);
        if let Some(missing) = of_vip.iter().find(answers) {
            return format!(
                "{target} is virtual service {} in the configuration, and the kernel's tables do not have it yet",
                missing.name
            );
        }
        if of_vip.is_empty() {
            let mut vips: Vec<_> = services.iter().map(|service| service.address).collect();
            vips.sort_unstable();
            vips.dedup();
            let vips = shortened(vips.iter().map(ToString::to_string).collect(), MOST_NAMES);
            return match vips.is_empty() {
                true => format!("{} is no VIP: there is no virtual service", vip.ip()),
                false => format!("{} is no VIP; there are {vips}", vip.ip()),
            };
        }
        let there = of_vip.iter().map(|service| {
            let view = view::VirtualService::described(service);
            format!("{} ({} {})", service.name, view.protocol, view.ports)
        });
        let there = shortened(there.collect(), MOST_NAMES);
        format!("no virtual service has {target}; on this VIP there are {there}")
    }

    fn answer(&self) -> Vec<String> {
        let Some(reason) = self.reason else {
            return vec![format!("what becomes of it is unknown to this version (reason {})", self.found.reason)];
        };
        if let Some(server) = self.receiver() {
            return vec![self.delivered(&server)];
        }
        if reason == Reason::Reply {
            let reply = &self.found.reply;
            let (client, vip) = (end(reply.client, reply.client_port), end(reply.vip, reply.vip_port));
            return vec![format!("it goes back to the client {client} as a packet of {vip}")];
        }
        let because = match reason {
            Reason::NoServer => "no real server can take it",
            Reason::ServersFull => "every real server that was tried has as many connections as it may",
            Reason::NextHopUnknown => return vec![self.no_way()],
            Reason::Spoofed => "its source address is the VIP itself",
            Reason::NotVip | Reason::NoService => {
                "the machine itself answers, or refuses, as it does for any address of its own"
            }
            other => other.help().trim_end_matches('.'),
        };
        let name = reason.name();
        vec![match reason.kind() {
            Kind::Pass => format!("it is left to the network stack of this machine ({name}): {because}"),
            Kind::Drop | Kind::Forward => format!("it is dropped ({name}): {because}"),
        }]
    }

    fn no_way(&self) -> String {
        let of_flow = || self.looked_at(Role::Flow).into_iter().next();
        let server = self.looked_at(Role::Chosen).into_iter().next().or_else(of_flow).map(|of| self.named(of.server));
        let why =
            server.as_ref().and_then(|of| of.row).map_or_else(String::new, |row| format!("; it is {}", state(row)));
        let name = server.map_or_else(|| "its real server".to_owned(), |of| of.name);
        format!("it is dropped ({}): the way to {name} is not known{why}", Reason::NextHopUnknown.name())
    }

    fn delivered(&self, server: &Named<'_>) -> String {
        let name = &server.name;
        let address = server.address.map_or_else(String::new, |address| format!(", {address}"));
        let hop = server.row.and_then(|row| row.next_hop.as_ref());
        let by = hop.map_or_else(String::new, |hop| match hop.gateway {
            Some(gateway) => format!(", by {} over {gateway}", hop.device),
            None => format!(", by {}", hop.device),
        });
        let port = match server.row.and_then(|row| row.port) {
            Some(port) if port != self.query.vip.0.port() => format!(" port {port}"),
            _ => String::new(),
        };
        let why = match server.row {
            _ if server.is_fallback => "; no real server can take it",
            _ if server.is_leaving => "; it is removed from the configuration, and keeps its flows until they end",
            Some(row) if row.state == view::ServerState::Draining => "; it is drained, and keeps those whom it has",
            Some(row) if row.backup && self.found.has(Explanation::PLACED) => "; a backup, as no other can be had",
            _ => "",
        };
        let source = match (self.found.has(Explanation::SOURCE), self.found.has(Explanation::BOUND)) {
            (true, true) => format!(", which sees it come from {}", end(self.found.source, self.found.source_port)),
            (true, false) => {
                format!(", which sees it come from {}", end(self.found.source, self.found.flow.source_port))
            }
            (false, _) => String::new(),
        };
        format!("it goes to {name}{address}{port}{by}{source}{why}")
    }
}

fn end(address: Address, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

pub(super) const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::L4Dr => "l4-dr",
        Mode::L4Nat => "l4-nat",
        Mode::L4Snat => "l4-snat",
        Mode::L7Tcp => "l7-tcp",
        Mode::L7Http => "l7-http",
    }
}

const fn is_proxied(mode: Mode) -> bool {
    matches!(mode, Mode::L7Tcp | Mode::L7Http)
}

const fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn takes(protocol: Protocol, transport: Transport) -> bool {
    match protocol {
        Protocol::TcpUdp => true,
        Protocol::Tcp => transport == Transport::Tcp,
        Protocol::Udp => transport == Transport::Udp,
    }
}
