//! [`Product`]: control and the datapath, joined by the tables that one writes and the other reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::abi::{Address, FlowKey, FlowState, ServiceMode};
use lb_common::datapath::{Action, Kind, Reason, Verdict, forward};
use lb_common::testing::{MemPacket, MemTables, PacketBuilder};
use lb_common::wire::{protocol, tcp};
use lb_core::config::model::{Fallback, Protocol, VirtualService};
use lb_core::control::{Counts, Measured, ServerMeasures};
use lb_core::tables::expiry::Verdict as Fate;
use lb_core::tables::{FALLBACK, ServerIdentity, ServerKey, TableOp};
use lb_core::view::{self, Order, ServerState};

use super::site::{Answer, DEVICE, DEVICE_MAC, Site, ip, mac};

/// Where clients' frames come in; real servers are behind [`DEVICE`].
const INGRESS: u32 = 3;

pub(super) struct Product {
    pub(super) site: Site,
    pub(super) tables: MemTables,
    /// Ticks between the clock of the tables and the age of the site.
    begin: u32,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) reason: Reason,
    /// The real server it was sent to.
    pub(super) server: Option<String>,
}

/// One conversation, from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Talk {
    pub(super) client: (IpAddr, u16),
    pub(super) vip: (IpAddr, u16),
    pub(super) protocol: u8,
}

impl Talk {
    pub(super) fn tcp(client: &str, from: u16, vip: &str, to: u16) -> Self {
        Self { client: (ip(client), from), vip: (ip(vip), to), protocol: protocol::TCP }
    }

    pub(super) fn udp(client: &str, from: u16, vip: &str, to: u16) -> Self {
        Self { protocol: protocol::UDP, ..Self::tcp(client, from, vip, to) }
    }

    fn packet(&self, flags: u8) -> PacketBuilder {
        match self.protocol {
            protocol::TCP => PacketBuilder::tcp(self.client, self.vip, flags, b"data"),
            _ => PacketBuilder::udp(self.client, self.vip, b"data"),
        }
    }
}

impl Product {
    /// In service, after the first checks.
    pub(super) fn new(yaml: &str) -> Self {
        let mut product = Self { site: Site::new(yaml), tables: MemTables::default(), begin: 1000 };
        product.write();
        product
    }

    /// Puts another configuration in force and waits for the checks of who is new.
    pub(super) fn reload(&mut self, yaml: &str) {
        self.site.reload(yaml);
        self.write();
        self.wait(2);
    }

    /// An administrator orders.
    pub(super) fn order(&mut self, service: &str, server: &str, order: Order) {
        self.site.order(service, server, order);
        self.write();
    }

    /// The real server fails its checks, and the daemon has noticed; nothing was swept yet.
    pub(super) fn fail(&mut self, address: &str) {
        self.site.answer(address, Answer::Refused);
        self.site.run(Duration::from_secs(3));
        self.write();
    }

    pub(super) fn repair(&mut self, address: &str) {
        self.site.answer(address, Answer::Good);
        self.wait(3);
    }

