//! What would become of a client's connection, for those who only ask: nothing is counted, and nobody's turn is taken.
//!
//! In: a service, a client's address. Out: what persistence and the balancers say. Absent: sentences.

use std::net::SocketAddr;
use std::time::Instant;

use lb_core::explain::{AskedPool, Found, Remembered};
use lb_core::proxy::balance::{Candidate as _, Pick};

use super::Proxy;
use super::choose::{Asker, hashes, key};
use super::service::{Pool, Running};

impl Proxy {
    /// `None`: the service is not served.
    #[must_use]
    pub fn consider(&self, service: &str, client: SocketAddr, now: Instant) -> Option<Found> {
        let running = self.services.get(service)?.running();
        let asker = Asker { client, cookie: None, rdp: None };
        let (flow, hash) = hashes(&running, &asker);
        let pools = running.pools.iter().map(|pool| {
            let asked = match pool.balancer().peek(flow, hash, now) {
                Pick::Server { server, .. } => AskedPool::Server(server.config.name.clone()),
                Pick::Full => AskedPool::Full,
                Pick::Nobody => AskedPool::Nobody,
            };
            (pool.name.as_deref().map(str::to_owned), asked)
        });
        let entries = running.entries();
        let suspects = entries.filter(|entry| entry.is_suspect(now)).map(|entry| entry.config.name.clone()).collect();
        Some(Found {
            remembered: self.remembered(&running, client, now),
            pools: pools.collect(),
            suspects,
            full: running.pools.iter().flat_map(full).collect(),
        })
    }

    fn remembered(&self, running: &Running, client: SocketAddr, now: Instant) -> Option<Remembered> {
        let (clients, key) = (running.clients.as_ref()?, key(running, client, None)?);
        let (number, idle) = clients.glance(key, now)?;
        let balancer = running.pools.first()?.balancer();
        let at = balancer.members().iter().position(|member| member.server.live.number == number);
        let known = self.servers.iter().find(|(_, server)| server.number == number);
        let server = known.map_or_else(|| "a server that is gone".to_owned(), |(identity, _)| identity.server.clone());
        Some(Remembered { server, idle, holds: at.is_some_and(|at| balancer.would_admit(at, now)) })
    }
}

fn full(pool: &Pool) -> Vec<String> {
    let balancer = pool.balancer();
    let members = balancer.members().iter().enumerate().filter(|(at, _)| balancer.is_full(*at));
    members.map(|(_, member)| member.server.config.name.clone()).collect()
}
