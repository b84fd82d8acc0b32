//! Two machines whose wire is this test: what one sends is read, tags and all, and written to the other.
//! Kernels without VLAN devices can be asked in VLANs this way.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::namespace::Namespace;

/// The test's end of a device `eth0`, which is up.
pub(crate) struct Tap(File);

impl Tap {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let file = namespace.inside(|| {
            let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
            let file = file.expect("the kernel has TAP devices");
            // SAFETY: ifreq consists of integers, for which zero bytes are a value.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(b"eth0") {
                *to = libc::c_char::try_from(*from).unwrap();
            }
            request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
            // SAFETY: the request is valid during the call, which keeps no pointer to it.
            let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            file
        });
        namespace.ip("link set eth0 up");
        Self(file)
    }
}

/// Carries frames between the balancer and a real server until it is dropped: of the balancer only those
/// with the tags `takes`, which are taken off; those of the real server with the tags `gives`.
pub(crate) async fn wire((balancer, takes): (&Tap, &[u8]), (server, gives): (&Tap, &[u8])) {
    let (balancer, server) = (registered(balancer), registered(server));
    loop {
        tokio::select! {
            frame = read(&balancer) => {
                if let Some(untagged) = frame[12..].strip_prefix(takes) {
                    write(&server, &[&frame[..12], untagged].concat());
                }
            }
            frame = read(&server) => write(&balancer, &[&frame[..12], gives, &frame[12..]].concat()),
        }
    }
}

fn registered(tap: &Tap) -> AsyncFd<File> {
    let file = tap.0.try_clone().unwrap();
    // SAFETY: the AsyncFd owns it, so it stays open and the same as long as it is registered.
    unsafe { AsyncFd::register(file) }.map_err(std::io::Error::from).unwrap()
}

async fn read(tap: &AsyncFd<File>) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = tap.async_io(Interest::READABLE, |mut file| file.read(&mut buffer)).await.unwrap();
    buffer[..length].to_vec()
}

fn write(tap: &AsyncFd<File>, frame: &[u8]) {
    tap.get_ref().write_all(frame).unwrap();
}
