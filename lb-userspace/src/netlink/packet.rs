//! A socket that sends whole Ethernet frames.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Sends frames on any device of the network namespace it was opened in; receives none.
#[derive(Debug)]
pub(super) struct PacketSocket(Socket);

impl PacketSocket {
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0: nothing is received (packet(7)).
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Hands a frame to the device's queue.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: sockaddr_ll consists of integers, for which zero bytes are a value.
        let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
        to.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        to.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
        let length = libc::socklen_t::try_from(mem::size_of_val(&to)).map_err(io::Error::other)?;
        // SAFETY: both pointers are valid for the lengths beside them during the call, which keeps neither.
        let sent = unsafe {
            libc::sendto(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), length)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
