//! Features and driver of a network device, as `ethtool -k` and `ethtool -i` show them.
//!
//! In: the name of a device. Out: what the kernel says. The ioctl is used and not ethtool's generic
//! netlink: three requests here, against three crates for the same answer.

use std::ffi::{CStr, c_char};
use std::io;
use std::mem;
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Socket, Type};

// Commands and the number of the set of strings, include/uapi/linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETH_SS_FEATURES: u32 = 4;
/// ETH_GSTRING_LEN.
const NAME: usize = 32;
/// The kernel has some 64 features; more than this is no answer of its.
const MOST: usize = 1024;
/// Of the answer to `ETHTOOL_GDRVINFO`, `struct ethtool_drvinfo`; the driver's name begins behind the command.
const DRIVER_INFO: usize = 196;

/// Asks about devices of the network namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Ethtool(Socket);

impl Ethtool {
    /// # Errors
    /// When the system gives no socket.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(Socket::new(Domain::IPV4, Type::DGRAM, None)?))
    }

    /// The features that are on.
    ///
    /// # Errors
    /// When there is no such device, or it has no features to ask for.
    pub(super) fn features(&self, device: &str) -> io::Result<Vec<String>> {
        // struct ethtool_sset_info: command, reserved, a mask of sets (64 bits), a length for each.
        let mut sizes = words(&[ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0], 0);
        self.ask(device, &mut sizes)?;
        let count = word(&sizes, 4).and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= MOST);
        let count = count.ok_or_else(|| io::Error::other("the number of features makes no sense"))?;
        let length = u32::try_from(count).map_err(io::Error::other)?;

        // struct ethtool_gstrings: command, set, length, names.
        let mut names = words(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, length], count * NAME / 4);
        self.ask(device, &mut names)?;
        // struct ethtool_gfeatures: command, blocks; each block: available, requested, active, never changed.
        let blocks = count.div_ceil(32);
        let mut states = words(&[ETHTOOL_GFEATURES, u32::try_from(blocks).map_err(io::Error::other)?], blocks * 4);
        self.ask(device, &mut states)?;

        let names: Vec<u8> = names.iter().skip(3).flat_map(|word| word.to_ne_bytes()).collect();
        let is_on =
            |bit: usize| word(&states, 2 + bit / 32 * 4 + 2).is_some_and(|active| active >> (bit % 32) & 1 == 1);
        let on = names.chunks_exact(NAME).enumerate().filter(|(bit, _)| is_on(*bit));
        Ok(on.map(|(_, name)| text(name)).collect())
    }

    /// The name of its driver.
    ///
    /// # Errors
    /// When there is no such device, or it has no driver.
    pub(super) fn driver(&self, device: &str) -> io::Result<String> {
        let mut info = words(&[ETHTOOL_GDRVINFO], DRIVER_INFO / 4 - 1);
        self.ask(device, &mut info)?;
        let bytes: Vec<u8> = info.iter().skip(1).take(NAME / 4).flat_map(|word| word.to_ne_bytes()).collect();
        Ok(text(&bytes))
    }

    /// Has the kernel answer into `request`, whose first word is the command. The kernel writes as much as
    /// the request itself says there is room for.
    fn ask(&self, device: &str, request: &mut [u32]) -> io::Result<()> {
        // SAFETY: ifreq consists of integers and pointers, for which zero bytes are a value.
        let mut argument: libc::ifreq = unsafe { mem::zeroed() };
        // The last byte stays zero: the kernel reads the name up to it.
        let room = argument.ifr_name.len() - 1;
        if device.len() > room {
            return Err(io::Error::other(format!("{device} is longer than the name of a device may be")));
        }
        for (slot, byte) in argument.ifr_name.iter_mut().zip(device.bytes()) {
            *slot = c_char::from_ne_bytes([byte]);
        }
        argument.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
        // SAFETY: the argument and the request it points to are valid and writable during the call, and the
        // request has the room that its own fields claim: each caller makes it of that size.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &raw mut argument) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A request: these words, then room for the answer.
fn words(head: &[u32], room: usize) -> Vec<u32> {
    let mut words = head.to_vec();
    words.resize(head.len() + room, 0);
    words
}

fn word(words: &[u32], at: usize) -> Option<u32> {
    words.get(at).copied()
}

fn text(bytes: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
    String::from_utf8_lossy(text).into_owned()
}