    /// Lets time pass, with a sweep each second, as the daemon does.
    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.site.run(Duration::from_secs(1));
            self.write();
            self.sweep();
        }
    }

    /// The kernel's tables get what was planned.
    pub(super) fn write(&mut self) {
        for operation in self.site.plans.drain(..).flatten() {
            write(&mut self.tables, operation);
        }
        let age = u32::try_from(self.site.age().as_secs()).expect("tests are short");
        self.tables.now.set(self.begin + age);
    }

    /// What the daemon's sweep does, by the same rules.
    pub(super) fn sweep(&mut self) {
        let (roster, now) = (self.site.control.roster(), self.tables.now.get());
        let mut counts = Counts::default();
        for table in [&self.tables.flows, &self.tables.pending_flows] {
            for (key, flow) in table.all() {
                match roster.flow(&key, &flow, now) {
                    Fate::Keep if flow.state == FlowState::Closing as u8 => {
                        *counts.closing.entry(flow.server).or_default() += 1;
                    }
                    Fate::Keep => *counts.connections.entry(flow.server).or_default() += 1,
                    Fate::Remove(_) => table.remove(&key),
                }
            }
        }
        for table in [&self.tables.persistence, &self.tables.new_clients] {
            for (key, record) in table.all() {
                if roster.client(&key, &record, now) == Fate::Keep {
                    *counts.clients.entry(record.server).or_default() += 1;
                } else {
                    table.remove(&key);
                }
            }
        }
        for server in roster.servers() {
            let opened = self.tables.opened.borrow().get(&server).map_or(0, |opened| opened.flows);
            let live = counts.connections.get(&server).copied().unwrap_or(0);
            self.tables.closed.insert(server, opened.saturating_sub(live));
        }
        let now = self.site.now;
        self.site.control.counted(&counts, now, now);
        self.site.run(Duration::ZERO);
        self.write();
    }

    /// Sends a frame, and checks what must hold of every one: it is unchanged but for its MAC
    /// addresses, it leaves by the right interface, and nobody who is down gets it.
    pub(super) fn send(&mut self, packet: &PacketBuilder, to: (IpAddr, u16), proto: u8) -> Sent {
        let before = packet.build();
        let mut frame = MemPacket::new(&before, INGRESS);
        let verdict = forward(&mut frame, &self.tables);
        let server = match verdict.reason.kind() {
            Kind::Forward => Some(self.receiver(frame.frame(), &before, verdict, to, proto)),
            Kind::Pass | Kind::Drop => {
                assert_eq!(frame.frame(), before, "{verdict:?}");
                None
            }
        };
        Sent { reason: verdict.reason, server }
    }

    fn receiver(&self, after: &[u8], before: &[u8], verdict: Verdict, to: (IpAddr, u16), proto: u8) -> String {
        assert_eq!(verdict.action, Action::Redirect(DEVICE));
        assert_eq!(after[12..], before[12..], "direct routing rewrites the MAC addresses only");
        assert_eq!(after[6..12], DEVICE_MAC);
        let service = self.service(to, proto);
        let fallback = service.and_then(|service| service.fallback.as_ref());
        if let Some(Fallback::Server { address, .. }) = fallback
            && after[..6] == mac(*address)
        {
            return FALLBACK.to_owned();
        }
        let configured = service.and_then(|service| self.configured(service, &after[..6], verdict.reason));
        let leaving = &self.site.control.wanted().leaving;
        let leaver = || leaving.keys().find(|of| !placed(verdict.reason) && after[..6] == mac(of.address));
        let name = configured.or_else(|| leaver().map(|of| of.server.clone()));
        name.unwrap_or_else(|| panic!("{:x?} got a frame and should not: {:?}", &after[..6], verdict.reason))
    }

    /// The real server of the configuration with this MAC address, if it may get a frame for this reason.
    fn configured(&self, service: &VirtualService, address: &[u8], reason: Reason) -> Option<String> {
        let real = service.real_servers.iter().find(|real| address == mac(real.address))?;
        // A name can be there twice: one that leaves, and one with another address.
        let rows = self.status(&service.name).real_servers;
        let row = rows.iter().find(|row| row.name == real.name && !row.leaving)?;
        let takes = match row.state {
            ServerState::Up => true,
            ServerState::Draining => !placed(reason),
            ServerState::Down | ServerState::Checking | ServerState::Halted => false,
        };
        takes.then(|| real.name.clone())
    }

    /// The service of the configuration that a packet is for.
    fn service(&self, (vip, port): (IpAddr, u16), proto: u8) -> Option<&VirtualService> {
        let takes = |service: &&VirtualService| {
            let protocols: &[u8] = match service.protocol {
                Protocol::Tcp => &[protocol::TCP],
                Protocol::Udp => &[protocol::UDP],
                Protocol::TcpUdp => &[protocol::TCP, protocol::UDP],
            };
            service.address == vip
                && protocols.contains(&proto)
                && service.ports.iter().any(|range| (range.first..=range.last).contains(&port))
        };
        self.site.control.config().virtual_services.iter().find(takes)
    }

    /// One more packet: a TCP segment with these flags, or a datagram.
    pub(super) fn packet(&mut self, talk: Talk, flags: u8) -> Sent {
        self.send(&talk.packet(flags), talk.vip, talk.protocol)
    }

    /// The first packet alone.
    pub(super) fn knock(&mut self, talk: Talk) -> Sent {
        self.packet(talk, tcp::SYN)
    }

    /// A further packet.
    pub(super) fn more(&mut self, talk: Talk) -> Sent {
        self.packet(talk, tcp::ACK)
    }

    /// Opens a flow up to where the client has answered; the real server.
    pub(super) fn open(&mut self, talk: Talk) -> String {
        let first = self.knock(talk);
        let server = first.server.clone().unwrap_or_else(|| panic!("{talk:?} was refused: {first:?}"));
        let second = self.more(talk);
        assert_eq!(second.server.as_ref(), Some(&server), "{talk:?}");
        server
    }

    pub(super) fn close(&mut self, talk: Talk) -> Sent {
        self.packet(talk, tcp::FIN | tcp::ACK)
    }

    /// How many flows go to each server when one after the other is opened.
    pub(super) fn open_all(&mut self, talks: impl IntoIterator<Item = Talk>) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for talk in talks {
            *counts.entry(self.open(talk)).or_default() += 1;
        }
        counts
    }

    /// The overview, with what was counted.
    pub(super) fn status(&self, service: &str) -> view::VirtualService {
        let mut measured = Measured::new();
        for (id, counters) in self.tables.server_counters.borrow().iter() {
            let clients = self.tables.persistence.all().iter().filter(|(_, record)| record.server == *id).count();
            let measures = ServerMeasures {
                packets: counters.packets,
                bytes: counters.bytes,
                flows: counters.flows,
                connections: lb_common::datapath::Tables::connections(&self.tables, *id),
                persistent_clients: u64::try_from(clients).expect("few"),
                reply_packets: counters.reply_packets,
                reply_bytes: counters.reply_bytes,
                source_ports: [0; 2],
            };
            measured.forwarded.insert(*id, measures);
        }
        let services = self.site.control.status(&measured, self.site.now);
        services.into_iter().find(|of| of.name == service).expect("it is configured")
    }

    pub(super) fn server(&self, service: &str, server: &str) -> view::RealServer {
        let service = self.status(service);
        service.real_servers.into_iter().find(|real| real.name == server).expect("it is configured")
    }

    /// The real server that has this flow.
    pub(super) fn holder(&self, talk: Talk) -> Option<ServerIdentity> {
        let key = FlowKey {
            client: Address::from(talk.client.0),
            vip: Address::from(talk.vip.0),
            client_port: talk.client.1,
            vip_port: talk.vip.1,
            protocol: talk.protocol,
            ..FlowKey::default()
        };
        let flow = self.tables.flows.get(&key).or_else(|| self.tables.pending_flows.get(&key))?;
        let (identity, id) = self.site.control.ids().servers().find(|(_, id)| *id == flow.server)?;
        (self.tables.servers[&id].generation == flow.generation).then(|| identity.clone())
    }

    /// Connections of a server as the scheduler sees them.
    pub(super) fn connections(&self, service: &str, server: &str) -> u64 {
        let key = ServerKey { service: service.to_owned(), server: server.to_owned() };
        let id = self.site.control.wanted().server_numbers[&key];
        lb_common::datapath::Tables::connections(&self.tables, id)
    }
}

