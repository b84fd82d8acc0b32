//! Listening sockets: one for each VIP, port and worker.
//!
//! In: an address. Out: sockets in one SO_REUSEPORT group, among which the kernel spreads connections. Absent: who
//! accepts.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted; the kernel cuts it down to net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// Opens one socket for each worker.
///
/// # Errors
/// In a sentence: mostly because another program has the port.
pub(super) fn open(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, String> {
    let opened: io::Result<Vec<TcpListener>> = (0..workers).map(|_| one(address)).collect();
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} cannot be listened on: another program has the port; `ss -ltnp 'sport = :{}'` shows which",
            address.port()
        ),
        _ => format!("{address} cannot be listened on: {error}"),
    })
}

fn one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        // The VIP may be with the peer, or not be brought up yet.
        socket.set_freebind_v4(true)?;
    }
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
