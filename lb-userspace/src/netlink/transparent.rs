//! Routing of answers to connections that bear the client's address (`source_address: client`).
//!
//! In: the real servers of such services. Out: rules and a route in the kernel that hand what those real
//! servers answer to this machine's own sockets, though it is addressed to clients. Absent: the sockets
//! ([`crate::proxy::connect`]), and the network, which has to bring the answers here.
//!
//! What `ip` would be told:
//!
//! ```text
//! ip route add local default dev lo table 5300 proto 76
//! ip rule add pref 5300 from RIP ipproto tcp sport PORT lookup 5300 protocol 76
//! ```
//!
//! or, for every port of a real server, at preference 5301 and without `sport`.
//!
//! Ours are known by preference, table and protocol together. Those of a daemon that was killed are found and
//! used again, or removed; those of anybody else are left alone.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use lb_core::vip::ADDRESS_PROTOCOL;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};

use super::Error;
use super::connection::Connection;
use super::message::{family, host_prefix};

/// The preference of rules for one port, and the number of the table that they lead to: behind the table `local` (0), so
/// that what is for this machine's own addresses is never touched, and before `main` (32766).
pub const TRANSPARENT_TABLE: u32 = 5300;

/// The device number of `lo`, the first of every network namespace (LOOPBACK_IFINDEX in linux/netdevice.h).
const LOOPBACK: u32 = 1;

/// A real server, and its port; `None`: every port.
pub type Answerer = (IpAddr, Option<u16>);

/// Rules of one network namespace.
#[derive(Debug)]
pub struct Transparent {
    connection: Connection,
}

impl Transparent {
    /// Opens a socket in the network namespace of the calling thread. Changes nothing.
    ///
    /// # Errors
    /// When it cannot be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn open() -> Result<Self, Error> {
        let connection = Connection::open(&[]).map_err(|error| Error::new("open a netlink socket", error))?;
        Ok(Self { connection })
    }

    /// Hands the answers of these real servers to this machine's sockets, and of no others. Adds before it removes;
    /// with the same set again it changes nothing.
    ///
    /// # Errors
    /// When the kernel refuses, or table 5300 is in use by somebody else. The next call goes on from there.
    pub async fn set(&mut self, wanted: &BTreeSet<Answerer>) -> Result<(), Error> {
        let wanted: BTreeSet<Answerer> = wanted.iter().copied().map(expressible).collect();
        let present = self.present().await?;
        for (family, is_family) in FAMILIES {
            if wanted.iter().any(is_family) {
                self.add_route(family, present.iter().any(is_family)).await?;
            }
        }
        for answerer in wanted.difference(&present) {
            self.add_rule(*answerer).await?;
        }
        for answerer in present.difference(&wanted) {
            self.remove_rule(*answerer).await?;
        }
        for (family, is_family) in FAMILIES {
            if !wanted.iter().any(is_family) {
                self.remove_route(family).await?;
            }
        }
        Ok(())
    }

    /// Removes all that is ours, also what a killed daemon left behind.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_all(&mut self) -> Result<(), Error> {
        self.set(&BTreeSet::new()).await
    }

    /// The rules of ours that are there.
    async fn present(&mut self) -> Result<BTreeSet<Answerer>, Error> {
        let question = RouteNetlinkMessage::GetRule(RuleMessage::default());
        let answers = self.connection.dump(question).await;
        let answers = answers.map_err(|error| Error::new("read the routing rules", error))?;
        let rules = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRule(rule) => answerer(rule),
            _ => None,
        });
        Ok(rules.collect())
    }

    async fn add_rule(&mut self, answerer: Answerer) -> Result<(), Error> {
        let request = RouteNetlinkMessage::NewRule(rule(answerer));
        match self.connection.request(request, NLM_F_CREATE | NLM_F_EXCL).await {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(Error::new(format!("add the routing rule {}", in_words(answerer)), error))
            }
            _ => Ok(()),
        }
    }

    async fn remove_rule(&mut self, answerer: Answerer) -> Result<(), Error> {
        match self.connection.request(RouteNetlinkMessage::DelRule(rule(answerer)), 0).await {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(Error::new(format!("remove the routing rule {}", in_words(answerer)), error))
            }
            _ => Ok(()),
        }
    }

    /// Adds the route. One that is there is ours where `in_use`, because rules of ours lead to it; else it is when it
    /// can be removed as ours.
    async fn add_route(&mut self, family: AddressFamily, in_use: bool) -> Result<(), Error> {
        if !in_use {
            self.remove_route(family).await?;
        }
        let request = RouteNetlinkMessage::NewRoute(route(family));
        match self.connection.request(request, NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(Error::new(format!("add a route to table {TRANSPARENT_TABLE}"), error))
            }
            Err(_) if in_use => Ok(()),
            Err(_) => Err(Error::new(
                format!("use routing table {TRANSPARENT_TABLE}"),
                io::Error::other("it has a default route that is not of lbd; move that to another table"),
            )),
        }
    }

    async fn remove_route(&mut self, family: AddressFamily) -> Result<(), Error> {
        match self.connection.request(RouteNetlinkMessage::DelRoute(route(family)), 0).await {
            // No such route; for IPv4 also: no such table.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => {
                Err(Error::new(format!("remove the route of table {TRANSPARENT_TABLE}"), error))
            }
            _ => Ok(()),
        }
    }
}

