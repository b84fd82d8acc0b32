//! Watches the time of a client's HTTP connection: how long it may be idle, take for a request's header, or leave
//! what is sent to it unread.
//!
//! In: what the connection does. Out: until when it may go on like that. Absent: timers; the connection has one, and
//! moves it only when it must ring earlier.

use std::cell::Cell;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use lb_core::config::model::Timeouts;
use tokio::io::{AsyncRead, AsyncWrite};

use super::counted::Counted;
use crate::proxy::registry::Seat;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request has come yet, since then.
    Fresh(Instant),
    /// Between two requests, since then.
    Idle(Instant),
    /// A header began to arrive then.
    Head(Instant),
    /// So many requests are being answered.
    Busy(u32),
}

/// Which time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nobody has asked for anything.
    Idle,
    /// The header did not arrive in time.
    Head,
    /// The client does not read.
    Unread,
}

/// The state of a connection, in cells that its parts share.
pub(super) struct Watch {
    phase: Cell<Phase>,
    /// The client has not taken what was to be sent, since then.
    blocked: Cell<Option<Instant>>,
    /// HTTP/2: what arrives between two requests need not be a request.
    frames: bool,
    /// Where the connection is listed.
    pub(super) seat: Seat,
}

impl Watch {
    pub(super) fn new(frames: bool, seat: Seat) -> Rc<Self> {
        Rc::new(Self { phase: Cell::new(Phase::Fresh(Instant::now())), blocked: Cell::new(None), frames, seat })
    }

    /// Bytes have arrived.
    fn read(&self) {
        match self.phase.get() {
            Phase::Fresh(_) => self.phase.set(Phase::Head(Instant::now())),
            Phase::Idle(_) if !self.frames => self.phase.set(Phase::Head(Instant::now())),
            Phase::Idle(_) | Phase::Head(_) | Phase::Busy(_) => {}
        }
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        let under_way = match self.phase.get() {
            Phase::Busy(requests) => requests,
            Phase::Fresh(_) | Phase::Idle(_) | Phase::Head(_) => 0,
        };
        self.phase.set(Phase::Busy(under_way + 1));
    }

    /// A request has been answered.
    pub(super) fn end(&self) {
        if let Phase::Busy(requests) = self.phase.get() {
            self.phase.set(match requests {
                0 | 1 => {
                    self.seat.rests();
                    Phase::Idle(Instant::now())
                }
                more => Phase::Busy(more - 1),
            });
        }
    }

    /// When the time of what it does now is up, and what that means.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Expired)> {
        let blocked = self.blocked.get().map(|since| (since + timeouts.client, Expired::Unread));
        let phase = match self.phase.get() {
            // Who has sent nothing at all may be a browser that keeps a connection ready.
            Phase::Fresh(since) => Some((since + timeouts.request, Expired::Idle)),
            Phase::Head(since) => Some((since + timeouts.request, Expired::Head)),
            Phase::Idle(since) => Some((since + timeouts.keep_alive, Expired::Idle)),
            Phase::Busy(_) => None,
        };
        // A client that does not read its last answer is not idle.
        blocked.or(phase)
    }
}

/// A connection whose doings are watched.
pub(super) struct Watched<S> {
    io: TokioIo<Counted<S>>,
    watch: Rc<Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: Rc<Watch>) -> Self {
        Self { io: TokioIo::new(Counted { stream, watch: Rc::clone(&watch) }), watch }
    }

    /// The connection itself, once hyper has let go of it.
    pub(super) fn into_inner(self) -> S {
        self.io.into_inner().stream
    }

    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        match &polled {
            Poll::Ready(_) => self.watch.blocked.set(None),
            Poll::Pending if self.watch.blocked.get().is_none() => self.watch.blocked.set(Some(Instant::now())),
            Poll::Pending => {}
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> Read for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.watch.read();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
