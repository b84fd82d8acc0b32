//! The health of real servers, kept for the daemon after this one.
//!
//! Kept beside the socket: it is of no use after a reboot. Moments are wall-clock times, as another process
//! has another clock.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lb_core::control::Memories;
use lb_core::health::Memory;
use lb_core::tables::ServerKey;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::happenings::milliseconds;
use super::{Daemon, file};

/// What was known is forgotten when nobody has looked for so long.
const STALE: Duration = Duration::from_secs(300);

/// Between two writes, however often servers change.
const PAUSE: Duration = Duration::from_millis(100);

/// A living daemon writes at least this often, or what it knows would become stale.
const REFRESH: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    at_ms: u64,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Server {
    service: String,
    server: String,
    address: IpAddr,
    up: bool,
    since_ms: u64,
    last_good_ms: Option<u64>,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("health.json")
}

/// What an earlier daemon knew, unless it is too long ago.
pub(super) fn read(directory: &Path, now: SystemTime) -> Memories {
    let kept: Kept = file::read(&path(directory), "every real server is checked anew").unwrap_or_default();
    let now = milliseconds(now);
    let ago = |then: u64| Duration::from_millis(now.saturating_sub(then));
    if ago(kept.at_ms) > STALE {
        return Memories::new();
    }
    let memory = |server: Server| {
        let key = ServerKey { service: server.service, server: server.server };
        let memory = Memory { up: server.up, since: ago(server.since_ms), last_good: server.last_good_ms.map(ago) };
        ((key, server.address), memory)
    };
    kept.servers.into_iter().map(memory).collect()
}

/// Writes it down.
fn keep(directory: &Path, memories: Memories, now: SystemTime) -> Result<(), file::Unkept> {
    let at_ms = milliseconds(now);
    let then = |ago: Duration| at_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
    let server = |((key, address), memory): ((ServerKey, IpAddr), Memory)| Server {
        service: key.service,
        server: key.server,
        address,
        up: memory.up,
        since_ms: then(memory.since),
        last_good_ms: memory.last_good.map(then),
    };
    let servers = memories.into_iter().map(server).collect();
    file::replace(&path(directory), &Kept { at_ms, servers })
}

/// Nothing is to be remembered any more.
pub(super) fn forget(directory: &Path) {
    // It becomes stale by itself.
    let _ = std::fs::remove_file(path(directory));
}

impl Daemon {
    /// When [`Self::keep_health`] has something to do.
    pub(super) fn health_deadline(&self) -> Instant {
        self.health_kept + if self.control.has_news() { PAUSE } else { REFRESH }
    }

    /// Writes down the health of the real servers when it has changed, and now and then.
    pub(super) fn keep_health(&mut self, now: Instant) {
        if self.health_deadline() <= now {
            self.keep_health_now(now);
        }
    }

    pub(super) fn keep_health_now(&mut self, now: Instant) {
        self.health_kept = now;
        // Without it the next daemon asks every server anew, which is no harm worth a word.
        if let Err(error) = keep(&self.options.runtime_dir(), self.control.remember(now), SystemTime::now()) {
            debug!(%error, "health is not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    //! Round trip, and what is too old.

    use super::*;

    fn key() -> (ServerKey, IpAddr) {
        let key = ServerKey { service: "PACS".to_owned(), server: "STORE1".to_owned() };
        (key, IpAddr::from([10, 0, 0, 1]))
    }

    #[test]
    fn health_is_remembered_for_five_minutes() {
        let folder = std::env::temp_dir().join(format!("lb-health-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let memory = Memory { up: false, since: Duration::from_secs(60), last_good: Some(Duration::from_secs(61)) };
        keep(&folder, Memories::from([(key(), memory)]), now).unwrap();

        let read_back = read(&folder, now + Duration::from_secs(10));
        let expected = Memory { up: false, since: Duration::from_secs(70), last_good: Some(Duration::from_secs(71)) };
        assert_eq!(read_back, Memories::from([(key(), expected)]));
        assert_eq!(read(&folder, now + Duration::from_secs(301)), Memories::new());
        forget(&folder);
        assert_eq!(read(&folder, now), Memories::new());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
