//! What a script may do: all `unsafe` of this folder is here.
//!
//! It runs as user `nobody` and group `nogroup` without other groups, so without any capability; in a session of its
//! own; with limits; and it dies when the daemon dies. It has no descriptor but its three.
//!
//! It is able to gain privileges by programs that grant them (`PR_SET_NO_NEW_PRIVS` is not set), as every user is:
//! `ping`, which scripts of appliances live on, is such a program, by its capability CAP_NET_RAW. Only root may
//! write the script.
//!
//! A child that leaves the process group (`setsid`) is not killed with the script; its time on a processor is limited
//! all the same.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::Duration;

use libc::{c_int, c_ulong};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, User, getpid, getppid, setsid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has `command` run as nobody, within limits.
pub(super) fn confine(command: &mut Command, timeout: Duration) {
    let (user, group) = nobody();
    let daemon = getpid();
    let seconds = timeout.as_secs() + 1;
    let hook = move || {
        setsid()?;
        prctl(libc::PR_SET_PDEATHSIG, c_ulong::from(libc::SIGKILL.unsigned_abs()))?;
        // The daemon may have died before the line above.
        if getppid() != daemon {
            return Err(io::ErrorKind::Interrupted.into());
        }
        umask(Mode::from_bits_truncate(0o077));
        for (resource, limit) in LIMITS {
            setrlimit(*resource, *limit, *limit)?;
        }
        setrlimit(Resource::RLIMIT_CPU, seconds, seconds)?;
        close_others_on_exec()
    };
    command.uid(user).gid(group);
    // SAFETY: the hook runs between fork and exec, after the user has changed. It makes system calls and nothing
    // else: no allocation, no lock, no access to anything but copied integers. An error without a system error
    // number is passed on by number as well.
    unsafe { command.pre_exec(hook) };
}

/// The user and the group that own nothing.
fn nobody() -> (u32, u32) {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    *IDS.get_or_init(|| {
        let user = User::from_name("nobody").ok().flatten().map_or(OVERFLOW, |user| user.uid.as_raw());
        let group = Group::from_name("nogroup").ok().flatten().map_or(OVERFLOW, |group| group.gid.as_raw());
        (user, group)
    })
}

/// A descriptor that becomes readable when the child has ended, while it is not yet waited for.
pub(super) fn descriptor(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the call takes two integers. What it returns is a new descriptor, or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(child.id()), 0) };
    let fd = match c_int::try_from(fd) {
        // SAFETY: the kernel has just given it to us, and nobody else knows of it.
        Ok(fd) if fd >= 0 => unsafe { OwnedFd::from_raw_fd(fd) },
        _ => return Err(io::Error::last_os_error()),
    };
    // SAFETY: the AsyncFd owns it, so it stays open and the same as long as it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

fn prctl(option: c_int, value: c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take one integer.
    let result = unsafe { libc::prctl(option, value, 0, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whatever descriptor was opened without care: the script does not get it.
fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: the call takes three integers, and only marks descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Per process, but for the last one: that counts all processes of nobody.
const LIMITS: &[(Resource, u64)] = &[
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_NOFILE, 1024),
    (Resource::RLIMIT_FSIZE, 16 << 20),
    // Of addresses, not of memory: runtimes reserve far more than they use.
    (Resource::RLIMIT_AS, 4 << 30),
    (Resource::RLIMIT_NPROC, 4096),
];

/// What the kernel itself calls nobody (Documentation/admin-guide/sysctl/fs.rst, overflowuid).
const OVERFLOW: u32 = 65_534;
