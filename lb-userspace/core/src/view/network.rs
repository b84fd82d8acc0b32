//! An address or a network of clients: `172.26.11.7`, `172.26.11.0/24`, `2001:db8::/64`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network of clients, or one client where the prefix is the whole address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    /// Bits beyond the prefix are 0.
    address: IpAddr,
    /// At most 32 (IPv4) or 128 (IPv6).
    prefix_length: u8,
}

/// Text that is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash.
    #[error("`{0}` is not an address; write one like 172.26.11.7, 172.26.11.0/24 or 2001:db8::/64")]
    Address(String),
    /// The part after the slash.
    #[error("`{text}` has no valid prefix length; it is a number from 0 to {longest}")]
    PrefixLength {
        /// As given.
        text: String,
        /// Longest prefix of the address family.
        longest: u8,
    },
}

impl Network {
    /// The network of `prefix_length` bits that holds `address`; longer prefixes are cut to the
    /// whole address.
    #[must_use]
    pub fn new(address: IpAddr, prefix_length: u8) -> Self {
        let prefix_length = prefix_length.min(longest(address));
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_length)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, prefix_length }
    }

    /// First address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    #[must_use]
    pub const fn prefix_length(&self) -> u8 {
        self.prefix_length
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        longest(address) == longest(self.address) && Self::new(address, self.prefix_length).address == self.address
    }

    /// Whether any address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

const fn longest(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix_length: longest(address) }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address(text.to_owned()))?;
        let Some(prefix) = prefix else { return Ok(address.into()) };
        let longest = longest(address);
        match prefix.parse::<u8>() {
            Ok(length) if length <= longest => Ok(Self::new(address, length)),
            _ => Err(NetworkError::PrefixLength { text: text.to_owned(), longest }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix_length == longest(self.address) {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}
