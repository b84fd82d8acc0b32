//! What happened: into the log, into the list of events and its file, and to those who wait for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lb_core::control::Notice;
use lb_core::events::{Happening, Log};
use lb_core::view::{Event, EventKind, Events, EventsQuery, Severity};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Daemon;

/// A file of this size becomes the older one, and a new one is begun.
const FILE_BYTES: u64 = 2 << 20;

/// Queries that may wait at a time; one more is answered with what there is.
const WAITING: usize = 64;

/// The events and who waits for them.
pub(super) struct Happenings {
    log: Log,
    file: PathBuf,
    waiting: Vec<Waiting>,
    /// Why events are not kept over a restart.
    pub(super) problem: Option<String>,
}

struct Waiting {
    query: EventsQuery,
    until: Instant,
    reply: oneshot::Sender<Events>,
}

impl Happenings {
    /// Goes on from the events that were kept in this directory.
    pub(super) fn resume(directory: &Path) -> Self {
        let file = directory.join("events.jsonl");
        let mut log = Log::default();
        for path in [older(&file), file.clone()] {
            log.resume(read(&path).unwrap_or_default());
        }
        // A line that a crash cut short would swallow the next one; when it cannot be ended, the first write says why.
        let _ = end_line(&file);
        Self { log, file, waiting: Vec::new(), problem: None }
    }

    fn push(&mut self, happening: Happening) {
        let event = self.log.push(milliseconds(SystemTime::now()), happening);
        let kept = append(&self.file, event);
        self.problem = kept.err().map(|error| {
            format!("events do not survive a restart: {} cannot be written: {error}", self.file.display())
        });
        let log = &self.log;
        self.waiting.retain_mut(|waiting| !log.any(&waiting.query) || answer(waiting, log));
    }

    /// Answers a query, at once or when something has happened.
    pub(super) fn ask(&mut self, query: EventsQuery, reply: oneshot::Sender<Events>) {
        let wait = Duration::from_secs(query.wait_seconds.into());
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        if wait.is_zero() || self.log.any(&query) || self.waiting.len() >= WAITING {
            // Nobody listens any more: nothing to do.
            let _ = reply.send(self.log.select(&query));
            return;
        }
        self.waiting.push(Waiting { query, until: Instant::now() + wait, reply });
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let log = &self.log;
        self.waiting.retain_mut(|waiting| waiting.until > now || answer(waiting, log));
    }
}

/// Answers who waits; false, because it waits no more.
fn answer(waiting: &mut Waiting, log: &Log) -> bool {
    let (unused, _) = oneshot::channel();
    let _ = std::mem::replace(&mut waiting.reply, unused).send(log.select(&waiting.query));
    false
}

impl Daemon {
    /// Something happened to a real server.
    pub(super) fn notice(&mut self, notice: Notice) {
        let Notice { server, kind, worse, sentence, by } = notice;
        let severity = if worse { Severity::Warning } else { Severity::Info };
        self.happened(Happening {
            kind,
            severity,
            service: Some(server.service),
            server: Some(server.server),
            by,
            sentence,
        });
    }

    /// Something happened to the daemon or its configuration.
    pub(super) fn told(&mut self, kind: EventKind, severity: Severity, by: Option<&str>, sentence: impl Into<String>) {
        let by = by.map(str::to_owned);
        self.happened(Happening { kind, severity, service: None, server: None, by, sentence: sentence.into() });
    }

    /// Something happened.
    pub(super) fn happened(&mut self, happening: Happening) {
        let Happening { kind, severity, service, server, by, sentence } = &happening;
        let (service, server, by) = (service.as_deref(), server.as_deref(), by.as_deref());
        match severity {
            Severity::Warning => warn!(service, server, by, kind = kind.word(), "{sentence}"),
            Severity::Info => info!(service, server, by, kind = kind.word(), "{sentence}"),
        }
        self.metrics.happened(*kind, *severity);
        self.happenings.push(happening);
    }
}

/// Since 1970-01-01 UTC; a clock before that counts as that.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn older(file: &Path) -> PathBuf {
    file.with_extension("1.jsonl")
}

/// One line per event.
fn append(file: &Path, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut open = OpenOptions::new().create(true).append(true).open(file)?;
    let length = open.metadata()?.len();
    if length + line.len() as u64 > FILE_BYTES {
        fs::rename(file, older(file))?;
        open = OpenOptions::new().create(true).append(true).open(file)?;
    }
    let length = open.metadata()?.len();
    open.write_all(&line).inspect_err(|_| {
        // Half a line would swallow the next one.
        let _ = open.set_len(length);
    })
}

/// Ends the last line, if it was cut short.
fn end_line(file: &Path) -> io::Result<()> {
    let mut open = OpenOptions::new().read(true).append(true).open(file)?;
    if open.seek(SeekFrom::End(-1)).is_ok() {
        let mut last = [0];
        open.read_exact(&mut last)?;
        if last != *b"\n" {
            open.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// The events of a file, those lines left out that are none.
fn read(file: &Path) -> io::Result<Vec<Event>> {
    let mut open = File::open(file)?;
    let length = open.metadata()?.len();
    open.seek(SeekFrom::Start(length.saturating_sub(2 * FILE_BYTES)))?;
    let mut text = Vec::new();
    open.take(2 * FILE_BYTES).read_to_end(&mut text)?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests;
