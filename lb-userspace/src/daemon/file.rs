//! Small files that outlive the daemon: replaced whole, read within bounds.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::advice;

/// No file of ours comes near this; a larger one is not ours.
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// Writes `value` as JSON. The old file stays whole until the new one is: a full disk changes nothing.
///
/// # Errors
/// When it cannot be written; the sentence names the file.
pub(super) fn replace(path: &Path, value: &impl Serialize) -> Result<(), Unkept> {
    let unkept = |reason: io::Error| Unkept { path: path.to_owned(), reason };
    let text = serde_json::to_vec(value).map_err(|error| unkept(error.into()))?;
    // What is there already takes no room on a disk that has none.
    if fs::metadata(path).is_ok_and(|file| file.len() == text.len() as u64)
        && fs::read(path).is_ok_and(|old| old == text)
    {
        return Ok(());
    }
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        // A rename may reach the disk before the content does, and orders have to survive a power cut.
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        // Half a file is of no use, and may be what fills the disk.
        let _ = fs::remove_file(&new);
        unkept(error)
    })
}

/// Reads what [`replace`] wrote; `None`: there is nothing, or nothing that can be used. Then the file is put
/// aside, so that the next write does not hide what was there.
pub(super) fn read<T: DeserializeOwned>(path: &Path, loss: &str) -> Option<T> {
    let read = File::open(path).and_then(|file| {
        let mut text = Vec::new();
        let length = file.take(MOST_BYTES + 1).read_to_end(&mut text)?;
        if length as u64 > MOST_BYTES { Err(io::Error::other("it is too large to be ours")) } else { Ok(text) }
    });
    let parsed = match read {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    parsed
        .inspect_err(|error| {
            let aside = path.with_extension("unreadable");
            let moved = fs::rename(path, &aside).map_or("", |()| "; it was put aside with the ending .unreadable");
            warn!("{} cannot be read ({error}){moved}: {loss}", path.display());
        })
        .ok()
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}{}", path.display(), advice::about(reason, path))]
pub(super) struct Unkept {
    path: PathBuf,
    reason: io::Error,
}

#[cfg(test)]
mod tests;
