//! One kernel table, typed. Pinned by its name, opened by its path.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapInfo};
use lb_common::abi::Plain;

use super::Error;
use super::sys::{self, Cursor, SharedWords};

/// Entries read at once by a walk; a round trip to the kernel each.
const BATCH: usize = 4096;

/// A kernel table from `K` to `V`.
#[derive(Debug)]
pub struct Table<K, V> {
    map: MapData,
    name: String,
    capacity: u32,
    per_cpu: usize,
    types: PhantomData<(K, V)>,
}

impl<K: Plain + Default, V: Plain + Default> Table<K, V> {
    /// Opens the table pinned at `directory/name`, whose key and entry sizes must be those of the
    /// types: the proof that bytes may be exchanged.
    ///
    /// # Errors
    /// When there is no such pin, or it is a table of another layout.
    pub fn open(directory: &Path, name: &str) -> Result<Self, Error> {
        let path = directory.join(name);
        let map = MapData::from_pin(&path).map_err(|reason| Error::Pin { path: path.clone(), reason })?;
        Self::new(map, path)
    }

    /// A table by its handle; `path` names it in errors.
    ///
    /// # Errors
    /// When it is a table of another layout.
    pub fn new(map: MapData, path: PathBuf) -> Result<Self, Error> {
        let info = map.info().map_err(|reason| Error::Pin { path: path.clone(), reason })?;
        if info.key_size() as usize != size_of::<K>() || info.value_size() as usize != size_of::<V>() {
            return Err(Error::Layout { path });
        }
        let per_cpu =
            if is_per_cpu(&info) { aya::util::nr_cpus().map_err(|(_, reason)| Error::Io(reason))? } else { 1 };
        if per_cpu > 1 && !size_of::<V>().is_multiple_of(8) {
            return Err(Error::Layout { path });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { capacity: info.max_entries(), map, name, per_cpu, types: PhantomData })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// Most entries it holds.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        let table = self.name.clone();
        move |reason| Error::Table { table, doing, reason }
    }

    /// The entry of `key`.
    ///
    /// # Errors
    /// When the kernel refuses; a missing entry is `None`.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        Ok(self.get_all(key)?.and_then(|values| values.first().copied()))
    }

    /// The entries of `key`, one for each CPU.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_all(&self, key: &K) -> Result<Option<Vec<V>>, Error> {
        let mut values = vec![V::default(); self.per_cpu];
        let found = sys::lookup(self.fd(), key, &mut values).map_err(self.failed("reading"))?;
        Ok(found.then_some(values))
    }

    /// Writes the entry of `key`, on all CPUs alike.
    ///
    /// # Errors
    /// When the kernel refuses: a hash table is full (`E2BIG`), an array has no such place.
    pub fn set(&self, key: &K, value: &V) -> Result<(), Error> {
        let values = vec![*value; self.per_cpu];
        sys::update(self.fd(), key, &values).map_err(self.failed("writing"))
    }

    /// Writes many entries in one call.
    ///
    /// # Errors
    /// As [`Self::set`]; some may have been written.
    pub fn set_many(&self, keys: &[K], values: &[V]) -> Result<(), Error> {
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
            sys::update_batch(self.fd(), keys, values).map_err(self.failed("writing"))?;
        }
        Ok(())
    }

    /// Removes the entry of `key`; false when there was none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        sys::delete(self.fd(), key).map_err(self.failed("removing from"))
    }

    /// Removes many entries; those that are gone already are passed over. Returns how many went.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_many(&self, keys: &[K]) -> Result<usize, Error> {
        let (mut at, mut removed) = (0, 0);
        while at < keys.len() {
            let chunk = &keys[at..keys.len().min(at + BATCH)];
            let went = sys::delete_batch(self.fd(), chunk).map_err(self.failed("removing from"))?;
            removed += went;
            // A batch stops at the first key that is not there: pass over it.
            at += if went < chunk.len() { went + 1 } else { went };
        }
        Ok(removed)
    }

    /// Walks over all entries in batches while `visit` says so. Entries that come and go meanwhile
    /// may or may not be seen; none is seen twice unless it was made anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn walk(&self, mut visit: impl FnMut(&[K], &[V]) -> bool) -> Result<(), Error> {
        let mut room = BATCH;
        let mut keys = vec![K::default(); room];
        let mut values = vec![V::default(); room];
        let mut cursor = Cursor::default();
        loop {
            match sys::lookup_batch(self.fd(), &mut cursor, &mut keys, &mut values) {
                Ok((count, more)) => {
                    let goes_on = visit(&keys[..count], &values[..count]);
                    if !more || !goes_on {
                        return Ok(());
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < self.capacity as usize => {
                    room *= 2;
                    keys.resize(room, K::default());
                    values.resize(room, V::default());
                }
                Err(error) => return Err(self.failed("walking over")(error)),
            }
        }
    }
}

impl Table<u32, u64> {
    /// The array itself, shared with the kernel.
    ///
    /// # Errors
    /// When the kernel refuses, or the table was not made for it.
    pub(super) fn share(&self) -> Result<SharedWords, Error> {
        SharedWords::map(self.fd(), self.capacity as usize).map_err(self.failed("mapping"))
    }
}

impl<V: Plain + Default> Table<u32, V> {
    /// The places of an array from `range.start` on, in order; none beyond its end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn places(&self, range: Range<u32>) -> Result<Vec<V>, Error> {
        let mut left = range.end.min(self.capacity).saturating_sub(range.start) as usize;
        let mut all = Vec::with_capacity(left);
        let mut cursor = Cursor::before(range.start);
        while left > 0 {
            let mut keys = vec![0_u32; left.min(BATCH)];
            let mut values = vec![V::default(); keys.len()];
            let read = sys::lookup_batch(self.fd(), &mut cursor, &mut keys, &mut values);
            let (count, more) = read.map_err(self.failed("reading"))?;
            all.extend_from_slice(&values[..count]);
            left -= count;
            if !more || count == 0 {
                break;
            }
        }
        Ok(all)
    }
}

fn is_per_cpu(info: &MapInfo) -> bool {
    use aya::maps::MapType;
    matches!(info.map_type(), Ok(MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash))
}
