//! What a script writes: the beginning is kept, the rest is read and forgotten, so that it never has to wait.

use std::future::Future;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// Standard output and standard error in one, as they come.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
    read: usize,
}

impl Output {
    /// The reading end, and the writing end for the script.
    pub(super) fn pipe() -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok((Self { pipe, kept: Vec::new(), read: 0 }, writer))
    }

    /// Reads until `end`; that everybody has closed the pipe is no end, and that somebody keeps it open does not
    /// delay it.
    pub(super) async fn read_until(&mut self, end: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        tokio::pin!(end);
        let mut buffer = vec![0; CHUNK];
        loop {
            tokio::select! {
                ended = &mut end => return ended,
                read = self.pipe.read(&mut buffer) => match read {
                    Ok(read) if read > 0 => self.take(&buffer[..read]),
                    _ => return end.await,
                },
            }
            if self.read > FLOOD {
                // Whoever writes without an end is read slowly: the time is better spent on other checks.
                tokio::select! {
                    ended = &mut end => return ended,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    /// What was written just before the end.
    pub(super) fn read_rest(&mut self) {
        let mut buffer = vec![0; CHUNK];
        while self.kept.len() < KEPT {
            match self.pipe.try_read(&mut buffer) {
                Ok(read) if read > 0 => self.take(&buffer[..read]),
                _ => return,
            }
        }
    }

    /// The first line that says something.
    pub(super) fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.read = self.read.saturating_add(bytes.len());
        let room = KEPT.saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().take(room));
    }
}

/// More than a sentence shows.
const KEPT: usize = 4096;
/// What a pipe holds.
const CHUNK: usize = 64 << 10;
const FLOOD: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(10);
