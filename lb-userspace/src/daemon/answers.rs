//! Answers to the API: the overview, the listings, the orders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lb_common::abi::{FlowState, ServerId, ServerState};
use lb_common::datapath::Kind;
use lb_common::wire::protocol;
use lb_core::config::effective;
use lb_core::config::model::{Config, Mode, PersistenceBy, VirtualService};
use lb_core::control::{Measured, ServerMeasures};
use lb_core::tables::ServerKey;
use lb_core::view::{self, Configuration, Counter, CounterAction, DoctorLine, Status};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{Daemon, End};
use crate::api::Request;
use crate::dataplane::Error;

/// Lines of an examination that wait for its client.
const EXAMINATION_LINES: usize = 64;

impl Daemon {
    pub(super) async fn answer(&mut self, request: Request) -> Option<End> {
        // A reply that nobody waits for any more belongs to a client that left.
        match request {
            Request::Status { reply } => {
                self.catch_up();
                drop(reply.send(self.status()));
            }
            Request::Connections { query, reply } => self.list_connections(query, reply),
            Request::Persistence { query, reply } => self.list_persistence(query, reply),
            Request::ClearPersistence { query, reply } => self.clear_persistence(query, reply),
            Request::Health { reply } => drop(reply.send(self.control.checks(Instant::now()))),
            Request::Doctor { service, reply } => drop(reply.send(self.examination(service.as_deref()))),
            Request::Explain { query, reply } => drop(reply.send(self.explain(&query))),
            Request::Events { query, reply } => self.happenings.ask(query, reply),
            Request::Order { request, reply } => drop(reply.send(self.order(request))),
            Request::Trace { request, reply } => self.trace(request, reply),
            Request::Metrics { reply } => self.render_metrics(reply),
            Request::Reload { request, reply } => drop(reply.send(self.reload(request).await)),
            Request::Confirm { reply } => drop(reply.send(self.confirm())),
            Request::Rollback { reply } => drop(reply.send(self.rollback().await)),
            Request::EffectiveConfig { reply } => drop(reply.send(effective(self.control.config()))),
            Request::Certificates { reply } => drop(reply.send(self.certificate_list())),
            Request::Upgrade { reply } => drop(reply.send(Self::upgrade())),
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
        problems.extend(self.certificates.problems.iter().chain(&self.unserved).cloned());
        problems.extend(self.metrics.endpoint.problem().map(str::to_owned));
        let interfaces = self.interfaces(&mut problems);
        let counters = self.counters().unwrap_or_else(|error| {
            problems.push(error.to_string());
            Vec::new()
        });
        let mut virtual_services = self.control.status(&self.measured(), now);
        self.count_services(&mut virtual_services);
        let mut proxied = self.proxy.views();
        for service in &mut virtual_services {
            service.proxied = proxied.remove(service.name.as_str()).or(service.proxied.take());
        }
        if self.proxy.lost_lines() > 0 {
            problems.push(format!("{} lines of access logs were lost", self.proxy.lost_lines()));
        }
        if config.virtual_services.iter().any(keeps_by_cookie) {
            problems.extend(self.proxy.forgets_cookies().map(str::to_owned));
        }
        let tables = self.fill(&mut problems);
        problems.extend(self.capacity.problems().iter().cloned());
        Status {
            node: node_name(config),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            predecessor: self.predecessor(),
            uptime_seconds: (now - self.started).as_secs(),
            configuration,
            interfaces,
            virtual_services,
            counters,
            tables,
            new_flows_beyond_limit: self.beyond_limit(0),
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
                reply_packets: counters.reply_packets,
                reply_bytes: counters.reply_bytes,
                source_ports: [entry.pool, entry.pool.saturating_add(1)]
                    .map(|pool| self.swept.ports.get(&pool).copied().unwrap_or(0).into()),
            };
            (server, measures)
        });
        Measured { proxied: self.proxy.counted(), ..Measured::from(measures) }
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

    /// How full the tables are. One of another size than configured is a problem to be told: tables are made
    /// once, and keep their size while they live.
    fn fill(&self, problems: &mut Vec<String>) -> Vec<view::Table> {
        let limits = self.control.config().node.limits;
        let configured = [
            Some(limits.flows),
            Some(limits.pending_flows),
            Some(limits.persistence),
            None,
            Some(limits.translated_flows),
        ];
        let mut tables = Vec::new();
        for (((name, capacity), entries), wanted) in
            self.tables.capacities().into_iter().zip(self.swept.entries).zip(configured)
        {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != capacity) {
                problems.push(format!(
                    "table {name} was made for {capacity} entries and keeps this size; for the {wanted} of \
                     `node.limits` it has to be made anew: `lbd replace-tables`, then restart lbd (flows are placed anew)"
                ));
            }
            tables.push(view::Table { name: name.to_owned(), entries, capacity: capacity.into() });
        }
        tables
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

fn keeps_by_cookie(service: &VirtualService) -> bool {
    service.persistence.as_ref().is_some_and(|persistence| matches!(persistence.by, PersistenceBy::Cookie { .. }))
}

fn node_name(config: &Config) -> String {
    let named = config.node.name.clone();
    named.or_else(|| nix::unistd::gethostname().ok()?.into_string().ok()).unwrap_or_else(|| "lb".to_owned())
}
