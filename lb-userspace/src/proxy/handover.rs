//! What one lbd leaves to the next: listening sockets, keys of session tickets, which client keeps which real
//! server.
//!
//! In: a proxy that goes. Out: an [`Estate`], and a proxy that goes on with it. Absent: how it is sent.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Instant, SystemTime};

use lb_core::proxy::clients::{Clients, Record};
use lb_core::tables::ServerIdentity;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Proxy;
use super::tls::Tickets;

/// What one lbd leaves to the next, but for the sockets themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Estate {
    /// Process number of who leaves it.
    pub pid: u32,
    /// Listening addresses, and how many sockets each has; the descriptors come in this order.
    pub listeners: Vec<(SocketAddr, usize)>,
    /// Keys of session tickets, by service.
    tickets: BTreeMap<String, Vec<u8>>,
    /// Which client keeps which real server, by service.
    clients: BTreeMap<String, Vec<Record<ServerIdentity>>>,
}

/// Records that wait for the service that they are of.
pub(super) type Remembered = BTreeMap<String, Vec<Record<ServerIdentity>>>;

impl Proxy {
    /// What the next lbd gets.
    #[must_use]
    pub fn estate(&self, now: Instant) -> (Estate, Vec<BorrowedFd<'_>>) {
        let mut estate = Estate { pid: std::process::id(), ..Estate::default() };
        let mut sockets = Vec::new();
        for (address, listening) in &self.listeners {
            estate.listeners.push((*address, listening.sockets.len()));
            sockets.extend(listening.sockets.iter().map(|socket| socket.as_fd()));
        }
        let names: BTreeMap<u32, &ServerIdentity> =
            self.servers.iter().map(|(identity, server)| (server.number, identity)).collect();
        for (name, service) in &self.services {
            if let Some(tickets) = self.tickets.get(name) {
                estate.tickets.insert(name.clone(), tickets.export().to_vec());
            }
            let Some(clients) = &service.glance().clients else { continue };
            let records = clients.export(now).into_iter().filter_map(|record| {
                let server = (*names.get(&record.server)?).clone();
                Some(Record { client: record.client, server, age_ms: record.age_ms, idle_ms: record.idle_ms })
            });
            estate.clients.insert(name.clone(), records.collect());
        }
        (estate, sockets)
    }

    /// Goes on with what an earlier lbd has left. Sockets that no configuration asks for are closed by
    /// [`Self::close_inherited`].
    pub fn inherit(&mut self, estate: Estate, sockets: Vec<OwnedFd>, now: SystemTime) {
        let mut sockets = sockets.into_iter().map(TcpListener::from);
        for (address, count) in estate.listeners {
            let of_it: Vec<TcpListener> = sockets.by_ref().take(count).collect();
            if of_it.len() == count && count > 0 {
                self.inherited.insert(address, of_it);
            }
        }
        for (service, bytes) in estate.tickets {
            match Tickets::import(&bytes, now) {
                Ok(tickets) => drop(self.tickets.insert(service, tickets)),
                Err(problem) => warn!(service, "{problem}"),
            }
        }
        self.left_clients = estate.clients;
    }

    /// The configuration is in force: what is left of the inheritance is not needed.
    pub fn close_inherited(&mut self) {
        self.inherited.clear();
        self.left_clients.clear();
    }

    /// Fills the records of a new service with those that were left for it.
    pub(super) fn recall(&mut self, service: &str, clients: &Clients<u32>, now: Instant) {
        let Some(left) = self.left_clients.remove(service) else { return };
        let records = left.into_iter().filter_map(|record| {
            let server = self.servers.get(&record.server)?.number;
            Some(Record { client: record.client, server, age_ms: record.age_ms, idle_ms: record.idle_ms })
        });
        clients.import(records.collect(), now);
    }
}
