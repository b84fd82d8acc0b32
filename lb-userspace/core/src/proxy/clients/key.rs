//! What identifies a client.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::schedule::stable_hash;
use crate::view::Network;

/// What identifies a client: it is the same on both of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// The first address of its network.
    Address(IpAddr),
    /// Hash of what it says of itself: an RDP cookie, a user name.
    Token(u64),
}

impl Key {
    /// The client's address under the prefix of its family. An IPv4 address within IPv6 is an IPv4 address.
    #[must_use]
    pub fn address(client: IpAddr, prefix_v4: u8, prefix_v6: u8) -> Self {
        let client = client.to_canonical();
        let prefix = if client.is_ipv4() { prefix_v4 } else { prefix_v6 };
        Self::Address(Network::new(client, prefix).address())
    }

    /// Of an RDP cookie or user name.
    #[must_use]
    pub fn token(token: &[u8]) -> Self {
        Self::Token(stable_hash(token))
    }
}
