//! Carries the bytes of one connection between a client and a real server, until both have said all.
//!
//! In: two open connections. Out: their bytes, on the other side; counts as they grow; how it ended. Absent: who
//! was chosen and why; TLS handshakes.
//!
//! What one side closes is closed towards the other when every byte before it has been handed over, and the other
//! direction goes on. A reset is passed on as a reset, so that what was cut short never looks complete. A side that
//! does not read stops the other one: between them lie at most the sockets' buffers and what one read has brought.

mod buffer;
mod end;
mod flow;
mod idle;
mod pace;
mod pipe;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};

pub use end::End;
pub use idle::{Idle, Side};

use super::connect::keep_alive;
use flow::{Flow, Turn};
use idle::Timers;

/// Is told of bytes as soon as they were handed over.
pub trait Meter {
    /// So many more bytes have gone to the real server.
    fn to_server(&self, bytes: u64);
    /// So many more bytes have gone to the client.
    fn to_client(&self, bytes: u64);
}

/// What became of a connection.
#[derive(Debug)]
pub struct Ended {
    /// Bytes handed to the real server's socket.
    pub to_server: u64,
    /// Bytes handed to the client's socket.
    pub to_client: u64,
    /// Why it is over.
    pub how: How,
}

/// Why a connection is over.
#[derive(Debug)]
pub enum How {
    /// Both sides closed, in order.
    Done,
    /// The client was silent for too long while it was to send or to receive.
    ClientTimeout,
    /// The same of the real server.
    ServerTimeout,
    /// The client's side broke, for example by a reset.
    ClientFailed(io::Error),
    /// The real server's side broke.
    ServerFailed(io::Error),
}

/// Relays between `client` and `server`, which send at once (TCP_NODELAY), and closes both.
///
/// `begun` was read from the client already; the real server gets it first. Where both ends are plain TCP, bulk goes
/// from socket to socket within the kernel. Dropping the future closes both connections where they are; `meter` has
/// the counts.
pub fn relay<C: End, S: End>(
    client: C,
    server: S,
    begun: Bytes,
    idle: Idle,
    meter: &impl Meter,
) -> impl Future<Output = Ended> {
    relay_since(client, server, begun, Timers::new(idle, Instant::now()), meter)
}

fn relay_since<C: End, S: End>(
    client: C,
    server: S,
    begun: Bytes,
    timers: Timers,
    meter: &impl Meter,
) -> impl Future<Output = Ended> {
    let (to_server, to_client) = (Flow::new(begun), Flow::new(Bytes::new()));
    let mut relay = Relay { client, server, to_server, to_client, timers, meter };
    // Made before the future, which would otherwise hold both ends twice.
    async move {
        let mut alarm = pin!(sleep_until(relay.timers.next_check().into()));
        let how = poll_fn(|context| relay.poll(alarm.as_mut(), context)).await;
        relay.end(how)
    }
}

struct Relay<'a, C, S, M> {
    client: C,
    server: S,
    to_server: Flow,
    to_client: Flow,
    timers: Timers,
    meter: &'a M,
}

impl<C: End, S: End, M: Meter> Relay<'_, C, S, M> {
    fn poll(&mut self, mut alarm: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<How> {
        let last = self.to_client.is_closed();
        let meter = |bytes| self.meter.to_server(bytes);
        let up = self.to_server.poll(&mut self.client, &mut self.server, last, meter, context);
        let last = self.to_server.is_closed();
        let meter = |bytes| self.meter.to_client(bytes);
        let down = self.to_client.poll(&mut self.server, &mut self.client, last, meter, context);

        self.note(&up, &down);
        match (up.source_failed, down.source_failed) {
            (Some(error), _) => return Poll::Ready(How::ClientFailed(self.to_client.take_error().unwrap_or(error))),
            (_, Some(error)) => return Poll::Ready(How::ServerFailed(self.to_server.take_error().unwrap_or(error))),
            (None, None) => {}
        }
        if self.to_server.is_over() && self.to_client.is_over() {
            let how = match (self.to_server.take_error(), self.to_client.take_error()) {
                (_, Some(error)) => How::ClientFailed(error),
                (Some(error), None) => How::ServerFailed(error),
                (None, None) => How::Done,
            };
            return Poll::Ready(how);
        }
        if up.has_more || down.has_more {
            // Others have their turn first.
            context.waker().wake_by_ref();
        }
        self.poll_alarm(alarm.as_mut(), context)
    }

    /// Tells the timers who was active, and of whom something is expected now.
    fn note(&mut self, up: &Turn, down: &Turn) {
        let client = (up.read || down.wrote, up.waits_for_source || down.waits_for_sink);
        let server = (down.read || up.wrote, down.waits_for_source || up.waits_for_sink);
        self.timers.note(client, server, Instant::now);
    }

    /// There is one alarm for the connection. It is moved when it rings, not when bytes come.
    fn poll_alarm(&mut self, mut alarm: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<How> {
        let check = self.timers.next_check();
        if check < alarm.deadline().into_std() {
            alarm.as_mut().reset(check.into());
        }
        loop {
            ready!(alarm.as_mut().poll(context));
            let now = Instant::now();
            if self.timers.has_become_long(now) {
                // Most connections are over by now, and were spared it. Not the client: one that sleeps for an hour
                // may go on where it was, if its timeout allows it.
                keep_alive(self.server.socket());
            }
            let check = match self.timers.expired(now) {
                Some(Side::Client) => return Poll::Ready(How::ClientTimeout),
                Some(Side::Server) => return Poll::Ready(How::ServerTimeout),
                None => self.timers.next_check(),
            };
            alarm.as_mut().reset(check.into());
        }
    }

    /// Leaves each side with what the other one did: whoever was cut off is reset, unless it had everything.
    fn end(self, how: How) -> Ended {
        let (reset_client, reset_server) = match how {
            How::Done => (false, false),
            How::ClientFailed(_) => (false, !self.to_server.is_closed()),
            How::ServerFailed(_) => (!self.to_client.is_closed(), false),
            // Who was silent may keep a queue of bytes in the kernel for long; a reset frees it.
            How::ClientTimeout => (self.to_client.is_held_up(), false),
            How::ServerTimeout => (false, self.to_server.is_held_up()),
        };
        for (reset, socket) in [(reset_client, self.client.socket()), (reset_server, self.server.socket())] {
            if reset {
                // What cannot be reset is broken already.
                let _ = socket.set_zero_linger();
            }
        }
        Ended { to_server: self.to_server.carried(), to_client: self.to_client.carried(), how }
    }
}