/// Whether somebody was chosen for a flow that nobody remembers.
fn placed(reason: Reason) -> bool {
    matches!(reason, Reason::Scheduled | Reason::Resumed | Reason::Untracked)
}

/// One operation, as the daemon's shell writes it to the kernel.
fn write(tables: &mut MemTables, operation: TableOp) {
    match operation {
        TableOp::SetSettings(settings) => tables.settings = settings,
        TableOp::SetServer { id, entry } => {
            tables.servers.insert(id, entry);
        }
        TableOp::WriteSchedule { first_word, words } => tables.schedule.extend((first_word..).zip(words)),
        TableOp::SetService { id, entry } if entry.mode == ServiceMode::None as u8 => {
            tables.services.remove(&id);
        }
        TableOp::SetService { id, entry } => {
            tables.services.insert(id, entry);
        }
        TableOp::SetServicePort { key, service } => {
            tables.service_ports.insert(key, service);
        }
        TableOp::RemoveServicePort { key } => {
            tables.service_ports.remove(&key);
        }
        TableOp::SetPortRanges { key, ranges } => {
            tables.port_ranges.insert(key, ranges);
        }
        TableOp::RemovePortRanges { key } => {
            tables.port_ranges.remove(&key);
        }
        TableOp::SetFilter { word, bits } => {
            tables.vip_filter.insert(word, bits);
        }
        TableOp::SetReplyFilter { word, bits } => {
            tables.reply_filter.insert(word, bits);
        }
        TableOp::SetSource { number, address } => {
            tables.sources.insert(number, address);
        }
    }
}
