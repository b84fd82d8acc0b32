//! A running script: its end is awaited without a thread, and it never outlives its owner.
//!
//! In: a command that makes itself leader of a group. Out: its end, its status. Dropped, it kills the group, and
//! leaves a task to the runtime that reaps what was killed.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::sandbox;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Running(Option<Process>);

#[derive(Debug)]
struct Process {
    child: Child,
    descriptor: AsyncFd<OwnedFd>,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        match sandbox::descriptor(&child) {
            Ok(descriptor) => Ok(Self(Some(Process { child, descriptor }))),
            Err(error) => {
                kill(&child);
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Waits until it has ended. It stays a zombie, so that its number remains its own.
    pub(super) async fn exited(&self) -> io::Result<()> {
        match &self.0 {
            Some(process) => process.descriptor.readable().await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Kills it with all of its group.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.0 {
            kill(&process.child);
        }
    }

    /// Its status, after it has [`exited`](Self::exited).
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        match self.0.take() {
            Some(mut process) => process.child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut process) = self.0.take() else { return };
        kill(&process.child);
        if matches!(process.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Dying takes a moment, more so for who waits for a disk. Without a runtime the daemon ends itself, and
        // init reaps.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if process.descriptor.readable().await.is_ok() {
                    let _ = process.child.wait();
                }
            });
        }
    }
}

/// Only before the child is waited for: afterwards its number may be somebody else's.
fn kill(child: &Child) {
    #[expect(clippy::cast_possible_wrap, reason = "process ids are below 2^22")]
    let group = Pid::from_raw(child.id() as i32);
    // No such group: everybody has ended.
    let _ = killpg(group, Signal::SIGKILL);
}
