//! Where the lines about connections and requests go: a thread of its own writes them, so that a slow disk holds
//! up nobody.
//!
//! In: records. Out: lines in a file or in the daemon's log; how many were lost because too many waited. Absent:
//! what a line says, which is `lb_core::proxy::access_log`'s.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{Local, SecondsFormat};
use lb_core::config::model;
use lb_core::proxy::access_log::{Record, Sampling, line};
use tracing::{info, warn};

/// Lines that wait to be written.
const WAITING: usize = 8192;

/// Writes lines for all services.
#[derive(Debug)]
pub(super) struct Writer {
    lines: SyncSender<Line>,
    /// Lines that were not written, because too many waited or the file could not be written to.
    lost: Arc<AtomicU64>,
}

struct Line {
    to: Option<Arc<File>>,
    text: String,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (lines, inbox) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let missed = Arc::clone(&lost);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&inbox, &missed))?;
        Ok(Self { lines, lost })
    }

    /// The log of one service.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub(super) fn log(&self, config: &model::AccessLog, base: &Path) -> io::Result<Arc<AccessLog>> {
        let file = match &config.file {
            None => None,
            Some(path) => Some(Arc::new(OpenOptions::new().create(true).append(true).open(base.join(path))?)),
        };
        let (lines, lost) = (self.lines.clone(), Arc::clone(&self.lost));
        let sampling = Mutex::new(Sampling::new(config.sample));
        Ok(Arc::new(AccessLog { lines, lost, file, sampling }))
    }

    /// Lines that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn write(lines: &Receiver<Line>, lost: &AtomicU64) {
    let mut told = false;
    while let Ok(Line { to, mut text }) = lines.recv() {
        let Some(file) = to else {
            info!(target: "lb::access", "{text}");
            continue;
        };
        text.push('\n');
        match (&*file).write_all(text.as_bytes()) {
            Ok(()) => told = false,
            Err(error) => {
                lost.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut told, true) {
                    warn!(%error, "an access log cannot be written; its lines are lost until it can");
                }
            }
        }
    }
}

/// The access log of a service.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
    file: Option<Arc<File>>,
    sampling: Mutex<Sampling>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl AccessLog {
    /// Writes a line, if it is its turn or tells of an error. The date is put in here.
    pub(super) fn write(&self, record: &Record<'_>) {
        let mut sampling = self.sampling.lock().unwrap_or_else(PoisonError::into_inner);
        if !sampling.takes(record.is_error()) {
            return;
        }
        drop(sampling);
        let date = Local::now().to_rfc3339_opts(SecondsFormat::Millis, false);
        let text = line(&Record { date: &date, ..*record });
        if self.lines.try_send(Line { to: self.file.clone(), text }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
