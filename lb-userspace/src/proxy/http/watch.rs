//! Watches the time of a client's HTTP connection: how long it may be idle, take for a request's header, or leave
//! what is sent to it unread; when it rests.
//!
//! In: what the connection does. Out: until when it may go on like that. Absent: timers; the connection has one, and
//! moves it only when it must ring earlier.

use std::cell::Cell;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
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
    /// Nobody has asked for anything for a while, and what hyper holds ready is let go of.
    Rest,
}

/// The state of a connection, in cells that its parts share.
pub(super) struct Watch {
    phase: Cell<Phase>,
    /// The client has not taken what was to be sent, since then.
    blocked: Cell<Option<Instant>>,
    /// Something of what was written is still held back by TLS.
    flushing: Cell<bool>,
    /// HTTP/2: what arrives between two requests need not be a request.
    frames: bool,
    /// The last request had no body, of which something might still come.
    whole: Cell<bool>,
    /// Where the connection is listed.
    pub(super) seat: Seat,
}

impl Watch {
    pub(super) fn new(frames: bool, seat: Seat) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Fresh(Instant::now())),
            blocked: Cell::new(None),
            flushing: Cell::new(false),
            frames,
            whole: Cell::new(false),
            seat,
        })
    }

    /// Bytes have arrived.
    fn read(&self) {
        match self.phase.get() {
            Phase::Fresh(_) => self.phase.set(Phase::Head(Instant::now())),
            Phase::Idle(_) if !self.frames => self.phase.set(Phase::Head(Instant::now())),
            Phase::Idle(_) | Phase::Head(_) | Phase::Busy(_) => {}
        }
    }

    /// A request has begun; `whole`: it has no body.
    pub(super) fn begin(&self, whole: bool) {
        self.whole.set(whole);
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

    /// Whether hyper knows nothing of the connection that would be missed.
    fn may_rest(&self) -> bool {
        self.whole.get() && !self.frames && !self.flushing.get()
    }

    /// Until when a connection that rests may do so.
    pub(super) fn rests_until(&self, timeouts: &Timeouts) -> Instant {
        let since = match self.phase.get() {
            Phase::Idle(since) => since,
            Phase::Fresh(_) | Phase::Head(_) | Phase::Busy(_) => Instant::now(),
        };
        since + timeouts.keep_alive
    }

    /// When the time of what it does now is up, and what that means.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Expired)> {
        let blocked = self.blocked.get().map(|since| (since + timeouts.client, Expired::Unread));
        let phase = match self.phase.get() {
            // Who has sent nothing at all may be a browser that keeps a connection ready.
            Phase::Fresh(since) => Some((since + timeouts.request, Expired::Idle)),
            Phase::Head(since) => Some((since + timeouts.request, Expired::Head)),
            Phase::Idle(since) if self.may_rest() && timeouts.keep_alive > REST => Some((since + REST, Expired::Rest)),
            Phase::Idle(since) => Some((since + timeouts.keep_alive, Expired::Idle)),
            Phase::Busy(_) => None,
        };
        // A client that does not read its last answer is not idle.
        blocked.or(phase)
    }
}

/// How long after its last answer a connection rests.
const REST: Duration = Duration::from_millis(250);

/// A connection whose doings are watched.
pub(super) struct Watched<S> {
    io: TokioIo<Counted<S>>,
    /// What was read of it already.
    begun: Bytes,
    watch: Rc<Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, begun: Bytes, watch: Rc<Watch>) -> Self {
        Self { io: TokioIo::new(Counted { stream, watch: Rc::clone(&watch) }), begun, watch }
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
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.begun.is_empty() {
            let length = self.begun.len().min(buf.remaining());
            buf.put_slice(&self.begun.split_to(length));
            self.watch.read();
            return Poll::Ready(Ok(()));
        }
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
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch.flushing.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