type IsFamily = fn(&Answerer) -> bool;
const FAMILIES: [(AddressFamily, IsFamily); 2] =
    [(AddressFamily::Inet, |(address, _)| address.is_ipv4()), (AddressFamily::Inet6, |(address, _)| address.is_ipv6())];

fn rule((address, port): Answerer) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(address);
    message.header.src_len = host_prefix(address);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(address),
        RuleAttribute::Priority(preference(port)),
        RuleAttribute::Table(TRANSPARENT_TABLE),
        RuleAttribute::Protocol(RouteProtocol::from(ADDRESS_PROTOCOL)),
        RuleAttribute::IpProtocol(IpProtocol::Tcp),
    ];
    if let Some(port) = port {
        message.attributes.push(RuleAttribute::SourcePortRange(RulePortRange { start: port, end: port }));
    }
    message
}

/// Rules for every port have a preference of their own: the kernel takes a request to remove a rule without ports
/// for one with any of the same preference.
fn preference(port: Option<u16>) -> u32 {
    if port.is_some() { TRANSPARENT_TABLE } else { TRANSPARENT_TABLE + 1 }
}

/// The kernel has no rule for port 65535 (`fib_rule_port_range_valid` in net/fib_rules.h); one for every port has it.
fn expressible((address, port): Answerer) -> Answerer {
    (address, port.filter(|port| *port < u16::MAX))
}

/// Whose answers a rule of ours is for; `None` for rules of others. The inverse of [`rule`].
fn answerer(message: &RuleMessage) -> Option<Answerer> {
    let (mut address, mut port) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(source) => address = Some(*source),
            RuleAttribute::SourcePortRange(range) => port = Some(range.start),
            _ => {}
        }
    }
    let answerer = (address?, port);
    let ours = rule(answerer);
    // The kernel adds attributes that say nothing, such as FRA_SUPPRESS_PREFIXLEN.
    let is_ours = message.header.family == ours.header.family
        && message.header.src_len == ours.header.src_len
        && message.header.action == ours.header.action
        && ours.attributes.iter().all(|attribute| message.attributes.contains(attribute));
    is_ours.then_some(answerer)
}

fn route(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.protocol = RouteProtocol::from(ADDRESS_PROTOCOL);
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message.attributes = vec![RouteAttribute::Table(TRANSPARENT_TABLE), RouteAttribute::Oif(LOOPBACK)];
    message
}

fn in_words((address, port): Answerer) -> String {
    match port {
        Some(port) => format!("for answers of {address} port {port}"),
        None => format!("for answers of {address}"),
    }
}
