//! Connections to ranges of ports, steered to one listening socket each.
//!
//! In: which socket each range of a VIP has. Out: connections arrive there. Absent: the sockets, and who
//! accepts; a socket that shares its port (SO_REUSEPORT) stands for all that share it.
//!
//! Nothing is pinned: the program goes when the process does. A second daemon that takes over attaches its
//! own beside, and replaces what this one chooses.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::SkLookup;
use lb_common::abi::{Address, DestinationPrefix, MAX_STEERED_RANGES};
use lb_core::config::model::PortRange;
use lb_core::proxy::steering::prefixes;

use super::{Error, Table, object};

/// Names of the program and its tables, in `lb-ebpf`.
const PROGRAM: &str = "lb_lookup";
const STEERED_PORTS: &str = "steered_ports";
const SOCKETS: &str = "sockets";

/// A range of ports of a VIP.
type Range = (IpAddr, PortRange);

/// The program, attached to a network namespace while this value lives.
pub struct Steering {
    /// Keeps the program attached.
    ebpf: Ebpf,
    steered_ports: Table<DestinationPrefix, u32>,
    sockets: Table<u32, u32>,
    /// The number of each range; its socket is found by it.
    numbers: BTreeMap<Range, u32>,
    /// The next number. None is used again: the program may be between two lookups.
    next: u32,
    /// What `steered_ports` holds.
    installed: BTreeMap<DestinationPrefix, u32>,
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

impl Steering {
    /// Loads the program and attaches it to the network namespace of the calling thread. It steers nothing yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load() -> Result<Self, Error> {
        let mut ebpf = Ebpf::load(object::LOOKUP).map_err(Error::Load)?;
        let steered_ports = match ebpf.take_map(STEERED_PORTS) {
            Some(Map::LpmTrie(map)) => Table::new(map, STEERED_PORTS.into())?,
            _ => return Err(Error::NoProgram(STEERED_PORTS)),
        };
        let sockets = match ebpf.take_map(SOCKETS) {
            Some(Map::SockHash(map)) => Table::new(map, SOCKETS.into())?,
            _ => return Err(Error::NoProgram(SOCKETS)),
        };
        let (numbers, installed) = (BTreeMap::new(), BTreeMap::new());
        let mut steering = Self { ebpf, steered_ports, sockets, numbers, next: 0, installed };
        let namespace = File::open("/proc/thread-self/ns/net")?;
        let program = steering.program()?;
        program.load().map_err(Error::loading)?;
        // The link is in the program's keeping, and goes with it.
        program.attach(namespace).map_err(Error::Program)?;
        Ok(steering)
    }

    /// The program, for what the kernel says about it.
    ///
    /// # Errors
    /// Never with an object of this version.
    pub fn program(&mut self) -> Result<&mut SkLookup, Error> {
        let program = self.ebpf.program_mut(PROGRAM).ok_or(Error::NoProgram(PROGRAM))?;
        program.try_into().map_err(Error::Program)
    }

    /// Steers these ranges, each to its listening TCP socket, and no others. Ranges of one VIP do not overlap.
    /// Those that stay are steered at every moment, also while their socket or their ends change: what is wanted is
    /// written before the rest is removed. A socket that is closed leaves by itself, and its range refuses
    /// connections until the next call.
    ///
    /// # Errors
    /// When there are too many ranges, or the kernel refuses. The next call goes on from there.
    pub fn set(&mut self, wanted: &BTreeMap<Range, BorrowedFd<'_>>) -> Result<(), Error> {
        let mut prefixes_wanted = BTreeMap::new();
        for (range, socket) in wanted {
            let number = self.number(*range)?;
            self.sockets.set(&number, &socket.as_raw_fd().unsigned_abs())?;
            prefixes_wanted.extend(keys(*range).map(|key| (key, number)));
        }
        // Longer prefixes first: they take their ports out of a shorter one that is there, and that one may then
        // become another range's.
        for (key, number) in prefixes_wanted.iter().rev() {
            if self.installed.get(key) != Some(number) {
                self.steered_ports.set(key, number)?;
                self.installed.insert(*key, *number);
            }
        }
        let gone: Vec<_> = self.installed.keys().filter(|key| !prefixes_wanted.contains_key(key)).copied().collect();
        for key in gone {
            self.steered_ports.remove(&key)?;
            self.installed.remove(&key);
        }
        // Last, see `lb_lookup`.
        let gone: Vec<_> = self.numbers.keys().filter(|range| !wanted.contains_key(range)).copied().collect();
        for range in gone {
            if let Some(number) = self.numbers.get(&range) {
                // Not there any more if it was closed.
                self.sockets.remove(number)?;
                self.numbers.remove(&range);
            }
        }
        Ok(())
    }

    /// The number of a range, a new one for a new range.
    fn number(&mut self, range: Range) -> Result<u32, Error> {
        if let Some(number) = self.numbers.get(&range) {
            return Ok(*number);
        }
        if self.numbers.len() >= MAX_STEERED_RANGES as usize {
            return Err(Error::TooManyRanges);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(range, number);
        Ok(number)
    }
}

/// The keys of the trie that are a range.
fn keys((vip, range): Range) -> impl Iterator<Item = DestinationPrefix> {
    let vip = Address::from(vip);
    prefixes(range).into_iter().map(move |(port, bits)| DestinationPrefix::ports(vip, port, bits))
}
