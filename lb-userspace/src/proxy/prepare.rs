//! From a configuration to services that can run: certificates, policies, pages and sockets are there, or nothing
//! has changed.
//!
//! In: a configuration, what runs now. Out: [`Prepared`]. Absent: putting it in force ([`super::Proxy::commit`]).

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lb_core::config::model::{
    Config, Fallback, Mode, PassiveHealth, PersistenceBy, PortRange, RealServer as Real, VirtualService,
};
use lb_core::proxy::clients::Clients;
use lb_core::proxy::http::{Page, Pages, Policy};
use lb_core::tables::{FALLBACK, ServerIdentity};

use super::Proxy;
use super::listen;
use super::real_server::RealServer;
use super::service::{Encryption, Entry, Pool, Running};
use super::tls::{Certificates, client_config, server_config, server_name};

/// A configuration that can be put in force at once.
pub struct Prepared {
    pub(super) services: Vec<(String, Running)>,
    pub(super) listeners: BTreeMap<SocketAddr, Aim>,
    pub(super) new_sockets: BTreeMap<SocketAddr, Vec<TcpListener>>,
    pub(super) certificates: Certificates,
    pub(super) max_connections: u32,
}

/// What a listener is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) service: String,
    pub(super) tls: bool,
    /// Ports that are steered to it beside its own.
    pub(super) range: Option<PortRange>,
}

impl Proxy {
    /// Reads and opens everything that the layer 7 services of this configuration need. What cannot be had is said,
    /// one sentence each; what it is for is not in what was prepared.
    pub fn prepare(&mut self, config: &Config, base: &Path) -> (Prepared, Vec<String>) {
        let (certificates, mut problems) = Certificates::read(config, base);
        let (mut services, mut listeners) = (Vec::new(), BTreeMap::new());
        for service in config.virtual_services.iter().filter(|service| !service.mode.is_layer_4()) {
            match self.running(service, config, &certificates, base) {
                Ok(running) => {
                    listeners.extend(aims(service));
                    services.push((service.name.clone(), running));
                }
                Err(problem) => problems.push(format!("virtual service {}: {problem}", service.name)),
            }
        }
        let mut new_sockets = BTreeMap::new();
        for address in listeners.keys().filter(|address| !self.listeners.contains_key(address)) {
            // What an earlier lbd has handed over is listened on already.
            let sockets = match self.inherited.remove(address) {
                Some(sockets) => Ok(sockets),
                None => listen::open(*address, self.workers.len()),
            };
            match sockets {
                Ok(sockets) => drop(new_sockets.insert(*address, sockets)),
                Err(problem) => problems.push(problem),
            }
        }
        listeners.retain(|address, _| self.listeners.contains_key(address) || new_sockets.contains_key(address));
        let max_connections = config.node.proxy.max_connections;
        (Prepared { services, listeners, new_sockets, certificates, max_connections }, problems)
    }

    fn running(
        &mut self,
        service: &VirtualService,
        config: &Config,
        certificates: &Certificates,
        base: &Path,
    ) -> Result<Running, String> {
        let policy = match service.mode {
            Mode::L7Http => Some(Policy::new(service, pages(service, base)?)?),
            _ => None,
        };
        let tls = match &service.tls {
            None => None,
            Some(listener) => {
                let http2 = service.http.as_ref().map(|http| http.http2);
                Some(server_config(listener, certificates, &self.tickets(&service.name)?, http2, base)?)
            }
        };
        let mut pools = vec![(None::<Arc<str>>, Vec::new())];
        for real in &service.real_servers {
            let entry = self.entry(service, real, policy.as_ref(), base)?;
            let place = pools.iter().position(|(name, _)| name.as_deref() == real.pool.as_deref());
            match place {
                Some(place) => pools[place].1.push(entry),
                None => pools.push((real.pool.as_deref().map(Arc::from), vec![entry])),
            }
        }
        let fallback = match &service.fallback {
            Some(Fallback::Server { address, port }) => {
                Some(self.entry(service, &fallback(*address, *port), policy.as_ref(), base)?)
            }
            Some(Fallback::Page(_) | Fallback::Redirect(_)) | None => None,
        };
        let pools = pools.into_iter().map(|(name, entries)| Pool::new(name, entries, service, &self.states)).collect();
        let log = match &service.proxy.access_log {
            None => None,
            Some(log) => {
                let opened = self.log_writer.log(log, base);
                Some(opened.map_err(|error| format!("its access log cannot be opened: {error}"))?)
            }
        };
        let clients = self.clients_of(service, config);
        if let Some(clients) = &clients {
            self.recall(&service.name, clients, Instant::now());
        }
        Ok(Running { config: service.clone(), pools, fallback, policy, tls, clients, log })
    }

