//! Whether a file is still the one that was read.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file as it is now.
    pub(crate) fn of(file: &Path) -> io::Result<Self> {
        fs::metadata(file).map(|data| Self::of_metadata(&data))
    }

    /// Of what is known about a file.
    pub(crate) fn of_metadata(data: &fs::Metadata) -> Self {
        Self { inode: data.ino(), size: data.size(), modified: (data.mtime(), data.mtime_nsec()) }
    }
}
