//! Whole frames in and out of one interface (packet(7)).

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, bind, recvfrom, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::capture::Direction;

/// Room for bursts while the test does something else, in bytes.
const RECEIVE_BUFFER: usize = 64 << 20;
/// Longest frame that is received: a jumbo frame that GRO has put together.
const LONGEST_FRAME: usize = 70_000;
/// How long one receive waits.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(50);

/// A raw socket bound to one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens one on `device` of the calling thread's network namespace.
    pub(super) fn open(device: &str) -> Result<Self> {
        let index = if_nametoindex(device).with_context(|| format!("there is no interface {device}"))?;
        // Protocol 0 receives nothing: frames of other interfaces must not get in before the bind.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .context("cannot open a packet socket")?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        let timeout = TimeVal::milliseconds(i64::try_from(RECEIVE_TIMEOUT.as_millis())?);
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)?;
        bind(socket.as_raw_fd(), &link_address(index)?).with_context(|| format!("cannot bind to {device}"))?;
        Ok(Self { socket })
    }

    /// Sends one frame, which begins with its destination MAC. Waits for room.
    ///
    /// # Errors
    /// When the frame is shorter than an Ethernet header or longer than the MTU allows.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                // The interface's queue is full: it empties by itself.
                Err(Errno::ENOBUFS) => std::thread::yield_now(),
                Err(error) => return Err(error).context("cannot send the frame"),
            }
        }
    }

    /// The next frame, or `None` when none came for a moment.
    pub(super) fn receive(&self) -> Result<Option<(Direction, Vec<u8>)>> {
        let mut buffer = vec![0; LONGEST_FRAME];
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
            Ok((length, address)) => {
                buffer.truncate(length);
                let outgoing = address.is_some_and(|address| address.pkttype() == libc::PACKET_OUTGOING);
                Ok(Some((if outgoing { Direction::Out } else { Direction::In }, buffer)))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error).context("cannot receive frames"),
        }
    }
}

fn link_address(interface: u32) -> Result<LinkAddr> {
    let every_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    let raw = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: every_protocol,
        sll_ifindex: i32::try_from(interface)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: `raw` is a whole sockaddr_ll that outlives the call, and `length` is its size.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) };
    address.context("the kernel's address form changed")
}
