//! Keeps some of the process's files for what must not fail: health checks, the API, reloads. Without them every real
//! server would be down as soon as clients have used up what the process may open.
//!
//! In: a descriptor that was just opened. Out: whether too few are left. The kernel gives the lowest number that is
//! free, so that a high number says that all below are in use.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};

use nix::sys::resource::{Resource, getrlimit};

/// Of the files that the process may open, so many are not for connections.
const SHARE: u64 = 8;
/// No more than so many.
const MOST: u64 = 1024;

/// Descriptors that are held against the same limit: fewer than the least that is kept from everybody on a process
/// that may open a thousand.
const USES: u8 = 16;

/// Whether a client is to wait, whose connection is this.
pub(super) fn are_short(socket: &impl AsFd) -> bool {
    is_above(socket.as_fd().as_raw_fd(), 1)
}

/// Whether a connection to a real server is one too many. It may have half of what clients may not have: for clients
/// that are there already.
pub(super) fn are_very_short(socket: &impl AsFd) -> bool {
    is_above(socket.as_fd().as_raw_fd(), 2)
}

/// Whether they are still short, for a client that waits.
pub(super) fn are_still_short(socket: &impl AsFd) -> bool {
    nix::unistd::dup(socket.as_fd()).map_or(true, |next| are_short(&next))
}

fn is_above(number: RawFd, part: u64) -> bool {
    let limit = limit();
    u64::try_from(number).is_ok_and(|number| number >= limit - kept(limit) / part)
}

/// How many files the process may open. The kernel is not asked each time; an administrator who changes the limit of
/// a running process has it from one of the next connections on.
fn limit() -> u64 {
    thread_local! {
        /// The limit, and how often it may be used before it is asked for again.
        static KNOWN: Cell<(u64, u8)> = const { Cell::new((0, 0)) };
    }
    let (mut limit, mut uses) = KNOWN.get();
    if uses == 0 {
        // Without an answer nobody is short.
        limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(limit, _)| limit);
        uses = USES;
    }
    KNOWN.set((limit, uses - 1));
    limit
}

fn kept(limit: u64) -> u64 {
    (limit / SHARE).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_of_the_files_is_kept_and_half_of_that_from_everybody() {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let (first, last) = (limit - kept(limit), limit - kept(limit) / 2);
        for (number, short, very) in
            [(first - 1, false, false), (first, true, false), (last - 1, true, false), (last, true, true)]
        {
            let number = RawFd::try_from(number).unwrap();
            assert_eq!((is_above(number, 1), is_above(number, 2)), (short, very), "{number} of {limit}");
        }
    }

    #[test]
    fn a_process_with_few_open_files_is_not_short() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!are_short(&socket) && !are_very_short(&socket) && !are_still_short(&socket));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!([0, 7, 400, 1_000_000].map(kept), [0, 0, 50, 1024]);
    }
}
