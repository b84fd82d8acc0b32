//! Questions to the network in frames of our own, past the kernel's routes and neighbours.

mod error;

use std::net::IpAddr;
use std::time::Duration;

use lb_core::config::model::Protocol;

pub use error::ProbeError;

/// A device that Ethernet frames are sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// For sentences.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// Its own address.
    pub mac: [u8; 6],
}

/// How frames get to a real server: as the datapath's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The physical one (or bond) under a VLAN device.
    pub device: Device,
    /// Of the device that the route leaves by; a VLAN device may have its own.
    pub source_mac: [u8; 6],
    /// Of the real server, or of the gateway to it.
    pub destination_mac: [u8; 6],
    /// VLAN id of the outer tag; 0: untagged.
    pub outer_vlan: u16,
    /// VLAN id of the inner tag; 0: at most one tag.
    pub inner_vlan: u16,
}

/// Whether a real server takes packets for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It does, and it answers.
    Answered,
    /// It does, and says that nobody listens on the port, or that a firewall forbids it.
    Refused,
    /// Nothing came back.
    Silent,
}

/// Whether what a real server answers passes this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComesBack {
    /// An answer reached our device, addressed to our MAC.
    Here,
    /// None did.
    NotHere,
}

/// The MAC addresses that answer for `address`.
///
/// # Errors
/// When nothing could be asked.
pub async fn who_answers(
    device: &Device,
    address: IpAddr,
    source: Option<IpAddr>,
    wait: Duration,
) -> Result<Vec<[u8; 6]>, ProbeError> {
    let _ = (device, address, source, wait);
    todo!()
}

/// Whether the real server at the end of `path` takes packets for `vip`.
///
/// # Errors
/// When nothing could be asked.
pub async fn accepts(
    path: &Path,
    vip: IpAddr,
    port: u16,
    protocol: Protocol,
    source: IpAddr,
    wait: Duration,
) -> Result<Acceptance, ProbeError> {
    let _ = (path, vip, port, protocol, source, wait);
    todo!()
}

/// Whether what `server` answers to `from` passes this machine.
///
/// # Errors
/// When nothing could be asked.
pub async fn comes_back(
    path: &Path,
    server: IpAddr,
    port: Option<u16>,
    protocol: Protocol,
    from: IpAddr,
    wait: Duration,
) -> Result<ComesBack, ProbeError> {
    let _ = (path, server, port, protocol, from, wait);
    todo!()
}
