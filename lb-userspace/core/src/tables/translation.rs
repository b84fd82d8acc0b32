//! What `l4-nat` and `l4-snat` need beside the schedule: the mode of each server, source addresses,
//! pools of source ports, and whose packets may be replies.
//!
//! In: the service, what is known of a real server, the numbers in use. Out: fields of its entry.
//! Absent: which ports are in use; the datapath claims them and the sweep gives them back.

use std::collections::BTreeMap;

use lb_common::abi::{Address, Server, ServiceMode, filter_bit};

use super::ids::{Ids, IdsError};
use super::wanted::ServerInput;
use crate::config::model::{Mode, SourceAddress, VirtualService};

/// Who shares source ports: flows from one source address to one port of one real server. A port of
/// 0 stands for whatever port the client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// The source address.
    pub source: Address,
    /// The real server.
    pub server: Address,
    /// Its port, host order; 0: the port the client used.
    pub port: u16,
}

/// The pools of one key in `source_ports`: for TCP, then for UDP.
pub(super) const POOLS_PER_KEY: u32 = 2;

/// How the datapath delivers the packets of a service; `None`: it does not, a proxy does.
pub(super) fn service_mode(mode: Mode) -> Option<ServiceMode> {
    match mode {
        Mode::L4Dr => Some(ServiceMode::DirectRouting),
        Mode::L4Nat => Some(ServiceMode::Nat),
        Mode::L4Snat => Some(ServiceMode::SourceNat),
        Mode::L7Tcp | Mode::L7Http => None,
    }
}

/// Fills in how packets get to this server. Without a source address an `l4-snat` server takes no new
/// flows.
pub(super) fn translate(
    entry: &mut Server,
    service: &VirtualService,
    input: &ServerInput,
    ids: &mut Ids,
) -> Result<(), IdsError> {
    let mode = service_mode(service.mode).unwrap_or(ServiceMode::None);
    entry.mode = mode as u8;
    if mode != ServiceMode::SourceNat {
        return Ok(());
    }
    if let Some(source) = source(service, input) {
        entry.source = ids.source(source)?;
        let pool = ids.pool(PoolKey { source, server: entry.address, port: entry.port })?;
        entry.pool = pool * POOLS_PER_KEY;
    }
    Ok(())
}

fn source(service: &VirtualService, input: &ServerInput) -> Option<Address> {
    match service.source_address {
        SourceAddress::Auto => input.next_hop?.source,
        // Only a proxy takes the client's address; the configuration has been checked for that.
        SourceAddress::Client => None,
        SourceAddress::Vip => Some(Address::from(service.address)),
        SourceAddress::Address(address) => Some(Address::from(address)),
    }
}

/// Adds the server to those whose packets may be replies.
pub(super) fn expect_replies(entry: &Server, filter: &mut BTreeMap<u32, u64>) {
    if matches!(ServiceMode::from_u8(entry.mode), ServiceMode::Nat | ServiceMode::SourceNat) {
        let (word, bit) = filter_bit(&entry.address);
        *filter.entry(word).or_default() |= bit;
    }
}
