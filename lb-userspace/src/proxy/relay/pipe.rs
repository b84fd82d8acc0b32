//! Pipes through which the kernel moves bulk from socket to socket, without copying it.
//!
//! A pipe is lent for one read and the writes that follow; a connection keeps it only while its sink takes no more.
//! Each thread has its own, few of them.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::net::TcpStream;

/// A pipe, and how many bytes lie in it.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

impl Pipe {
    /// An empty pipe; `None`: none can be had now, and bytes have to be copied.
    pub(super) fn take() -> Option<Self> {
        let free = FREE.with_borrow_mut(Vec::pop);
        free.or_else(|| if OPEN.get() < MOST { Self::open().ok() } else { None })
    }

    fn open() -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        OPEN.set(OPEN.get() + 1);
        let pipe = Self { read, write, held: 0 };
        // A smaller one does its work too: the kernel limits the pipes of users without privileges.
        let _ = fcntl(&pipe.write, FcntlArg::F_SETPIPE_SZ(SIZE));
        Ok(pipe)
    }

    /// Leaves an empty pipe to the next who needs one.
    pub(super) fn give_back(self) {
        debug_assert_eq!(self.held, 0, "the next connection would get these bytes");
        FREE.with_borrow_mut(|free| {
            if free.len() < MOST_FREE && self.held == 0 {
                free.push(self);
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what `source` has received, as much as there is room for. The pipe must be empty: when it is full, the
    /// kernel gives the same answer as when nothing has been received.
    pub(super) fn fill(&mut self, source: &TcpStream) -> io::Result<usize> {
        debug_assert!(self.is_empty());
        self.held = splice(source, None, &self.write, None, LONGEST, flags())?;
        Ok(self.held)
    }

    /// Hands over what `sink` has room for.
    pub(super) fn drain(&mut self, sink: &TcpStream) -> io::Result<usize> {
        let taken = splice(&self.read, None, sink, None, self.held, flags())?;
        self.held -= taken;
        Ok(taken)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
    }
}

/// Pipes of this thread: all, and those that are free.
#[cfg(test)]
pub(super) fn counts() -> (usize, usize) {
    (OPEN.get(), FREE.with_borrow(Vec::len))
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

/// Room for 256 pieces, of which each may be as small as one packet's.
const SIZE: i32 = 1 << 20;

/// Bytes at a time.
const LONGEST: usize = 1 << 20;

/// Of one thread. A pipe that waits for its sink holds memory that no socket accounts for.
pub(super) const MOST: usize = 256;

/// More than one at a time is needed only by connections that wait for their sink.
pub(super) const MOST_FREE: usize = 16;
