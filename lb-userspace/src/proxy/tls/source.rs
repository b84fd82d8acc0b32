//! Files that certificates are made of, read whole and known again.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::tls::Stamp;

/// A file that was read, and what it was then.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// Later stamps of the same content take the place of the first.
    stamp: Mutex<Stamp>,
    digest: [u8; 32],
    /// Whether everybody on this machine may read it.
    pub(super) open_to_all: bool,
}

impl Source {
    /// Reads a file; the error is a sentence.
    pub(super) fn read(path: &Path) -> Result<(Self, Zeroizing<Vec<u8>>), String> {
        let unreadable = |why: String| format!("{} cannot be read: {why}", path.display());
        let (stamp, mode, bytes) = read(path).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() > MOST_BYTES {
            return Err(unreadable(format!("it has more than {MOST_BYTES} bytes, which no certificate needs")));
        }
        let digest = sha256(&bytes);
        let source = Self { path: path.to_owned(), stamp: Mutex::new(stamp), digest, open_to_all: mode & 0o004 != 0 };
        Ok((source, bytes))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has another content by now, or none.
    pub(super) fn changed(&self) -> bool {
        let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if Stamp::of(&self.path).is_ok_and(|stamp| stamp == *known) {
            return false;
        }
        match read(&self.path) {
            Ok((stamp, _, bytes)) if bytes.len() <= MOST_BYTES && sha256(&bytes) == self.digest => {
                *known = stamp;
                false
            }
            _ => true,
        }
    }
}

fn read(path: &Path) -> io::Result<(Stamp, u32, Zeroizing<Vec<u8>>)> {
    let file = File::open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((Stamp::of_metadata(&data), data.permissions().mode(), bytes))
}

/// The fingerprint of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, bytes).as_ref());
    fingerprint
}

/// More than any chain with its key has.
const MOST_BYTES: usize = 1 << 20;
