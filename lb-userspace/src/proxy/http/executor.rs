//! Runs hyper's tasks on the worker that they belong to, and ends those of clients that do not read.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::rt::Executor;
use tokio::task::spawn_local;

use super::Connection;
use super::timer::Timer;

/// The worker of whoever asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F> Executor<F> for Local
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

/// Whether the client of a stream of HTTP/2 reads. Its window may be closed while its connection takes everything, and
/// then nothing else tells.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// A part of the answer is ready since then, and has not gone.
    held: Cell<Option<Instant>>,
    /// It was held for too long.
    given_up: Cell<bool>,
}

impl Reading {
    /// A part of the answer is ready. hyper asks for the next one when the client has room for this one.
    pub(super) fn holds(&self) {
        self.held.set(Some(Instant::now()));
    }

    /// The next part is waited for.
    pub(super) fn waits(&self) {
        self.held.set(None);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }
}

/// The streams of one connection.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Rc<Connection>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    /// hyper has asked for the answer just before.
    fn execute(&self, task: F) {
        let connection = Rc::clone(&self.0);
        match connection.newest.take() {
            Some(reading) => {
                drop(spawn_local(Stream { task: Box::pin(task), reading, connection, timer: Timer::default() }));
            }
            None => drop(spawn_local(task)),
        }
    }
}

/// A stream that is reset when its client has not read for longer than the timeout.
struct Stream<F> {
    task: Pin<Box<F>>,
    reading: Rc<Reading>,
    connection: Rc<Connection>,
    timer: Timer,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { task, reading, connection, timer } = self.get_mut();
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = reading.held.get() else { return Poll::Pending };
        let timeout = connection.service.glance().config.proxy.timeouts.client;
        if !timer.is_over(since + timeout, cx) {
            return Poll::Pending;
        }
        // Dropped, it resets the stream; the others of the connection go on.
        reading.given_up.set(true);
        Poll::Ready(())
    }
}
