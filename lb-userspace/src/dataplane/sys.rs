//! The few commands of bpf(2) that aya does not offer: elements and batches of any type that
//! crosses the boundary as bytes, and reading what the program wrote. All `unsafe` of the dataplane is here.
//!
//! See linux/bpf.h, `union bpf_attr`, and kernel/bpf/syscall.c.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::{MapData, RingBuf};
use lb_common::abi::Plain;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An array of 64-bit words that kernel and daemon share (BPF_F_MMAPABLE).
pub(super) struct SharedWords {
    first: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory belongs to the map for as long as it is mapped, and is only used atomically.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `count` words of an array map whose entries are 64 bits.
    pub(super) fn map(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let (bytes, access) = (count * size_of::<u64>(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice; no memory of ours is touched.
        let first = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if first == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(first.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { first, count })
    }

    /// The words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `count` words are mapped until `self` is dropped, aligned to a page, and everybody who
        // has them uses them atomically.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and length, and nobody borrows it any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.count * size_of::<u64>()) };
    }
}

const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const LOOKUP_BATCH: libc::c_long = 24;
const UPDATE_BATCH: libc::c_long = 26;
const DELETE_BATCH: libc::c_long = 27;

/// Attributes of the commands on one element.
#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Attributes of the commands on many elements.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<()> {
    // SAFETY: the attributes are a prefix of `union bpf_attr` for this command; addresses in them
    // point to live buffers of the map's key and value sizes, which `table::Table` checked.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn raw(map: BorrowedFd<'_>) -> u32 {
    map.as_raw_fd().unsigned_abs()
}

fn address<T>(items: *const T) -> u64 {
    items as usize as u64
}

/// Reads the entry of `key` into `values`: one value, or one per CPU.
pub(super) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, values: &mut [V]) -> io::Result<bool> {
    let (key, value) = (address(key), address(values.as_mut_ptr()));
    let mut attributes = Element { map: raw(map), pad: 0, key, value, flags: 0 };
    match bpf(LOOKUP, &mut attributes) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the entry of `key`: one value, or one per CPU.
pub(super) fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, values: &[V]) -> io::Result<()> {
    let (key, value) = (address(key), address(values.as_ptr()));
    bpf(UPDATE, &mut Element { map: raw(map), pad: 0, key, value, flags: 0 })
}

/// Removes the entry of `key`; false when there was none.
pub(super) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    match bpf(DELETE, &mut Element { map: raw(map), pad: 0, key: address(key), value: 0, flags: 0 }) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where a walk over a map has come to. The kernel's hash maps count buckets in 32 bits; arrays
/// give back their last key, also 32 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    place: u64,
    begun: bool,
}

impl Cursor {
    /// Before this place of an array.
    pub(super) fn before(place: u32) -> Self {
        place.checked_sub(1).map_or_else(Self::default, |last| Self { place: last.into(), begun: true })
    }
}

/// Reads the next entries from `cursor` on. Returns how many, and whether more may follow.
/// `ENOSPC` (one bucket holds more than fits) is handed to the caller, who comes back with more room.
pub(super) fn lookup_batch<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    debug_assert_eq!(keys.len(), values.len());
    let mut next = 0_u64;
    let mut attributes = Batch {
        in_batch: if cursor.begun { address(&raw const cursor.place) } else { 0 },
        out_batch: address(&raw mut next),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        map: raw(map),
        ..Batch::default()
    };
    let more = match bpf(LOOKUP_BATCH, &mut attributes) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    *cursor = Cursor { place: next, begun: true };
    Ok((attributes.count as usize, more))
}

/// Writes many entries; all of them or an error.
pub(super) fn update_batch<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    debug_assert_eq!(keys.len(), values.len());
    let mut attributes = Batch {
        keys: address(keys.as_ptr()),
        values: address(values.as_ptr()),
        count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        map: raw(map),
        ..Batch::default()
    };
    bpf(UPDATE_BATCH, &mut attributes)
}

/// Removes entries, stopping at the first that is not there. Returns how many went.
pub(super) fn delete_batch<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<usize> {
    let mut attributes = Batch {
        keys: address(keys.as_ptr()),
        count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        map: raw(map),
        ..Batch::default()
    };
    match bpf(DELETE_BATCH, &mut attributes) {
        Ok(()) => Ok(keys.len()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(attributes.count as usize),
        Err(error) => Err(error),
    }
}

/// What the program wrote into a ring buffer, if it has the size of the type.
pub(super) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: as many bytes as the type has, of which every pattern is valid (`Plain`); no alignment is asked.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A ring buffer whose entries can be waited for. Needs a tokio runtime.
pub(super) fn awaited(events: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring buffer owns its descriptor, and neither it nor this crate closes or replaces that
    // while the ring buffer lives.
    Ok(unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?)
}
