//! The Unix socket in the file system: who may open it, and whose it is.
//!
//! In: a path. Out: a listener and the file that vanishes with it. Absent: HTTP.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use crate::advice;

/// Only the owner, root, may connect.
const SOCKET_MODE: u32 = 0o600;
/// Anyone may see that the daemon is there.
const DIRECTORY_MODE: u32 = 0o755;
/// Bytes of a path, unix(7): the 108 of `sun_path` end with a zero.
const LONGEST: usize = 107;
/// Clients that wait to be accepted; the next one is told to try again.
const BACKLOG: i32 = 128;

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has the socket.
    #[error("lbd is already running (socket {}); `lbctl status` shows what it does, `lbctl stop` ends it", .0.display())]
    AlreadyRunning(PathBuf),
    /// Something else has the name.
    #[error("{} is in the way: it is not a socket; move it away, or name another path for the socket", .0.display())]
    NotASocket(PathBuf),
    /// Longer than an address of a Unix socket.
    #[error(
        "the path of the socket has {} bytes, and the kernel takes at most {LONGEST}: name a shorter one with --socket \
         instead of {}",
        .0.as_os_str().len(),
        .0.display()
    )]
    TooLong(PathBuf),
    /// The system refused.
    #[error("cannot {action} {}: {reason}{}", .path.display(), advice::about(reason, path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
}

/// The name of the socket; removed on drop, while the lock still says that it is ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the next daemon finds it stale.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens at `path`, replacing what a dead daemon left there.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    if path.as_os_str().len() > LONGEST {
        return Err(BindError::TooLong(path.to_owned()));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(io_error("create the directory", directory))?;
    let lock = take_lock(path)?;
    remove_stale(path)?;
    let listener = listen(path)?;
    Ok((listener, SocketFile { path: path.to_owned(), _lock: lock }))
}

/// Two daemons that start at once would both find the old socket stale; the lock lets one of them
/// go on. The kernel drops it with the process, however that ends.
fn take_lock(socket: &Path) -> Result<File, BindError> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(SOCKET_MODE)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::AlreadyRunning(socket.to_owned())),
        Err(TryLockError::Error(reason)) => Err(io_error("lock", &path)(reason)),
    }
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(reason) => return Err(io_error("look at", path)(reason)),
    };
    if !kind.is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    if answers(path)? {
        return Err(BindError::AlreadyRunning(path.to_owned()));
    }
    fs::remove_file(path).map_err(io_error("remove the stale socket", path))
}

/// Whether a process listens at `path`.
fn answers(path: &Path) -> Result<bool, BindError> {
    let probe = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A full backlog must not hold up the start.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match probe() {
        Ok(()) => Ok(true),
        // unix(7): the backlog is full, so somebody listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(false),
        Err(reason) => Err(io_error("connect to", path)(reason)),
    }
}

fn listen(path: &Path) -> Result<UnixListener, BindError> {
    let start = || -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before `listen`, so the mode is never wider than meant.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into())
    };
    start().map_err(io_error("listen at", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |reason| BindError::Io { action, path, reason }
}
