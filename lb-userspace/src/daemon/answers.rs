//! Answers to the API: the overview, the listings, the orders.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lb_common::abi::{
    Address, Flow, FlowKey, FlowState, Persistence, PersistenceKey, ServerId, ServerState, ServiceId, Ticks,
};
use lb_common::datapath::Kind;
use lb_common::wire::protocol;
use lb_core::config::effective;
use lb_core::config::model::{Config, Mode};
use lb_core::control::{Measured, Roster, ServerMeasures};
use lb_core::tables::ServerKey;
use lb_core::tables::expiry::elapsed;
use lb_core::view::{
    self, Configuration, Connection, Counter, CounterAction, DoctorLine, Network, PersistenceRecord, Status,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{Daemon, End};
use crate::api::Request;
use crate::dataplane::Error;

/// Lines of an examination that wait for its client.
const EXAMINATION_LINES: usize = 64;

impl Daemon {
    pub(super) async fn answer(&mut self, request: Request) -> Option<End> {
        // A reply that nobody waits for any more belongs to a client that left.
        match request {
            Request::Status { reply } => drop(reply.send(self.status())),
            Request::Connections { query, reply } => {
                let lister = self.lister();
                tokio::task::spawn_blocking(move || {
                    let flows = lister.connections();
                    let _ = reply.send(query.select(flows.into_iter()));
                });
            }
            Request::Persistence { query, reply } => {
                let lister = self.lister();
                tokio::task::spawn_blocking(move || {
                    let records = lister.clients().into_iter().map(|(_, record)| record);
                    let _ = reply.send(query.select(records));
                });
            }
            Request::ClearPersistence { query, reply } => {
                let lister = self.lister();
                tokio::task::spawn_blocking(move || {
                    let records = lister.clients();
                    let matching = records.iter().filter(|(_, record)| query.matches(record));
                    let keys: Vec<_> = matching.map(|(key, _)| *key).collect();
                    match lister.tables.forget_clients(&keys) {
                        Ok(cleared) => {
                            info!(cleared, "persistence records forgotten");
                            let _ = reply.send(cleared as u64);
                        }
                        // Without a reply the client is told that lbd could not answer.
                        Err(error) => warn!(%error, "persistence records could not be forgotten"),
                    }
                });
            }
            Request::Health { reply } => drop(reply.send(self.control.checks(Instant::now()))),
            Request::Doctor { service, reply } => drop(reply.send(self.examination(service.as_deref()))),
            Request::Events { query, reply } => self.happenings.ask(query, reply),
            Request::Order { request, reply } => drop(reply.send(self.order(request))),
            Request::Trace { request, reply } => self.trace(request, reply),
            Request::Metrics { reply } => self.render_metrics(reply),
            Request::Reload { request, reply } => drop(reply.send(self.reload(request).await)),
            Request::Confirm { reply } => drop(reply.send(self.confirm())),
            Request::Rollback { reply } => drop(reply.send(self.rollback().await)),
            Request::EffectiveConfig { reply } => drop(reply.send(effective(self.control.config()))),
            Request::Stop { detach, reply } => return Some(self.stop(detach, reply).await),
        }
        None
    }

    /// Begins an examination of the network, beside the loop.
    fn examination(&self, service: Option<&str>) -> Result<mpsc::Receiver<DoctorLine>, String> {
        let mut known = self.control.for_examination();
        if let Some(name) = service {
            known.config.virtual_services.retain(|service| service.name == name);
            if known.config.virtual_services.is_empty() {
                return Err(format!("there is no virtual service {name}; `lbctl status` lists them"));
            }
        }
        let (lines, receiver) = mpsc::channel(EXAMINATION_LINES);
        let names = self.control.wanted().server_numbers.iter().map(|(key, id)| (*id, key.clone())).collect();
        let tables = std::sync::Arc::clone(&self.tables);
        tokio::spawn(async move {
            // Only for l4-nat it says anything, and a million flows take a second.
            if known.config.virtual_services.iter().any(|service| service.mode == Mode::L4Nat) {
                let heard = tokio::task::spawn_blocking(move || heard(&tables, &names)).await;
                known.heard = heard.unwrap_or_default();
            }
            crate::doctor::run(known, lines).await;
        });
        Ok(receiver)
    }

    /// What is to be removed is gone when the client is answered. Should that fail, the client gets
    /// no answer and the log says why.
    async fn stop(&mut self, detach: bool, reply: oneshot::Sender<()>) -> End {
        if detach && let Err(error) = self.detach().await {
            return End::Failed(error);
        }
        let _ = reply.send(());
        End::Stop
    }

    pub(super) fn status(&mut self) -> Status {
        let now = Instant::now();
        let config = self.control.config();
        let configuration = Configuration {
            path: self.options.config.display().to_string(),
            loaded_seconds_ago: (now - self.loaded).as_secs(),
            services: config.virtual_services.len() as u64,
            confirm_within_seconds: self.trial.as_ref().map(|trial| trial.seconds_left(now)),
        };
        let mut problems: Vec<String> = self.problems.values().chain(self.vips.problems.values()).cloned().collect();
        problems.extend(self.orders_problem.clone());
        problems.extend(self.happenings.problem.clone());
        problems.extend(self.metrics.endpoint.problem().map(str::to_owned));
        let interfaces = self.interfaces(&mut problems);
        let counters = self.counters().unwrap_or_else(|error| {
            problems.push(error.to_string());
            Vec::new()
        });
        Status {
            node: node_name(config),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: (now - self.started).as_secs(),
            configuration,
            interfaces,
            virtual_services: self.control.status(&self.measured(), now),
            counters,
            tables: self.fill(&mut problems),
            problems,
        }
    }

    fn interfaces(&self, problems: &mut Vec<String>) -> Vec<view::Interface> {
        let mut interfaces = Vec::new();
        for device in &self.devices {
            let link = self.vips.links().iter().find(|link| link.ifindex == device.ifindex);
            let up = link.is_some_and(|link| link.up);
            if !up {
                problems.push(format!("interface {} is down", device.name));
            }
            interfaces.push(view::Interface {
                device: device.name.clone(),
                ifindex: device.ifindex,
                xdp: if device.generic { view::XdpAttachment::Generic } else { view::XdpAttachment::Native },
                state: if up { view::LinkState::Up } else { view::LinkState::Down },
            });
        }
        interfaces
    }

    pub(super) fn measured(&self) -> Measured {
        let servers = self.control.wanted().servers.iter();
        let measures = servers.map(|(&server, entry)| {
            let counters = self.tables.server_counters(server).unwrap_or_default();
            // Whatever the last sweep found: the records of a server that is down are void.
            let is_down = ServerState::from_u8(entry.state) == ServerState::Down;
            let clients = self.swept.counts.clients.get(&server).copied().unwrap_or(0);
            let measures = ServerMeasures {
                packets: counters.packets,
                bytes: counters.bytes,
                flows: counters.flows,
                connections: if is_down { 0 } else { self.connections_of(server) },
                persistent_clients: if is_down { 0 } else { clients },
            };
            (server, measures)
        });
        measures.collect()
    }

    fn counters(&self) -> Result<Vec<Counter>, Error> {
        let counter = |(reason, counters): (lb_common::datapath::Reason, lb_common::abi::VerdictCounters)| Counter {
            reason: reason.name().to_owned(),
            action: match reason.kind() {
                Kind::Pass => CounterAction::Pass,
                Kind::Forward => CounterAction::Forward,
                Kind::Drop => CounterAction::Drop,
            },
            packets: counters.packets,
            bytes: counters.bytes,
            help: reason.help().to_owned(),
        };
        Ok(self.tables.verdicts()?.into_iter().map(counter).collect())
    }

    /// How full the tables are. One that is nearly full is a problem to be told, and so is one of
    /// another size than configured: tables are made once, and keep their size while they live.
    fn fill(&self, problems: &mut Vec<String>) -> Vec<view::Table> {
        let limits = self.control.config().node.limits;
        // The LRU tables make room by themselves.
        let configured = [
            (Some(limits.flows), true, "flows"),
            (Some(limits.pending_flows), false, "pending_flows"),
            (Some(limits.persistence), true, "persistence"),
            (None, false, ""),
            (Some(limits.translated_flows), true, "translated_flows"),
        ];
        let capacities = self.tables.capacities().into_iter().zip(self.swept.entries).zip(configured);
        let mut tables = Vec::new();
        for (((name, capacity), entries), (wanted, fills_up, limit)) in capacities {
            if wanted.is_some_and(|wanted| wanted != capacity) {
                problems.push(format!(
                    "table {name} was made for {capacity} entries and keeps this size; for the {} of `node.limits` it \
                     has to be made anew: `lbd replace-tables`, then restart lbd (flows are placed anew)",
                    wanted.unwrap_or_default()
                ));
            }
            let capacity = u64::from(capacity);
            if fills_up && entries * 10 >= capacity * 9 {
                problems.push(format!(
                    "table {name} holds {entries} of {capacity} entries; when it is full, {}: raise \
                     `node.limits.{limit}`",
                    if name == "replies" {
                        "new flows are refused"
                    } else {
                        "new ones are forwarded without being remembered"
                    }
                ));
            }
            tables.push(view::Table { name: name.to_owned(), entries, capacity });
        }
        tables
    }

    fn lister(&mut self) -> Lister {
        let wanted = self.control.wanted();
        let services = wanted.service_numbers.iter().map(|(name, id)| (*id, name.clone())).collect();
        let leaving = wanted.leaving.iter().map(|(identity, id)| (*id, identity.server.clone()));
        let servers = wanted.server_numbers.iter().map(|(key, id)| (*id, key.server.clone())).chain(leaving).collect();
        let prefixes = self.control.config().virtual_services.iter().filter_map(|service| {
            let id = wanted.service_numbers.get(&service.name)?;
            let persistence = service.persistence.as_ref()?;
            Some((*id, if service.address.is_ipv4() { persistence.prefix_v4 } else { persistence.prefix_v6 }))
        });
        Lister {
            services,
            servers,
            prefixes: prefixes.collect(),
            roster: self.control.roster(),
            tick: self.control.tick(),
            now: self.clock.now().unwrap_or_default(),
            tables: std::sync::Arc::clone(&self.tables),
        }
    }
}

/// What a listing needs beside the tables: a copy, so that it can be made beside the loop.
struct Lister {
    services: BTreeMap<ServiceId, String>,
    servers: BTreeMap<ServerId, String>,
    prefixes: BTreeMap<ServiceId, u8>,
    roster: Roster,
    tick: Duration,
    now: Ticks,
    tables: std::sync::Arc<crate::dataplane::Tables>,
}

impl Lister {
    fn connections(&self) -> Vec<Connection> {
        let mut connections = Vec::new();
        let walked = self.tables.for_each_flow(|key, flow| connections.push(self.connection(key, flow)));
        if let Err(error) = walked {
            warn!(%error, "the listing of flows ended early");
        }
        connections
    }

    fn connection(&self, key: &FlowKey, flow: &Flow) -> Connection {
        let idle = elapsed(flow.last_seen, self.now);
        let timeout = self.roster.flow_timeout(key, flow);
        let is_udp = key.protocol == protocol::UDP;
        Connection {
            virtual_service: self.service(flow.service),
            real_server: self.server(flow.server),
            protocol: if is_udp { view::Transport::Udp } else { view::Transport::Tcp },
            client: SocketAddr::new(key.client.into(), key.client_port),
            vip: SocketAddr::new(key.vip.into(), key.vip_port),
            state: match FlowState::from_u8(flow.state) {
                FlowState::Pending => view::FlowState::Pending,
                FlowState::Established | FlowState::HalfClosed | FlowState::Closing if is_udp => view::FlowState::Udp,
                FlowState::Established => view::FlowState::Established,
                FlowState::HalfClosed | FlowState::Closing => view::FlowState::Closing,
            },
            age_seconds: self.seconds(elapsed(flow.created, self.now)),
            idle_seconds: self.seconds(idle),
            expires_seconds: self.seconds(timeout.saturating_sub(idle)),
        }
    }

    fn clients(&self) -> Vec<(PersistenceKey, PersistenceRecord)> {
        let mut clients = Vec::new();
        let walked = self.tables.for_each_client(|key, record, confirmed| {
            clients.push((*key, self.client(key, record, confirmed)));
        });
        if let Err(error) = walked {
            warn!(%error, "the listing of persistence records ended early");
        }
        clients
    }

    fn client(&self, key: &PersistenceKey, record: &Persistence, confirmed: bool) -> PersistenceRecord {
        let idle = elapsed(record.last_used, self.now);
        let timeout = self.roster.persistence_timeout(key.service);
        PersistenceRecord {
            virtual_service: self.service(key.service),
            client: self.network(key.client, key.service),
            real_server: self.server(record.server),
            age_seconds: self.seconds(elapsed(record.created, self.now)),
            idle_seconds: self.seconds(idle),
            expires_seconds: self.seconds(timeout.saturating_sub(idle)),
            confirmed,
        }
    }

    fn network(&self, client: Address, service: ServiceId) -> Network {
        let address = IpAddr::from(client);
        match self.prefixes.get(&service) {
            Some(prefix) => Network::new(address, *prefix),
            None => address.into(),
        }
    }

    fn service(&self, id: ServiceId) -> String {
        self.services.get(&id).cloned().unwrap_or_else(|| format!("(removed service {id})"))
    }

    fn server(&self, id: ServerId) -> String {
        self.servers.get(&id).cloned().unwrap_or_else(|| format!("(removed server {id})"))
    }

    fn seconds(&self, ticks: Ticks) -> u64 {
        (self.tick * ticks).as_secs()
    }
}

/// Servers with a TCP flow whose client has answered them.
fn heard(tables: &crate::dataplane::Tables, names: &BTreeMap<ServerId, ServerKey>) -> BTreeSet<ServerKey> {
    let mut heard = BTreeSet::new();
    let walked = tables.for_each_flow(|key, flow| {
        if key.protocol == protocol::TCP && FlowState::from_u8(flow.state) == FlowState::Established {
            heard.extend(names.get(&flow.server).cloned());
        }
    });
    if let Err(error) = walked {
        warn!(%error, "the flows could not be looked through for an examination");
    }
    heard
}

fn node_name(config: &Config) -> String {
    let named = config.node.name.clone();
    named.or_else(|| nix::unistd::gethostname().ok()?.into_string().ok()).unwrap_or_else(|| "lb".to_owned())
}
