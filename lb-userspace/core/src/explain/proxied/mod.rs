//! Why a client's connection to a proxied service goes where it goes, in sentences.
//!
//! In: the service, its real servers as the overview has them, and what the proxy would do ([`Found`]). Out:
//! [`Explained`]. Absent: the decision, which is the balancer's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::mode;
use super::phrase::{connections, list, span, state};
use super::steps::MOST_NAMES;
use crate::config::model::{
    Config, Fallback, Mode, Persistence, PersistenceBy, Protocol, Scheduler, SourceAddress, VirtualService,
};
use crate::proxy::failure::Failure;
use crate::tables::FALLBACK;
use crate::view::{
    self, CounterAction, ExplainQuery, Explained, Network, RealServer, ServerState, Step, StepKind, Transport,
};

/// What the proxy would do for a client whose request says nothing of itself. To find it out takes nobody's turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The record of its address.
    pub remembered: Option<Remembered>,
    /// Whom each pool would give it; the service's own first, which has no name.
    pub pools: Vec<(Option<String>, Asked)>,
    /// Real servers that clients have found broken, which are asked after the others.
    pub suspects: Vec<String>,
    /// Real servers that have as many connections as they may.
    pub full: Vec<String>,
}

/// A record of persistence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The real server that the client had.
    pub server: String,
    /// Since it was used.
    pub idle: Duration,
    /// Whether that real server would get the client again.
    pub holds: bool,
}

/// What the balancer of a pool says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// This one gets the client.
    Server(String),
    /// All who would have as many connections as they may.
    Full,
    /// Nobody can be asked.
    Nobody,
}

/// The proxied service that a question is about.
#[must_use]
pub fn asked_service<'a>(query: &ExplainQuery, config: &'a Config) -> Option<&'a VirtualService> {
    let is_tcp = |service: &VirtualService| service.protocol != Protocol::Udp && query.protocol != Some(Transport::Udp);
    let is_it = |service: &&VirtualService| !service.mode.is_layer_4() && super::serves(service, query.vip.0);
    config.virtual_services.iter().find(|service| is_it(service) && is_tcp(service))
}

/// Tells what was found; `None`: the proxy does not have the service.
#[must_use]
pub fn explained_proxied(
    query: &ExplainQuery,
    service: &VirtualService,
    rows: &[RealServer],
    found: Option<&Found>,
) -> Explained {
    let client = SocketAddr::new(query.client.address, query.client_port());
    let mut telling = Telling { query, service, rows, client, steps: Vec::new() };
    let end = telling.tell(found);
    let Telling { steps, .. } = telling;
    let row = end.server.as_ref().and_then(|name| rows.iter().find(|row| row.name == *name && !row.leaving));
    Explained {
        client,
        vip: query.vip.0,
        protocol: Transport::Tcp,
        action: end.action,
        reason: end.reason.to_owned(),
        virtual_service: Some(service.name.clone()),
        real_server_address: row.map(|row| row.address).or(end.address),
        real_server: end.server,
        next_hop: None,
        steps,
    }
}

struct Telling<'a> {
    query: &'a ExplainQuery,
    service: &'a VirtualService,
    rows: &'a [RealServer],
    client: SocketAddr,
    steps: Vec<Step>,
}

/// What it comes to.
struct Ends {
    action: CounterAction,
    reason: &'static str,
    server: Option<String>,
    address: Option<IpAddr>,
}

impl Ends {
    fn nobody(failure: Failure) -> Self {
        Self { action: CounterAction::Drop, reason: failure.word(), server: None, address: None }
    }

    fn server(name: &str, address: Option<IpAddr>) -> Self {
        Self { action: CounterAction::Forward, reason: PROXIED, server: Some(name.to_owned()), address }
    }
}

/// In place of a reason of the datapath.
const PROXIED: &str = "proxied";

