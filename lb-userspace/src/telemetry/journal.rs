//! The systemd journal: whether standard error goes there, and the layer that writes entries.

use std::io;

use nix::sys::stat::fstat;
use tracing_journald::{Layer, Priority, PriorityMappings};

/// Whether standard error is the stream that systemd connected to the journal.
pub(super) fn is_stderr() -> bool {
    let Ok(status) = fstat(io::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(&stream, status.st_dev, status.st_ino))
}

/// systemd.exec(5): `JOURNAL_STREAM` is device and inode of the stream. A program that is started with
/// its standard error elsewhere inherits the variable all the same.
pub(super) fn is_stream(variable: &str, device: u64, inode: u64) -> bool {
    let Some((first, second)) = variable.split_once(':') else { return false };
    first.parse() == Ok(device) && second.parse() == Ok(inode)
}

/// Entries with the fields of each event: `service` becomes `SERVICE=`.
pub(super) fn layer() -> io::Result<Layer> {
    let priorities = PriorityMappings {
        // As the words are meant here: an information is no notice, and only traces are below debugging.
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    };
    Ok(tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier("lbd".to_owned())
        .with_priority_mappings(priorities))
}