    /// Records of clients outlive a reload that leaves persistence as it is.
    fn clients_of(&self, service: &VirtualService, config: &Config) -> Option<Arc<Clients<u32>>> {
        let persistence = service.persistence.as_ref()?;
        if matches!(persistence.by, PersistenceBy::Cookie { .. }) {
            return None;
        }
        let before = self.services.get(&service.name).map(|service| service.running());
        match before {
            Some(running) if running.config.persistence.as_ref() == Some(persistence) => running.clients.clone(),
            _ => Some(Arc::new(Clients::new(config.node.limits.persistence as usize, persistence.timeout))),
        }
    }

    fn entry(
        &mut self,
        service: &VirtualService,
        real: &Real,
        policy: Option<&Policy>,
        base: &Path,
    ) -> Result<Arc<Entry>, String> {
        let identity = ServerIdentity {
            service: service.name.clone(),
            server: real.name.clone(),
            address: real.address,
            port: real.port,
        };
        let token = self.token(&identity);
        let tls = encryption(real, base)?;
        let cookie = |tls| policy.and_then(|policy| policy.set_cookie(&token, tls));
        let set_cookie = cookie(false).zip(cookie(true)).map(|(plain, secure)| [plain, secure]);
        let live = self.live(identity, service.proxy.passive_health);
        Ok(Arc::new(Entry { live, config: real.clone(), tls, token, set_cookie }))
    }

    /// The live object of a real server: the one that is there, or a new one.
    fn live(&mut self, identity: ServerIdentity, passive: Option<PassiveHealth>) -> Arc<RealServer> {
        if let Some(known) = self.servers.get(&identity) {
            return Arc::clone(known);
        }
        self.last_number += 1;
        let live = RealServer::new(identity.clone(), self.last_number, passive);
        self.servers.insert(identity, Arc::clone(&live));
        live
    }
}

fn fallback(address: std::net::IpAddr, port: Option<u16>) -> Real {
    Real {
        name: FALLBACK.to_owned(),
        address,
        port,
        weight: 1,
        min_connections: 0,
        max_connections: 0,
        backup: false,
        pool: None,
        proxy_protocol: None,
        http_version: lb_core::config::model::HttpVersion::Http1,
        tls: None,
        redirect: None,
        health_check: None,
    }
}

/// TLS towards a real server.
pub(super) fn encryption(real: &Real, base: &Path) -> Result<Option<Encryption>, String> {
    let Some(tls) = &real.tls else { return Ok(None) };
    let of_it = |problem| format!("real server {}: {problem}", real.name);
    let config = client_config(tls, real.http_version, base).map_err(of_it)?;
    let name = server_name(tls, real.address).map_err(|problem| format!("real server {}: {problem}", real.name))?;
    Ok(Some(Encryption { config, name }))
}

/// The pages that a service answers with.
pub(super) fn pages(service: &VirtualService, base: &Path) -> Result<Pages, String> {
    let mut pages = Pages::default();
    for (status, path) in service.http.iter().flat_map(|http| &http.error_pages) {
        pages.errors.insert(*status, page(path, base)?);
    }
    if let Some(Fallback::Page(path)) = &service.fallback {
        pages.fallback = Some(page(path, base)?);
    }
    Ok(pages)
}

pub(super) fn page(path: &Path, base: &Path) -> Result<Page, String> {
    let read = std::fs::read(base.join(path));
    let read = read.map_err(|error| format!("the page {} cannot be read: {error}", path.display()))?;
    Ok(Page::new(path, read.into()))
}

/// Every address that a service is reached by. A range has one listener, at its first port or at its last.
fn aims(service: &VirtualService) -> Vec<(SocketAddr, Aim)> {
    let tls = service.tls.as_ref().map(|tls| tls.port);
    let aim = |tls, range| Aim { service: service.name.clone(), tls, range };
    let at = |port| SocketAddr::new(service.address, port);
    let mut aims = Vec::new();
    for range in &service.ports {
        match range.first < range.last {
            true => {
                let port = if tls == Some(range.first) { range.last } else { range.first };
                aims.push((at(port), aim(false, Some(*range))));
            }
            false => aims.push((at(range.first), aim(false, None))),
        }
    }
    if let Some(port) = tls {
        aims.retain(|(address, _)| *address != at(port));
        aims.push((at(port), aim(true, None)));
    }
    aims
}