impl Telling<'_> {
    fn say(&mut self, about: StepKind, sentence: String) {
        self.steps.push(Step { about, sentence });
    }

    fn tell(&mut self, found: Option<&Found>) -> Ends {
        self.say(StepKind::Service, self.service_step());
        let Some(found) = found else {
            self.say(StepKind::Answer, "it is refused: the service is not served; `lbctl status` says why".to_owned());
            return Ends::nobody(Failure::NoServer);
        };
        if let Some(http) = &self.service.http
            && !http.rules.is_empty()
        {
            let sentence = "rules may answer its requests, or send them to a pool; what follows is without them";
            self.say(StepKind::Service, sentence.to_owned());
        }
        if let Some(sentence) = self.persistence_step(found) {
            self.say(StepKind::Persistence, sentence);
        }
        let kept = found.remembered.as_ref().filter(|record| record.holds).map(|record| record.server.clone());
        let main = found.pools.first().map_or(&Asked::Nobody, |(_, asked)| asked);
        if kept.is_none() {
            self.say(StepKind::Scheduler, self.scheduler_step(main, found));
        }
        for (pool, asked) in found.pools.iter().filter_map(|(pool, asked)| Some((pool.as_ref()?, asked))) {
            let whom = match asked {
                Asked::Server(name) => format!("{name} would be asked"),
                Asked::Full => "every real server is full".to_owned(),
                Asked::Nobody => "nobody can be asked".to_owned(),
            };
            self.say(StepKind::Scheduler, format!("in pool {pool} {whom}"));
        }
        let chosen = kept.as_ref().or(match main {
            Asked::Server(name) => Some(name),
            Asked::Full | Asked::Nobody => None,
        });
        for sentence in self.others(chosen, found) {
            self.say(StepKind::Others, sentence);
        }
        match (chosen, main) {
            (Some(name), _) => {
                self.say(StepKind::Answer, self.opened(name));
                Ends::server(name, None)
            }
            (None, Asked::Full) => {
                self.say(StepKind::Answer, self.waits());
                let failure = if self.service.proxy.queue == 0 { Failure::QueueFull } else { Failure::QueueTimeout };
                Ends::nobody(failure)
            }
            (None, _) => self.without_server(),
        }
    }

    fn service_step(&self) -> String {
        let Self { service, query, .. } = self;
        let scheduler = view::Scheduler::from(service.scheduler).word();
        let tls = match &service.tls {
            Some(tls) if tls.port == query.vip.0.port() => "; TLS ends here",
            Some(tls) if tls.redirect => "; requests to this port are redirected to https",
            _ => "",
        };
        let mode = mode(service.mode);
        format!(
            "{}/TCP is virtual service {} ({mode}, {scheduler}), which the proxy serves{tls}",
            query.vip.0, service.name
        )
    }

    fn persistence_step(&self, found: &Found) -> Option<String> {
        let persistence = self.service.persistence.as_ref()?;
        Some(match &persistence.by {
            PersistenceBy::Cookie { name } => format!(
                "the cookie {name} of a request says which real server the client keeps, and lbd records nothing of it; \
                 what follows is for a client that has none"
            ),
            PersistenceBy::RdpCookie => "an RDP client keeps the real server that its user had, or that its request \
                                         names; what follows is for a user who is not remembered"
                .to_owned(),
            PersistenceBy::SourceIp => self.by_address(persistence, found.remembered.as_ref()),
        })
    }

    fn by_address(&self, persistence: &Persistence, record: Option<&Remembered>) -> String {
        let address = self.query.client.address;
        let prefix = if address.is_ipv4() { persistence.prefix_v4 } else { persistence.prefix_v6 };
        let client = Network::new(address, prefix);
        let Some(Remembered { server, idle, holds }) = record else {
            let kept = span(persistence.timeout.as_secs());
            return format!("{client} is not remembered; it stays for {kept} where it goes now");
        };
        let ago = span(idle.as_secs());
        if *holds {
            let left = span(persistence.timeout.saturating_sub(*idle).as_secs());
            return format!("{client} was with {server} {ago} ago and stays there for another {left}");
        }
        let row = self.rows.iter().find(|row| row.name == *server && !row.leaving);
        let why = match row {
            None => "is not there any more".to_owned(),
            Some(row) if row.state == ServerState::Up => "cannot have it now, and others can".to_owned(),
            Some(row) => format!("is {}", state(row)),
        };
        format!("{client} was with {server} {ago} ago, but {server} {why}: it is scheduled anew")
    }

    fn scheduler_step(&self, asked: &Asked, found: &Found) -> String {
        let name = match asked {
            Asked::Server(name) => name,
            Asked::Full => return "every real server that could be asked has as many connections as it may".to_owned(),
            Asked::Nobody => return "no real server can be asked".to_owned(),
        };
        if found.suspects.contains(name) {
            return format!("{name} is asked although connections to it have failed: nobody else can take it");
        }
        match self.service.scheduler {
            Scheduler::WeightedLeastConnection => {
                let able = self.rows.iter().filter(|row| row.name == *name || self.why_not(row, found).is_none());
                let all: Vec<String> = able
                    .map(|row| format!("{} ({}, weight {})", row.name, connections(row.connections), row.weight))
                    .collect();
                match &all[..] {
                    [only] => format!("weighted least connection: {only} is the only one that can be asked"),
                    _ if all.len() > MOST_NAMES => {
                        format!(
                            "weighted least connection compares {}: {name} has the fewest for its weight",
                            all.len()
                        )
                    }
                    _ => format!(
                        "weighted least connection compares {}: {name} has the fewest for its weight",
                        list(&all)
                    ),
                }
            }
            Scheduler::WeightedRoundRobin => format!("weighted round robin: it is the turn of {name}"),
            Scheduler::SourceHash => format!("source hash: the ring leads {} to {name}", self.query.client.address),
            Scheduler::Maglev if self.service.persistence.is_none() => {
                format!("maglev: the ring leads this client's port {} to {name}", self.client.port())
            }
            Scheduler::Maglev => format!("maglev: the ring leads {} to {name}", self.query.client.address),
        }
    }

    /// Why the others are not asked.
    fn others(&self, chosen: Option<&String>, found: &Found) -> Vec<String> {
        let others = self.rows.iter().filter(|row| Some(&row.name) != chosen);
        let mut sentences: Vec<String> = others
            .filter_map(|row| Some(format!("{} is not asked: {}", row.name, self.why_not(row, found)?)))
            .collect();
        if sentences.len() > MOST_NAMES {
            let more = sentences.len() - MOST_NAMES;
            sentences.truncate(MOST_NAMES);
            sentences.push(format!("{more} more are not asked either; `lbctl status` says why"));
        }
        sentences
    }

    /// `None`: it could be asked.
    fn why_not(&self, row: &RealServer, found: &Found) -> Option<String> {
        let configured = self.service.real_servers.iter().find(|real| real.name == row.name && !row.leaving);
        let pool = configured.and_then(|real| real.pool.as_ref());
        match row.state {
            ServerState::Up => {}
            _ => return Some(format!("it is {}", state(row))),
        }
        if let Some(pool) = pool {
            return Some(format!("it is in pool {pool}"));
        }
        if row.weight == 0 {
            return Some("its weight is 0".to_owned());
        }
        if found.full.contains(&row.name) {
            let limit = configured.map_or(0, |real| real.max_connections);
            return Some(format!("it has as many connections as it may, {limit}"));
        }
        if found.suspects.contains(&row.name) {
            return Some("connections to it have failed; it is asked after the others".to_owned());
        }
        row.backup.then(|| "it is a backup, for when no other can be had".to_owned())
    }

    fn opened(&self, name: &str) -> String {
        let Some(real) = self.service.real_servers.iter().find(|real| real.name == name) else {
            return format!("a connection to {name} is opened");
        };
        let port = real.port.unwrap_or(self.query.vip.0.port());
        let to = SocketAddr::new(real.address, port);
        let what = match (self.service.mode, &real.redirect) {
            (Mode::L7Http, Some(url)) => return format!("the client is redirected to {url}, as {name} says"),
            (Mode::L7Http, None) => "the request goes",
            _ => "a connection is opened",
        };
        let tls = if real.tls.is_some() { ", over TLS" } else { "" };
        let header = if real.proxy_protocol.is_some() { ", with a PROXY header that names the client" } else { "" };
        format!("{what} to {name} at {to} from {}{tls}{header}", self.source())
    }

    fn source(&self) -> String {
        match self.service.source_address {
            SourceAddress::Auto => "the address of this machine that leads there".to_owned(),
            SourceAddress::Vip => self.service.address.to_string(),
            SourceAddress::Client => format!("the client's own address {}", self.query.client.address),
            SourceAddress::Address(address) => address.to_string(),
        }
    }

    fn waits(&self) -> String {
        let proxy = &self.service.proxy;
        match proxy.queue {
            0 => "the client is refused: the service has no queue".to_owned(),
            most => format!(
                "the client waits for room, up to {}; at most {most} wait at a time",
                span(proxy.timeouts.queue.as_secs())
            ),
        }
    }

    fn without_server(&mut self) -> Ends {
        let (sentence, end) = match &self.service.fallback {
            Some(Fallback::Server { address, port }) => {
                let to = SocketAddr::new(*address, port.unwrap_or(self.query.vip.0.port()));
                (format!("the fallback server {to} gets the client"), Ends::server(FALLBACK, Some(*address)))
            }
            Some(Fallback::Page(path)) => {
                (format!("the client gets the fallback page {}", path.display()), Ends::nobody(Failure::NoServer))
            }
            Some(Fallback::Redirect(url)) => {
                (format!("the client is redirected to {url}, the fallback"), Ends::nobody(Failure::NoServer))
            }
            None if self.service.mode == Mode::L7Http => {
                ("the client gets the error page of status 503".to_owned(), Ends::nobody(Failure::NoServer))
            }
            None => ("the client's connection is closed".to_owned(), Ends::nobody(Failure::NoServer)),
        };
        self.say(StepKind::Answer, sentence);
        end
    }
}

#[cfg(test)]
mod tests;
