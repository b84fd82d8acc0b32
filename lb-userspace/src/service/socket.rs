//! The socket of the service manager: a path, or a name in the abstract namespace (`@name`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A service manager that does not read in this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The service manager.
#[derive(Debug)]
pub(super) struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The manager whose socket has this name, as `NOTIFY_SOCKET` gives it.
    pub(super) fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, address })
    }

    /// Tells it something.
    pub(super) fn tell(&self, message: &str) -> io::Result<()> {
        // Each time by address: a manager that was started anew has another socket of the same name.
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(|_| ())
    }
}
