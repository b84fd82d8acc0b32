//! Connections that the proxy carries, in the same listing as flows.
//!
//! In: connections one by one, and a query; listings. Out: those that the query means; one listing. Absent: who holds
//! the connections.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::view::first::First;
use crate::view::{Connection, Connections, ConnectionsQuery, ConnectionsSort, FlowState, Transport};

/// A connection between a client and the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Name of the virtual service.
    pub service: Arc<str>,
    /// Name of the real server that serves it now.
    pub server: Option<Arc<str>>,
    /// Where it came from.
    pub client: SocketAddr,
    /// Where it came to.
    pub vip: SocketAddr,
    /// Address and port of that real server.
    pub destination: Option<SocketAddr>,
    /// Bytes from the client.
    pub bytes: u64,
    /// Bytes to the client.
    pub reply_bytes: u64,
    /// Since it was accepted.
    pub age_seconds: u64,
    /// Since bytes were carried, either way.
    pub idle_seconds: u64,
    /// Until it is closed, if it stays idle.
    pub expires_seconds: u64,
}

/// The first of those that the query means.
pub fn proxied(query: &ConnectionsQuery, connections: impl Iterator<Item = Proxied>) -> Connections {
    let mut first = First::new(query.limit);
    for of in connections.filter(|of| of.is_meant(query)) {
        first.offer(Place::of(&of, query), || of);
    }
    let (connections, total) = first.finish();
    let connections: Vec<_> = connections.into_iter().map(Connection::from).collect();
    Connections { shown: connections.len() as u64, connections, total }
}

/// Two listings by the same query as one.
#[must_use]
pub fn together(query: &ConnectionsQuery, flows: Connections, proxied: Connections) -> Connections {
    let total = flows.total + proxied.total;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let (mut flows, mut proxied) =
        (flows.connections.into_iter().peekable(), proxied.connections.into_iter().peekable());
    let next = || match (flows.peek(), proxied.peek()) {
        (Some(flow), Some(other)) if is_before(query, other, flow) => proxied.next(),
        (Some(_), _) => flows.next(),
        (None, _) => proxied.next(),
    };
    let connections: Vec<_> = std::iter::from_fn(next).take(limit).collect();
    Connections { shown: connections.len() as u64, connections, total }
}

fn is_before(query: &ConnectionsQuery, one: &Connection, other: &Connection) -> bool {
    let place = |of: &Connection| {
        let (name, time) = match query.sort {
            ConnectionsSort::Service => (of.virtual_service.clone(), 0),
            ConnectionsSort::Server => (of.real_server.clone().unwrap_or_default(), 0),
            ConnectionsSort::Idle => (String::new(), of.idle_seconds),
            ConnectionsSort::Age => (String::new(), of.age_seconds),
            ConnectionsSort::Expires => (String::new(), of.expires_seconds),
            ConnectionsSort::Client => (String::new(), 0),
        };
        (name, time, of.client, of.vip)
    };
    place(one).cmp(&place(other)) == if query.reverse { Ordering::Greater } else { Ordering::Less }
}

impl Proxied {
    fn is_meant(&self, query: &ConnectionsQuery) -> bool {
        query.service.as_ref().is_none_or(|service| **service == *self.service)
            && query.server.as_ref().is_none_or(|server| self.server.as_ref().is_some_and(|of| **server == **of))
            && query.client.is_none_or(|client| client.contains(self.client.ip()))
            && query.vip.is_none_or(|vip| vip.contains(self.vip.ip()))
            && query.port.is_none_or(|port| port == self.vip.port())
            && query.protocol.is_none_or(|protocol| protocol == Transport::Tcp)
            && query.state.is_none_or(|state| state == self.state())
            && query.age.contains(self.age_seconds)
            && query.idle.contains(self.idle_seconds)
    }

    fn state(&self) -> FlowState {
        if self.server.is_some() { FlowState::Established } else { FlowState::Pending }
    }
}

impl From<Proxied> for Connection {
    fn from(of: Proxied) -> Self {
        Self {
            virtual_service: of.service.to_string(),
            real_server: of.server.as_ref().map(ToString::to_string),
            protocol: Transport::Tcp,
            client: of.client,
            vip: of.vip,
            source: None,
            destination: of.destination,
            state: of.state(),
            age_seconds: of.age_seconds,
            idle_seconds: of.idle_seconds,
            expires_seconds: of.expires_seconds,
            bytes: Some(of.bytes),
            reply_bytes: Some(of.reply_bytes),
        }
    }
}

/// Where a connection stands in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    name: Option<Arc<str>>,
    time: u64,
    ends: (SocketAddr, SocketAddr),
    reverse: bool,
}

impl Place {
    fn of(of: &Proxied, query: &ConnectionsQuery) -> Self {
        let (name, time) = match query.sort {
            ConnectionsSort::Service => (Some(Arc::clone(&of.service)), 0),
            ConnectionsSort::Server => (of.server.clone(), 0),
            ConnectionsSort::Idle => (None, of.idle_seconds),
            ConnectionsSort::Age => (None, of.age_seconds),
            ConnectionsSort::Expires => (None, of.expires_seconds),
            ConnectionsSort::Client => (None, 0),
        };
        Self { name, time, ends: (of.client, of.vip), reverse: query.reverse }
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = (&self.name, self.time, self.ends).cmp(&(&other.name, other.time, other.ends));
        if self.reverse { order.reverse() } else { order }
    }
}
