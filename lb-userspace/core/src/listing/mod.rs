//! The listing of flows and of proxied connections, chosen while the tables are walked over.
//!
//! In: entries of the tables, one by one, and a query. Out: the flows that the query means, with names.
//! Absent: the tables, the clock. What is not shown is judged by the bytes of its key and entry, and
//! nothing of it is kept: a million flows cost one comparison each, and no memory.

mod directory;
mod proxied;

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{Address, Flow, FlowKey, FlowState};
use lb_common::wire::protocol;

pub use directory::{Directory, Named};
pub use proxied::{Proxied, proxied, together};

use crate::tables::expiry::elapsed;
use crate::view::first::First;
use crate::view::{self, Connection, Connections, ConnectionsQuery, ConnectionsSort, Network, Span, Transport};
use directory::{Numbers, Ranks};

/// A listing in the making.
#[derive(Debug)]
pub struct Listing<'a> {
    directory: &'a Directory,
    filter: Filter,
    sort: ConnectionsSort,
    reverse: bool,
    /// Places of services or servers in the order of their names; empty for other orders.
    ranks: Ranks,
    first: First<Place, (FlowKey, Flow)>,
}

/// A query by numbers instead of names.
#[derive(Debug)]
struct Filter {
    service: Option<Numbers>,
    server: Option<Numbers>,
    client: Option<Prefix>,
    vip: Option<Prefix>,
    port: Option<u16>,
    protocol: Option<u8>,
    state: Option<view::FlowState>,
    age: Span,
    idle: Span,
}

impl<'a> Listing<'a> {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(directory: &'a Directory, query: &ConnectionsQuery) -> Self {
        Self {
            directory,
            filter: Filter::new(directory, query),
            sort: query.sort,
            reverse: query.reverse,
            ranks: match query.sort {
                ConnectionsSort::Service => directory.service_ranks(),
                ConnectionsSort::Server => directory.server_ranks(),
                ConnectionsSort::Idle | ConnectionsSort::Age | ConnectionsSort::Client | ConnectionsSort::Expires => {
                    Ranks::default()
                }
            },
            first: First::new(query.limit),
        }
    }

    /// The walk has come to a flow.
    pub fn see(&mut self, key: &FlowKey, flow: &Flow) {
        if !self.filter.matches(key, flow, self.directory) {
            return;
        }
        let directory = self.directory;
        let rank = match self.sort {
            ConnectionsSort::Idle => elapsed(flow.last_seen, directory.now),
            ConnectionsSort::Age => elapsed(flow.created, directory.now),
            ConnectionsSort::Expires => directory.expires(key, flow),
            ConnectionsSort::Service => self.ranks.of(flow.service),
            ConnectionsSort::Server => self.ranks.of(flow.server),
            ConnectionsSort::Client => 0,
        };
        self.first.offer(Place::new(rank, key, self.reverse), || (*key, *flow));
    }

    /// The walk is over.
    #[must_use]
    pub fn finish(self) -> Connections {
        let (flows, total) = self.first.finish();
        let connections: Vec<_> = flows.iter().map(|(key, flow)| connection(self.directory, key, flow)).collect();
        Connections { shown: connections.len() as u64, connections, total }
    }
}

impl Filter {
    fn new(directory: &Directory, query: &ConnectionsQuery) -> Self {
        Self {
            service: query.service.as_deref().map(|name| directory.services_called(name)),
            server: query.server.as_deref().map(|name| directory.servers_called(name)),
            client: query.client.as_ref().map(Prefix::new),
            vip: query.vip.as_ref().map(Prefix::new),
            port: query.port,
            protocol: query.protocol.map(|transport| match transport {
                Transport::Tcp => protocol::TCP,
                Transport::Udp => protocol::UDP,
            }),
            state: query.state,
            age: query.age,
            idle: query.idle,
        }
    }

    fn matches(&self, key: &FlowKey, flow: &Flow, directory: &Directory) -> bool {
        let seconds = |then| directory.seconds(elapsed(then, directory.now));
        self.service.as_ref().is_none_or(|services| services.contains(flow.service))
            && self.server.as_ref().is_none_or(|servers| servers.contains(flow.server))
            && self.client.is_none_or(|client| client.contains(&key.client))
            && self.vip.is_none_or(|vip| vip.contains(&key.vip))
            && self.port.is_none_or(|port| port == key.vip_port)
            && self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && self.state.is_none_or(|wanted| wanted == state(key, flow))
            && (self.age == Span::default() || self.age.contains(seconds(flow.created)))
            && (self.idle == Span::default() || self.idle.contains(seconds(flow.last_seen)))
    }
}

/// A network over addresses as the tables hold them.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    is_v4: bool,
    bits: u128,
    mask: u128,
}

impl Prefix {
    fn new(network: &Network) -> Self {
        let is_v4 = network.address().is_ipv4();
        let length = u32::from(network.prefix_length()) + if is_v4 { 96 } else { 0 };
        let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
        Self { is_v4, bits: bits(&Address::from(network.address())) & mask, mask }
    }

    fn contains(self, address: &Address) -> bool {
        let bits = bits(address);
        // RFC 4291 section 2.5.5.2: IPv4 addresses are those below ::ffff:0:0/96, and in no IPv6 network.
        (bits >> 32 == 0xffff) == self.is_v4 && bits & self.mask == self.bits
    }
}

fn bits(address: &Address) -> u128 {
    u128::from_be_bytes(address.octets)
}

/// Where a flow stands in the order asked for. The key makes the order total, so that two answers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    rank: u32,
    key: (Address, u16, Address, u16, u8),
    reverse: bool,
}

impl Place {
    fn new(rank: u32, key: &FlowKey, reverse: bool) -> Self {
        Self { rank, key: (key.client, key.client_port, key.vip, key.vip_port, key.protocol), reverse }
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = (self.rank, self.key).cmp(&(other.rank, other.key));
        if self.reverse { order.reverse() } else { order }
    }
}

fn connection(directory: &Directory, key: &FlowKey, flow: &Flow) -> Connection {
    let (source, destination) = directory.translation(key, flow);
    Connection {
        virtual_service: directory.service(flow.service),
        real_server: Some(directory.server(flow.server)),
        protocol: if key.protocol == protocol::UDP { Transport::Udp } else { Transport::Tcp },
        client: SocketAddr::new(IpAddr::from(key.client), key.client_port),
        vip: SocketAddr::new(IpAddr::from(key.vip), key.vip_port),
        source,
        destination,
        state: state(key, flow),
        age_seconds: directory.seconds(elapsed(flow.created, directory.now)),
        idle_seconds: directory.seconds(elapsed(flow.last_seen, directory.now)),
        expires_seconds: directory.seconds(directory.expires(key, flow)),
        bytes: None,
        reply_bytes: None,
    }
}

fn state(key: &FlowKey, flow: &Flow) -> view::FlowState {
    match FlowState::from_u8(flow.state) {
        FlowState::Pending => view::FlowState::Pending,
        _ if key.protocol == protocol::UDP => view::FlowState::Udp,
        FlowState::Established => view::FlowState::Established,
        FlowState::HalfClosed => view::FlowState::HalfClosed,
        FlowState::Closing => view::FlowState::Closing,
    }
}

#[cfg(test)]
mod tests;
