//! Servers that the configuration names no longer, and whose flows finish first.
//!
//! In: who they are. Out: their entries, draining. Absent: when they are done.

use std::net::IpAddr;

use lb_common::abi::{Address, Server, ServerState, ServiceMode, filter_bit};

use super::ids::{Ids, IdsError, ServerIdentity};
use super::roster::deliver;
use super::translation::{expect_replies, service_mode};
use super::wanted::{Health, ServerInput, Wanted};
use crate::config::model::Mode;

/// A server on its way out: it keeps its number, its generation and its flows, and no ring names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// Whose number it keeps.
    pub identity: ServerIdentity,
    /// The VIP that its flows come in by.
    pub vip: IpAddr,
    /// How its flows are delivered.
    pub mode: Mode,
    /// What is known of it; the administrator's order and the weight do not matter any more.
    pub input: ServerInput,
}

/// Adds the leavers to what the tables should hold. The names of their services are still in `ids`.
pub(super) fn add(wanted: &mut Wanted, leavers: &[Leaver], ids: &mut Ids) -> Result<(), IdsError> {
    for leaver in leavers {
        let (service, id) = (ids.service(&leaver.identity.service)?, ids.server(&leaver.identity)?);
        let alive = leaver.input.health == Health::Up;
        let mut entry = Server {
            service,
            address: Address::from(leaver.identity.address),
            port: leaver.identity.port.unwrap_or(0),
            state: if alive { ServerState::Draining } else { ServerState::Down } as u8,
            mode: service_mode(leaver.mode).unwrap_or(ServiceMode::None) as u8,
            ..Server::default()
        };
        entry.generation = ids.generation(id, alive, entry.mode);
        deliver(&mut entry, &leaver.input);
        let (word, bit) = filter_bit(&Address::from(leaver.vip));
        *wanted.filter.entry(word).or_default() |= bit;
        expect_replies(&entry, &mut wanted.reply_filter);
        wanted.servers.insert(id, entry);
        wanted.off_duty.insert(id);
        wanted.leaving.insert(leaver.identity.clone(), id);
        wanted.service_numbers.entry(leaver.identity.service.clone()).or_insert(service);
    }
    Ok(())
}
