//! A socket that sends whole Ethernet frames.

use std::io;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

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
        self.0.send_to(frame, &link_address(ifindex, 0)?).map(|_| ())
    }
}

/// What a packet socket binds and sends to: frames of an `EtherType` on a device (packet(7)).
pub(crate) fn link_address(ifindex: u32, ether_type: u16) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the types that a sockaddr_storage has room for, and consists of integers.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage holds an address of the family and the length that it says.
    Ok(unsafe { SockAddr::new(storage, length) })
}
