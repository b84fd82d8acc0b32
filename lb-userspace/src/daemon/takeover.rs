//! Taking over from a running lbd, mostly of an earlier version, without a connection that is refused or cut.
//!
//! The new one has read its configuration and loaded its program before it asks. Then, over a Unix socket:
//!
//! ```text
//! new ── "lbd takes over" ──> old
//! new <── estate, sockets ─── old        it leaves tables, API and checks alone from here on
//! new <── "released" ──────── old
//! new ── "accepting" ───────> old        both have accepted until now; the old one closes its sockets
//! new <── connections left ── old        every second, until it ends
//! ```
//!
//! When the new one is gone before it accepts, the old one goes on as before.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::sync::mpsc;
use tracing::warn;

use crate::proxy::Estate;

/// What the new one says first; another version of this exchange says something else.
const HELLO: &[u8] = b"lbd takes over, 1\n";
const RELEASED: u8 = b'r';
const ACCEPTING: u8 = b'a';

/// Descriptors of one message; the kernel's limit is 253.
const BATCH: usize = 200;
/// The longest estate: records of a quarter million clients are some 50 MB.
const LONGEST: u32 = 1 << 30;
/// The new one reads its tables and opens its API in this time, or the old one goes on.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// For one message.
const MESSAGE: Duration = Duration::from_secs(10);

/// Where a running lbd waits for its successor.
pub(super) fn socket(runtime: &Path) -> PathBuf {
    runtime.join("takeover.sock")
}

/// Waits for successors; the loop gets them one at a time.
pub(super) fn listen(runtime: &Path) -> Result<(mpsc::Receiver<UnixStream>, Waiting)> {
    let path = socket(runtime);
    let _ = std::fs::remove_file(&path);
    let listener =
        tokio::net::UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let (sender, receiver) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let taken = stream.into_std().and_then(|stream| stream.set_nonblocking(false).map(|()| stream));
            match taken {
                Ok(stream) => {
                    if sender.send(stream).await.is_err() {
                        return;
                    }
                }
                Err(error) => warn!(%error, "a successor cannot be heard"),
            }
        }
    });
    Ok((receiver, Waiting { path, task }))
}

/// The socket of successors goes with it.
pub(super) struct Waiting {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The old one's end.
pub(super) struct Successor {
    stream: UnixStream,
    /// Its process; 0: unknown.
    pub(super) pid: i32,
}

impl Successor {
    /// Hears the successor out and gives it everything.
    pub(super) fn give(stream: UnixStream, pid: i32, estate: &Estate, sockets: &[BorrowedFd<'_>]) -> Result<Self> {
        stream.set_read_timeout(Some(MESSAGE))?;
        stream.set_write_timeout(Some(MESSAGE))?;
        let mut hello = vec![0; HELLO.len()];
        (&stream).read_exact(&mut hello)?;
        ensure!(hello == HELLO, "it speaks another version of this exchange");
        let bytes = serde_json::to_vec(estate)?;
        (&stream).write_all(&u32::try_from(bytes.len())?.to_be_bytes())?;
        (&stream).write_all(&bytes)?;
        for batch in sockets.chunks(BATCH) {
            let raw: Vec<RawFd> = batch.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
            let fds = [ControlMessage::ScmRights(&raw)];
            sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"s")], &fds, MsgFlags::empty(), None)?;
        }
        Ok(Self { stream, pid })
    }

    /// Tables and API are its own now; waits until it accepts connections.
    pub(super) fn release(&self) -> Result<()> {
        (&self.stream).write_all(&[RELEASED])?;
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let mut said = [0];
        (&self.stream).read_exact(&mut said).context("it has ended, or takes too long")?;
        ensure!(said == [ACCEPTING], "it says something that is not known");
        Ok(())
    }

    /// Tells how many connections are left; it may have gone.
    pub(super) fn left(&self, connections: u32) {
        let _ = (&self.stream).write_all(&connections.to_be_bytes());
    }
}

/// The new one's end.
pub(super) struct Predecessor {
    stream: UnixStream,
    /// Its process.
    pub(super) pid: u32,
}

impl Predecessor {
    /// Asks the running lbd for everything, and waits until it has let go.
    pub(super) fn ask(runtime: &Path) -> Result<(Self, Estate, Vec<OwnedFd>)> {
        let path = socket(runtime);
        let stream = UnixStream::connect(&path).with_context(|| {
            format!("there is no running lbd to take over from at {}; start without --take-over", path.display())
        })?;
        stream.set_read_timeout(Some(MESSAGE))?;
        stream.set_write_timeout(Some(MESSAGE))?;
        (&stream).write_all(HELLO)?;
        let mut length = [0; 4];
        (&stream).read_exact(&mut length).context("the running lbd does not let itself be taken over")?;
        let length = u32::from_be_bytes(length);
        ensure!(length <= LONGEST, "the running lbd says something that is not known");
        let mut bytes = vec![0; length as usize];
        (&stream).read_exact(&mut bytes)?;
        let estate: Estate = serde_json::from_slice(&bytes).context("what the running lbd leaves cannot be read")?;
        let expected: usize = estate.listeners.iter().map(|(_, count)| count).sum();
        let mut sockets = Vec::new();
        while sockets.len() < expected {
            receive(&stream, &mut sockets)?;
        }
        let mut said = [0];
        (&stream).read_exact(&mut said).context("the running lbd has not let go")?;
        ensure!(said == [RELEASED], "the running lbd says something that is not known");
        Ok((Self { stream, pid: estate.pid }, estate, sockets))
    }

    /// This process accepts connections: the old one need not any more.
    pub(super) fn accepting(&self) -> io::Result<()> {
        (&self.stream).write_all(&[ACCEPTING])
    }

    /// How many connections it has left, each time it says so; the last time was when the sender is gone.
    pub(super) fn follow(self) -> tokio::sync::watch::Receiver<Left> {
        let (sender, receiver) = tokio::sync::watch::channel(Left { pid: self.pid, connections: 0, gone: false });
        let told = std::thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
            let mut count = [0; 4];
            let _ = self.stream.set_read_timeout(None);
            while (&self.stream).read_exact(&mut count).is_ok() {
                sender.send_modify(|left| left.connections = u32::from_be_bytes(count));
            }
            sender.send_modify(|left| left.gone = true);
        });
        if let Err(error) = told {
            warn!(%error, "what the earlier lbd has left is not shown");
        }
        receiver
    }
}

/// What an earlier lbd has left to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) pid: u32,
    pub(super) connections: u32,
    pub(super) gone: bool,
}

fn receive(stream: &UnixStream, sockets: &mut Vec<OwnedFd>) -> Result<()> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut room = nix::cmsg_space!([RawFd; BATCH]);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        bail!("the running lbd has ended meanwhile");
    }
    let before = sockets.len();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else has them.
            sockets.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    ensure!(sockets.len() > before, "descriptors of the running lbd did not arrive: raise LimitNOFILE");
    Ok(())
}
