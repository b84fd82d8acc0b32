//! Hashes that are the same on both of a pair: of a real server for its places, of a client for the place it looks at.

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::Address;

use crate::schedule;

/// What decides the places of a real server, as in layer 4; `None`: the port the client used.
#[must_use]
pub fn place_key(address: IpAddr, port: Option<u16>) -> u64 {
    schedule::place_key(Address::from(address), port.unwrap_or(0))
}

/// Hash of a client's address, or of its network's.
#[must_use]
pub fn client_hash(client: IpAddr) -> u64 {
    schedule::stable_hash(&Address::from(client).octets)
}

/// Hash of a client's address and port.
#[must_use]
pub fn flow_hash(client: SocketAddr) -> u64 {
    schedule::place_key(Address::from(client.ip()), client.port())
}
