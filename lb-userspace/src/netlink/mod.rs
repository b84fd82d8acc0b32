//! The kernel's links, addresses, routes and neighbours, over rtnetlink.
//!
//! In: the actions of [`lb_core::neighbour`] and [`lb_core::vip`]. Out: their inputs, and what the
//! host has. Absent: every decision; which address is probed, kept or announced when is for those
//! machines to say.
//!
//! All sockets are opened by [`Netlink::start`], in the network namespace of the thread that calls
//! it, and stay in that namespace. Requests go straight to the kernel, which answers before it
//! returns: a control loop may await them one by one.
//!
//! The loop that owns them all:
//! - drains [`lb_core::neighbour::Neighbours::poll_action`] into [`Netlink::perform`], and gives the
//!   inputs that come back to the machine;
//! - on [`Event::Neighbour`] gives the input to the machine, on [`Event::HostChanged`] reads
//!   [`Netlink::host`], plans the VIPs, and carries the plan out with [`Netlink::perform_vip`];
//! - sends what [`lb_core::vip::Announcer`] yields with [`Netlink::announce`];
//! - sleeps until the earliest deadline of the machines.
//!
//! `netlink-sys` and the packet crates are used without a connection layer over them, because a
//! receive overrun has to be seen (and answered by a resync), and queues have to be bounded.

mod actions;
pub(crate) mod announce;
mod attachment;
mod connection;
mod host;
mod message;
mod monitor;
pub(crate) mod packet;
mod survey;
#[cfg(test)]
mod tests;
mod transparent;

use std::io;

use lb_core::neighbour::Input;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use announce::{gratuitous_arp, unsolicited_advertisement};
pub use attachment::is_generic;
pub use host::Host;
pub use survey::{Surveyed, survey};
pub use transparent::{Answerer, TRANSPARENT_TABLE, Transparent};

use self::connection::Connection;
use self::packet::PacketSocket;

/// What the kernel reports by itself.
#[derive(Debug)]
pub enum Event {
    /// For [`lb_core::neighbour::Neighbours::handle`].
    Neighbour(Input),
    /// Addresses or links changed: VIPs are to be planned again, from [`Netlink::host`].
    HostChanged,
    /// Nothing more will be reported; next hops would go stale unnoticed.
    Stopped(Error),
}

/// What could not be done, and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}{}", hint(source))]
pub struct Error {
    /// In words that follow "cannot".
    pub what: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl Error {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (this needs the capabilities CAP_NET_ADMIN and CAP_NET_RAW)",
        _ => "",
    }
}

/// Talks to the kernel of one network namespace. Dropping it ends the reports.
#[derive(Debug)]
pub struct Netlink {
    connection: Connection,
    packets: PacketSocket,
    monitor: JoinHandle<()>,
}

impl Netlink {
    /// Opens the sockets and begins to report: first [`Input::Resync`] with all links and
    /// [`Event::HostChanged`], then every change. The channel's bound is the bound of what waits
    /// here; the kernel's buffer follows, and when that overruns, another `Resync`.
    ///
    /// # Errors
    /// When a socket cannot be opened, most often for want of privilege.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(events: mpsc::Sender<Event>) -> Result<Self, Error> {
        let connection = Connection::open(&[]).map_err(|error| Error::new("open a netlink socket", error))?;
        let packets = PacketSocket::open().map_err(|error| Error::new("open a packet socket", error))?;
        let monitor = tokio::spawn(monitor::Monitor::open()?.run(events));
        Ok(Self { connection, packets, monitor })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}
