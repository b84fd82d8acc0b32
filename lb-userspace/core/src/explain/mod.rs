//! Why a client's packet goes where it goes, in sentences.
//!
//! In: the question, what the datapath found when it was asked with a made-up packet
//! ([`Explanation`]), and what [`Control`] knows of names, orders and health. Out: [`Explained`].
//! Absent: the decision, which is the datapath's alone; what is said here is read off what it found.

mod account;
mod packet;
mod phrase;
mod proxied;
mod remembered;
mod scheduling;
mod steps;

use std::net::SocketAddr;
use std::time::Instant;

use lb_common::abi::Explanation;
use lb_common::datapath::{Kind, Reason};

use crate::config::model::{Config, Protocol, VirtualService};
use crate::control::Control;
use crate::view::explain::ANY_PORT;
use crate::view::{CounterAction, ExplainQuery, Explained, Transport};
use account::Account;
use packet::{Place, frame};
pub use proxied::{Asked as AskedPool, Found, Remembered, asked_service, explained_proxied};
use steps::mode;

/// Ports that are tried for a client whose port does not matter: one that has a flow would tell of that flow.
const PORTS: u16 = 8;

/// What the datapath was asked, and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The client's port.
    port: u16,
    /// Whether nobody had named one.
    any_port: bool,
    protocol: Transport,
    /// Of the first packet of a connection.
    first: Explanation,
    /// Of a packet from the middle of it, when there is a flow.
    middle: Option<Explanation>,
}

/// Asks the datapath by `run`, which has it explain a frame.
///
/// # Errors
/// Those of `run`.
pub fn ask<E>(
    query: &ExplainQuery,
    config: &Config,
    mut run: impl FnMut(&[u8]) -> Result<Explanation, E>,
) -> Result<Asked, E> {
    let protocol = query.protocol.unwrap_or_else(|| usual_protocol(query.vip.0, config));
    let (client, vip) = (query.client.address, (query.vip.0.ip(), query.vip.0.port()));
    let mut port = query.client_port();
    let mut first = run(&frame((client, port), vip, protocol, Place::First))?;
    while query.client.port.is_none() && is_remembered(&first) && port < ANY_PORT + PORTS {
        port += 1;
        first = run(&frame((client, port), vip, protocol, Place::First))?;
    }
    let middle = match is_remembered(&first) && protocol == Transport::Tcp {
        true => Some(run(&frame((client, port), vip, protocol, Place::Middle))?),
        false => None,
    };
    Ok(Asked { port, any_port: query.client.port.is_none(), protocol, first, middle })
}

/// UDP where nothing else is served.
fn usual_protocol(vip: SocketAddr, config: &Config) -> Transport {
    let mut there = config.virtual_services.iter().filter(|service| serves(service, vip)).peekable();
    if there.peek().is_some() && there.all(|service| service.protocol == Protocol::Udp) {
        Transport::Udp
    } else {
        Transport::Tcp
    }
}

/// Whether a service has this address and port, for whatever protocol.
fn serves(service: &VirtualService, vip: SocketAddr) -> bool {
    let tls = service.tls.as_ref().map(|tls| tls.port);
    let is_there = |port| service.ports.iter().any(|range| (range.first..=range.last).contains(&port));
    service.address == vip.ip() && (is_there(vip.port()) || tls == Some(vip.port()))
}

fn is_remembered(found: &Explanation) -> bool {
    found.has(Explanation::FLOW | Explanation::PENDING_FLOW)
}

/// Tells what was found.
#[must_use]
pub fn explained(control: &Control, query: &ExplainQuery, asked: &Asked, now: Instant) -> Explained {
    let account = Account::new(control, query, asked, now);
    let reason = account.reason;
    let (real_server, real_server_address, next_hop) = account.receiver().map_or((None, None, None), |server| {
        (Some(server.name.clone()), server.address, server.row.and_then(|row| row.next_hop.clone()))
    });
    Explained {
        client: SocketAddr::new(query.client.address, asked.port),
        vip: query.vip.0,
        protocol: asked.protocol,
        action: match reason.map(Reason::kind) {
            Some(Kind::Forward) => CounterAction::Forward,
            Some(Kind::Drop) => CounterAction::Drop,
            Some(Kind::Pass) | None => CounterAction::Pass,
        },
        reason: reason.map_or("unknown", Reason::name).to_owned(),
        virtual_service: account.service.clone(),
        real_server,
        real_server_address,
        next_hop,
        steps: account.steps(),
    }
}
