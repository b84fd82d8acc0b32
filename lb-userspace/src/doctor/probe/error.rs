//! Why a probe could not be made, as a sentence.

use std::io;
use std::net::IpAddr;

/// Nothing was found out. What the network did or did not answer is no error.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Packet sockets are for the privileged.
    #[error("probing the network takes the capability CAP_NET_RAW: run this as root")]
    NoPrivilege,
    /// It was there when the caller looked.
    #[error("the interface {device} is gone: `ip link` lists those that are there")]
    DeviceGone {
        /// Its name.
        device: String,
    },
    /// Nothing can be sent.
    #[error("the interface {device} is down: `ip link set {device} up` starts it")]
    DeviceDown {
        /// Its name.
        device: String,
    },
    /// No packet can have both.
    #[error("{address} cannot be asked from {source_address}: one is an IPv4 address, the other an IPv6 address")]
    Families {
        /// Who is asked.
        address: IpAddr,
        /// Who asks.
        source_address: IpAddr,
    },
    /// The answer may be among the frames that nobody looked at.
    #[error(
        "more than {limit} packets came from {address} while its answer was waited for: try again when less is going on"
    )]
    TooBusy {
        /// Who was asked.
        address: IpAddr,
        /// How many were looked at.
        limit: u32,
    },
    /// What else the kernel says.
    #[error("cannot {what} on the interface {device}: {source}")]
    Socket {
        /// In words that follow "cannot".
        what: &'static str,
        /// Its name.
        device: String,
        /// The kernel's answer.
        source: io::Error,
    },
}
