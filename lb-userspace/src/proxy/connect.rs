//! Connections to real servers.
//!
//! In: a real server, the source address that it shall see, how long to wait. Out: an open connection, or
//! why there is none. Absent: which real server it is, and what is tried next.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::descriptors;

/// What a real server sees as the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The address of this machine that the kernel prefers towards it.
    Kernel,
    /// This address, one of this machine.
    Address(IpAddr),
    /// The client's address, with any port that is free towards the real server. The client's own port is
    /// not asked for: the client may have a connection of its own from there to the same real server.
    /// Answers come back only where [`Transparent`](crate::netlink::Transparent) and the network see to it.
    Client(SocketAddr),
}

impl Source {
    /// The address to bind to, where the kernel does not choose.
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Kernel => None,
            Self::Address(address) => Some(address.to_canonical()),
            Self::Client(client) => Some(client.ip().to_canonical()),
        }
    }
}

/// Who speaks first on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// This end, and at once: what it says completes the handshake, without a packet that says nothing else.
    Us,
    /// Perhaps the real server, which must then know at once that the connection is there.
    Either,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Something is there and says no.
    #[error("{server} refuses the connection: nothing listens on this port there, or a firewall rejects it")]
    Refused {
        /// The real server.
        server: SocketAddr,
    },
    /// Nobody answered.
    #[error("{server} did not answer within {} ms", waited.as_millis())]
    TimedOut {
        /// The real server.
        server: SocketAddr,
        /// How long it was waited for.
        waited: Duration,
    },
    /// There is no way to it.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// The real server.
        server: SocketAddr,
        /// What says so.
        why: &'static str,
    },
    /// No source port is left.
    #[error(
        "all source ports towards {server} are in use: widen net.ipv4.ip_local_port_range (it is for IPv6 too), or \
         spread the load over more real servers or source addresses"
    )]
    SourcePorts {
        /// The real server.
        server: SocketAddr,
    },
    /// No descriptor is left.
    #[error("lbd has as many files and connections open as it may: raise LimitNOFILE of its unit, or fs.file-max")]
    TooManyFiles,
    /// The source address is no address of this machine.
    #[error("{address} cannot be the source of connections: this machine does not have it")]
    NoSuchSource {
        /// The source address.
        address: IpAddr,
    },
    /// Source and real server are of different families.
    #[error("{address} cannot be the source of a connection to {server}: one is IPv4, the other IPv6")]
    OtherFamily {
        /// The source address.
        address: IpAddr,
        /// The real server.
        server: SocketAddr,
    },
    /// This process may not send from addresses of clients.
    #[error("lbd may not send from addresses of its clients: `source_address: client` needs CAP_NET_ADMIN")]
    NotPermitted,
    /// Anything else.
    #[error("cannot connect to {server}: {reason}")]
    Other {
        /// The real server.
        server: SocketAddr,
        /// What the kernel says.
        reason: io::Error,
    },
}

impl ConnectError {
    /// Whether this says something of the real server, or of the way to it, and not of this machine alone.
    /// Another real server may be tried either way.
    #[must_use]
    pub fn blames_server(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::SourcePorts { .. }
            | Self::TooManyFiles
            | Self::NoSuchSource { .. }
            | Self::OtherFamily { .. }
            | Self::NotPermitted
            | Self::Other { .. } => false,
        }
    }
}

/// Opens a connection that sends at once (TCP_NODELAY). A caller that gives up drops the future, and with it the
/// attempt.
///
/// # Errors
/// When there is no connection within `limit`.
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
pub async fn connect(
    server: SocketAddr,
    source: Source,
    first: First,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let socket = open(server)?;
    bind(&socket, server, source)?;
    if first == First::Us {
        // tcp(7): without TCP_QUICKACK an acknowledgement waits for data to go with it, here that of SYN+ACK. What is
        // not to be had costs a packet.
        let _ = socket.set_tcp_quickack(false);
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    let stream = match timeout(limit, socket.connect(server)).await {
        Ok(connected) => connected.map_err(|error| connecting(server, error))?,
        Err(_) => return Err(ConnectError::TimedOut { server, waited: limit }),
    };
    // Towards a port of this very machine that nobody listens on, TCP can meet itself (RFC 9293
    // section 3.5, simultaneous open) when the kernel picks that port for the source.
    if stream.local_addr().is_ok_and(|local| local == server) {
        return Err(ConnectError::Refused { server });
    }
    Ok(stream)
}

/// A socket with its options, not yet bound.
fn open(server: SocketAddr) -> Result<Socket, ConnectError> {
    let failed = |error| opening(server, error);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(server), kind, Some(Protocol::TCP)).map_err(failed)?;
    if descriptors::are_very_short(&socket) {
        return Err(ConnectError::TooManyFiles);
    }
    socket.set_tcp_nodelay(true).map_err(failed)?;
    Ok(socket)
}

/// Gives the socket its source address. IP_BIND_ADDRESS_NO_PORT leaves the port to connect(2), which knows
/// the destination: a port is then free again for every other real server.
fn bind(socket: &Socket, server: SocketAddr, source: Source) -> Result<(), ConnectError> {
    let Some(address) = source.address() else { return Ok(()) };
    if address.is_ipv4() != server.is_ipv4() {
        return Err(ConnectError::OtherFamily { address, server });
    }
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true).map_err(|error| opening(server, error.into()))?;
    if matches!(source, Source::Client(_)) {
        let transparent =
            if address.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) };
        transparent.map_err(|error| opening(server, error))?;
    }
    socket.bind(&SocketAddr::new(address, 0).into()).map_err(|error| binding(server, address, error))
}

/// Has the kernel notice when the other end is gone: one that is silent for a minute is asked, and given up after
/// another one.
pub(super) fn keep_alive(stream: &TcpStream) {
    let asking =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
    // A socket that takes no options is broken, and its reader hears of it.
    let _ = SockRef::from(stream).set_tcp_keepalive(&asking);
}

fn opening(server: SocketAddr, error: io::Error) -> ConnectError {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => ConnectError::TooManyFiles,
        Some(libc::EPERM | libc::EACCES) => ConnectError::NotPermitted,
        _ => ConnectError::Other { server, reason: error },
    }
}

fn binding(server: SocketAddr, address: IpAddr, error: io::Error) -> ConnectError {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => ConnectError::NoSuchSource { address },
        _ => ConnectError::Other { server, reason: error },
    }
}

fn connecting(server: SocketAddr, error: io::Error) -> ConnectError {
    let unreachable = |why| ConnectError::Unreachable { server, why };
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => ConnectError::Refused { server },
        ErrorKind::AddrNotAvailable => ConnectError::SourcePorts { server },
        ErrorKind::HostUnreachable => unreachable("no machine answers at this address, or there is no route to it"),
        ErrorKind::NetworkUnreachable => unreachable("this machine has no route to its network"),
        ErrorKind::NetworkDown => unreachable("the interface towards it is down"),
        ErrorKind::TimedOut => unreachable("the network gave up on the connection"),
        ErrorKind::PermissionDenied => unreachable("a firewall rule or a route of this machine forbids it"),
        // What Linux answers where a route of type blackhole leads.
        ErrorKind::InvalidInput => unreachable("a route of this machine discards what is sent to it"),
        _ => ConnectError::Other { server, reason: error },
    }
}

#[cfg(test)]
mod tests;
