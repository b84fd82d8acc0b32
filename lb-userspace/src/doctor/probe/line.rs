//! A packet socket that asks on one device, and hears what answers.
//!
//! In: frames. Out: the frames that its filter lets through. Absent: what they mean.

use std::io::{self, ErrorKind, Read};
use std::mem::ManuallyDrop;

use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::{Device, ProbeError};
use crate::netlink::packet::link_address;

/// The socket, closed soon after it is dropped.
#[derive(Debug)]
pub(super) struct Line {
    socket: ManuallyDrop<AsyncFd<Socket>>,
    device: Device,
    to: SockAddr,
}

/// Where answers are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// On the device that was asked on.
    Device,
    /// On every device of this machine.
    Machine,
}

impl Line {
    /// Must be called within a tokio runtime.
    pub(super) fn open(device: &Device, hears: Hears, filter: &[SockFilter]) -> Result<Self, ProbeError> {
        let failed = |error| failure("open a packet socket", device, error);
        let socket = bound(device, hears, filter).map_err(failed)?;
        let to = link_address(device.ifindex, 0).map_err(failed)?;
        // SAFETY: the socket owns its descriptor, and is neither replaced nor closed before the `AsyncFd`.
        let registered = unsafe { AsyncFd::register(socket) };
        let socket = registered.map_err(io::Error::from).map_err(failed)?;
        Ok(Self { socket: ManuallyDrop::new(socket), device: device.clone(), to })
    }

    /// Hands a frame to the device's queue, when there is room.
    pub(super) async fn send(&self, frame: &[u8]) -> Result<(), ProbeError> {
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| socket.send_to(frame, &self.to)).await;
        sent.map(|_| ()).map_err(|error| failure("send", &self.device, error))
    }

    /// Hands a frame to the device's queue; what does not fit now is lost.
    pub(super) fn send_or_lose(&self, frame: &[u8]) {
        // Nobody waits for this frame, and whoever would be told has gone.
        let _ = self.socket.get_ref().send_to(frame, &self.to);
    }

    /// The next frame, or as much of it as there is room for.
    pub(super) async fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], ProbeError> {
        let received = loop {
            match self.socket.async_io(Interest::READABLE, |mut socket| socket.read(buffer)).await {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        let length = received.map_err(|error| failure("receive", &self.device, error))?;
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

impl Drop for Line {
    /// To close a packet socket takes the kernel some 15 ms, in which it waits for all CPUs
    /// (`synchronize_net`). Those of many probes wait together, and no probe waits for them.
    fn drop(&mut self) {
        // SAFETY: it is taken here alone, and nothing uses the line after this.
        let socket = unsafe { ManuallyDrop::take(&mut self.socket) }.into_inner();
        // Outside a runtime nobody else waits.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(socket));
        }
    }
}

/// The filter is there before the first frame can be.
fn bound(device: &Device, hears: Hears, filter: &[SockFilter]) -> io::Result<Socket> {
    // Protocol 0: nothing is received before it is bound (packet(7)).
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(filter)?;
    let ifindex = match hears {
        Hears::Device => device.ifindex,
        Hears::Machine => EVERY_DEVICE,
    };
    let all = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?;
    socket.bind(&link_address(ifindex, all)?)?;
    Ok(socket)
}

fn failure(what: &'static str, device: &Device, source: io::Error) -> ProbeError {
    let name = device.name.clone();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ProbeError::NoPrivilege,
        Some(libc::ENODEV | libc::ENXIO) => ProbeError::DeviceGone { device: name },
        Some(libc::ENETDOWN) => ProbeError::DeviceDown { device: name },
        _ => ProbeError::Socket { what, device: name, source },
    }
}

/// packet(7): an interface number of 0 stands for all.
const EVERY_DEVICE: u32 = 0;
