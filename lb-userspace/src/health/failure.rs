//! What an error of a socket says of the real server.
//!
//! In: an [`io::Error`]. Out: a [`Failure`] in words. Absent: errors of protocols.

use std::io::{self, ErrorKind};

use lb_core::health::{Detail, Failure};

/// The failure that an error from connecting, sending or receiving means.
pub(super) fn from_io(error: &io::Error) -> Failure {
    let unreachable = |why: &str| Failure::Unreachable(Detail::new(why));
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Failure::Reset,
        ErrorKind::HostUnreachable => unreachable("no machine answers at this address, or there is no route to it"),
        ErrorKind::NetworkUnreachable => unreachable("this machine has no route to its network"),
        ErrorKind::NetworkDown => unreachable("the interface towards it is down"),
        ErrorKind::TimedOut => unreachable("the network gave up on the connection"),
        ErrorKind::PermissionDenied => unreachable("a firewall rule or a route of this machine forbids it"),
        // What Linux answers where a route of type blackhole leads.
        ErrorKind::InvalidInput => unreachable("a route of this machine discards what is sent to it"),
        _ => Failure::Local(Detail::new(error.to_string())),
    }
}
