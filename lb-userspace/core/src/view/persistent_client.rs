//! Whom a persistence record is of: clients of a network, or an RDP user by the hash of its name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::network::{Network, NetworkError};
use crate::proxy::clients::Key;

/// A client as persistence remembers it: `172.26.11.7`, `172.26.11.0/24`, `rdp:5bf1a0c2d3e4f607`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PersistentClient {
    /// By its address.
    Network(Network),
    /// By what its RDP cookie says; the name itself is not kept.
    RdpUser(u64),
}

/// Text that names no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersistentClientError {
    /// No address.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The part after `rdp:`.
    #[error("`{0}` is no RDP user; write it as `lbctl persistence` lists it, like rdp:5bf1a0c2d3e4f607")]
    RdpUser(String),
}

impl PersistentClient {
    /// What a record of layer 7 is of. `prefixes`: bits by which the service keeps clients, IPv4 and IPv6.
    #[must_use]
    pub fn of(key: &Key, prefixes: (u8, u8)) -> Self {
        match key {
            Key::Address(address) => {
                let prefix = if address.is_ipv4() { prefixes.0 } else { prefixes.1 };
                Self::Network(Network::new(*address, prefix))
            }
            Key::Token(hash) => Self::RdpUser(*hash),
        }
    }

    /// Whether they have a client in common. Which address an RDP user comes from is not known: it is in no network.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network(network), Self::Network(other)) => network.overlaps(other),
            (Self::RdpUser(hash), Self::RdpUser(other)) => hash == other,
            (Self::Network(_), Self::RdpUser(_)) | (Self::RdpUser(_), Self::Network(_)) => false,
        }
    }
}

impl From<Network> for PersistentClient {
    fn from(network: Network) -> Self {
        Self::Network(network)
    }
}

impl From<IpAddr> for PersistentClient {
    fn from(address: IpAddr) -> Self {
        Self::Network(address.into())
    }
}

impl From<PersistentClient> for String {
    fn from(client: PersistentClient) -> Self {
        client.to_string()
    }
}

impl TryFrom<String> for PersistentClient {
    type Error = PersistentClientError;

    fn try_from(text: String) -> Result<Self, PersistentClientError> {
        text.parse()
    }
}

impl FromStr for PersistentClient {
    type Err = PersistentClientError;

    fn from_str(text: &str) -> Result<Self, PersistentClientError> {
        let Some(hash) = text.strip_prefix(RDP) else { return Ok(Self::Network(text.parse()?)) };
        let is_hash = hash.len() == DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = if is_hash { u64::from_str_radix(hash, 16).ok() } else { None };
        parsed.map(Self::RdpUser).ok_or_else(|| PersistentClientError::RdpUser(text.to_owned()))
    }
}

impl fmt::Display for PersistentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::RdpUser(hash) => write!(f, "{RDP}{hash:0DIGITS$x}"),
        }
    }
}

const RDP: &str = "rdp:";

/// Of a hash.
const DIGITS: usize = 16;
