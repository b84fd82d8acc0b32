//! One direction of a connection: from a source to a sink.

use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use libc::EINVAL;
use tokio::io::{Interest, ReadBuf};

use super::buffer;
use super::end::End;
use super::pace::Pace;
use super::pipe::Pipe;

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    state: State,
    carried: u64,
    /// The sink has taken bytes that it may still hold back (TLS).
    unflushed: bool,
    pace: Pace,
}

#[derive(Debug)]
enum State {
    /// The next bytes are to come.
    Reading,
    /// The sink has no room for these now.
    Writing(Bytes),
    /// The same, in a pipe.
    Draining(Pipe),
    /// The source has said all; the sink is to hear of it.
    Closing,
    Closed,
    /// The sink failed, and nothing more can be handed over.
    Broken(Option<io::Error>),
}

/// What one poll has done, and what it waits for.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) read: bool,
    pub(super) wrote: bool,
    pub(super) waits_for_source: bool,
    pub(super) waits_for_sink: bool,
    /// It waits for nothing: it stopped so that others have their turn.
    pub(super) has_more: bool,
    pub(super) source_failed: Option<io::Error>,
}

impl Flow {
    /// A direction in which the sink gets `begun` before anything is read.
    pub(super) fn new(begun: Bytes) -> Self {
        let state = if begun.is_empty() { State::Reading } else { State::Writing(begun) };
        Self { state, carried: 0, unflushed: false, pace: Pace::default() }
    }

    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// The source has closed, and the sink knows.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Broken(_))
    }

    /// Bytes lie here that the sink does not take.
    pub(super) fn is_held_up(&self) -> bool {
        matches!(self.state, State::Writing(_) | State::Draining(_))
    }

    /// Why the sink failed, the first time it is asked.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        match &mut self.state {
            State::Broken(error) => error.take(),
            State::Reading | State::Writing(_) | State::Draining(_) | State::Closing | State::Closed => None,
        }
    }

    /// Carries what there is. `last`: the other direction is closed already.
    pub(super) fn poll<A: End, B: End>(
        &mut self,
        source: &mut A,
        sink: &mut B,
        last: bool,
        meter: impl Fn(u64),
        context: &mut Context<'_>,
    ) -> Turn {
        let mut turn = Turn::default();
        for _ in 0..ROUNDS {
            let step = match mem::replace(&mut self.state, State::Reading) {
                State::Reading if A::PLAIN && B::PLAIN && self.pace.is_bulk() => {
                    self.splice(source, sink, &meter, &mut turn, context)
                }
                State::Reading => self.copy(source, sink, &meter, &mut turn, context),
                State::Writing(bytes) => self.write(sink, bytes, &meter, &mut turn, context),
                State::Draining(pipe) => self.drain(sink, pipe, &meter, &mut turn, context),
                State::Closing => self.close(sink, last, &mut turn, context),
                over @ (State::Closed | State::Broken(_)) => {
                    self.state = over;
                    Poll::Pending
                }
            };
            if step.is_pending() {
                return turn;
            }
        }
        turn.has_more = true;
        turn
    }

    /// One read, through the thread's buffer, and the write that follows.
    fn copy<A: End, B: End>(
        &mut self,
        source: &mut A,
        sink: &mut B,
        meter: &impl Fn(u64),
        turn: &mut Turn,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        buffer::with(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(source).poll_read(context, &mut read) {
                Poll::Pending => {
                    turn.waits_for_source = true;
                    return self.flush(sink, turn, context);
                }
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.state = State::Closing,
                Poll::Ready(Ok(())) => {
                    turn.read = true;
                    let bytes = read.filled();
                    self.pace.copied(bytes.len());
                    let taken = match self.hand_over(sink, bytes, meter, turn, context) {
                        Ok(taken) => taken,
                        Err(error) => return self.break_off(error),
                    };
                    let (_, left) = bytes.split_at(taken);
                    if !left.is_empty() {
                        self.state = State::Writing(Bytes::copy_from_slice(left));
                        return Poll::Pending;
                    }
                }
                // Many close their socket without the alert that ends TLS; what was read so far is true.
                Poll::Ready(Err(error)) if !A::PLAIN && error.kind() == ErrorKind::UnexpectedEof => {
                    self.state = State::Closing;
                }
                Poll::Ready(Err(error)) => return fail(turn, error),
            }
            Poll::Ready(())
        })
    }

    /// Hands over what the sink had no room for.
    fn write<B: End>(
        &mut self,
        sink: &mut B,
        mut bytes: Bytes,
        meter: &impl Fn(u64),
        turn: &mut Turn,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        match self.hand_over(sink, &bytes, meter, turn, context) {
            Ok(taken) => bytes.advance(taken),
            Err(error) => return self.break_off(error),
        }
        if bytes.is_empty() {
            return Poll::Ready(());
        }
        self.state = State::Writing(bytes);
        Poll::Pending
    }

    /// One read within the kernel, and the writes that follow.
    fn splice<A: End, B: End>(
        &mut self,
        source: &mut A,
        sink: &mut B,
        meter: &impl Fn(u64),
        turn: &mut Turn,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let socket = source.socket();
        match socket.poll_read_ready(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return fail(turn, error),
            Poll::Pending => {
                turn.waits_for_source = true;
                return Poll::Pending;
            }
        }
        let Some(mut pipe) = Pipe::take() else { return self.copy(source, sink, meter, turn, context) };
        match socket.try_io(Interest::READABLE, || pipe.fill(socket)) {
            Ok(0) => self.state = State::Closing,
            Ok(bytes) => {
                turn.read = true;
                self.pace.spliced(bytes);
                return self.drain(sink, pipe, meter, turn, context);
            }
            // The next round finds the socket not ready, and waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Some sockets and kernels know no splice.
            Err(error) if error.raw_os_error() == Some(EINVAL) => self.pace.never_splice(),
            Err(error) => return fail(turn, error),
        }
        pipe.give_back();
        Poll::Ready(())
    }

    /// Hands over what lies in the pipe.
    fn drain<B: End>(
        &mut self,
        sink: &mut B,
        mut pipe: Pipe,
        meter: &impl Fn(u64),
        turn: &mut Turn,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let socket = sink.socket();
        while !pipe.is_empty() {
            match socket.poll_write_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return self.break_off(error),
                Poll::Pending => {
                    turn.waits_for_sink = true;
                    self.state = State::Draining(pipe);
                    return Poll::Pending;
                }
            }
            match socket.try_io(Interest::WRITABLE, || pipe.drain(socket)) {
                Ok(0) => return self.break_off(ErrorKind::WriteZero.into()),
                Ok(taken) => self.account(taken, meter, turn),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return self.break_off(error),
            }
        }
        pipe.give_back();
        Poll::Ready(())
    }

    /// How many of `bytes` the sink takes now; if not all, it wakes the task when it has room.
    fn hand_over<B: End>(
        &mut self,
        sink: &mut B,
        bytes: &[u8],
        meter: &impl Fn(u64),
        turn: &mut Turn,
        context: &mut Context<'_>,
    ) -> io::Result<usize> {
        let mut left = bytes;
        while !left.is_empty() {
            match Pin::new(&mut *sink).poll_write(context, left)? {
                Poll::Ready(0) => return Err(ErrorKind::WriteZero.into()),
                Poll::Ready(taken) => {
                    left = left.get(taken..).unwrap_or_default();
                    self.account(taken, meter, turn);
                    self.unflushed = !B::PLAIN;
                }
                Poll::Pending => {
                    turn.waits_for_sink = true;
                    break;
                }
            }
        }
        Ok(bytes.len() - left.len())
    }

    fn account(&mut self, taken: usize, meter: &impl Fn(u64), turn: &mut Turn) {
        turn.wrote = true;
        self.carried += taken as u64;
        meter(taken as u64);
    }

    /// Has TLS send what it still holds, once no more comes for now. It is never ready: the source is waited for.
    fn flush<B: End>(&mut self, sink: &mut B, turn: &mut Turn, context: &mut Context<'_>) -> Poll<()> {
        if self.unflushed {
            match Pin::new(sink).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return self.break_off(error),
                Poll::Pending => turn.waits_for_sink = true,
            }
        }
        Poll::Pending
    }

    fn close<B: End>(&mut self, sink: &mut B, last: bool, turn: &mut Turn, context: &mut Context<'_>) -> Poll<()> {
        // The sockets are closed in a moment, and the kernel says so to the peer.
        if last && B::PLAIN {
            self.state = State::Closed;
            return Poll::Pending;
        }
        match Pin::new(sink).poll_shutdown(context) {
            Poll::Ready(Ok(())) => self.state = State::Closed,
            Poll::Ready(Err(error)) => return self.break_off(error),
            Poll::Pending => {
                turn.waits_for_sink = true;
                self.state = State::Closing;
            }
        }
        Poll::Pending
    }

    fn break_off(&mut self, error: io::Error) -> Poll<()> {
        self.state = State::Broken(Some(error));
        Poll::Pending
    }
}

fn fail(turn: &mut Turn, error: io::Error) -> Poll<()> {
    turn.source_failed = Some(error);
    Poll::Pending
}

/// Reads of one direction before others have their turn.
const ROUNDS: usize = 16;
