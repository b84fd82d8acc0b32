//! What to do about an error of the file system: the end of a sentence.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Begins with `; ` when there is something to advise, else empty.
pub(crate) fn about(error: &io::Error, path: &Path) -> String {
    let place = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = place.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("; make room there: `df {place}` and `df -i {place}` show what is left")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("; mount that file system writable (`findmnt -T {place}` shows it), or name another place")
        }
        ErrorKind::PermissionDenied => "; lbd needs root, and the right to write there".to_owned(),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => format!("; {} has to be a directory", not_one(path)),
        ErrorKind::NotFound => format!("; make the directory {place}"),
        _ => String::new(),
    }
}

/// What stands where a directory should be, on the way to `path`.
fn not_one(path: &Path) -> String {
    let found = path.ancestors().find(|place| place.exists() && !place.is_dir());
    found.unwrap_or(path).display().to_string()
}
