//! Drives hyper's part of a connection, of either version, until it is over.
//!
//! In: a connection of hyper, and what [`super::watch`] knows of its time. Out: how it ended. Absent: what follows.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;

use super::Connection;
use super::body::Outgoing;
use super::executor::Streams;
use super::timer::Timer;
use super::watch::{Expired, Watched};
use crate::proxy::relay::End;

/// A connection of hyper, of either version.
pub(super) trait Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;
    /// What is under way is finished, and nothing new begins.
    fn finish(&mut self);
}

/// How a connection ended.
pub(super) enum Driven {
    Done,
    Broken(hyper::Error),
    Expired(Expired),
    /// It was cut, because its service was removed.
    Cut,
}

/// Drives a connection until it ends, its time is up, or its service goes.
pub(super) async fn drive(connection: &Connection, driver: &mut impl Driver) -> Driven {
    let service = &connection.service;
    let mut finish = Box::pin(service.finish.after(0));
    let mut cut = Box::pin(service.cut.after(0));
    let mut timer = Timer::default();
    let (mut registered, mut finishing) = (false, false);
    poll_fn(move |cx| {
        // Waiting for both is registered once; afterwards their numbers tell.
        if !registered || service.finish.number() > 0 {
            registered = true;
            if cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Driven::Cut);
            }
            // A client of HTTP/1.1 is told with its next answer: who closes an idle connection may meet a request on it.
            if connection.is_h2 && !finishing && finish.as_mut().poll(cx).is_ready() {
                finishing = true;
                driver.finish();
            }
        }
        if let Poll::Ready(result) = driver.poll(cx) {
            return Poll::Ready(result.map_or_else(Driven::Broken, |()| Driven::Done));
        }
        let running = service.glance();
        match connection.watch.deadline(&running.config.proxy.timeouts) {
            Some((deadline, what)) if timer.is_over(deadline, cx) => match what {
                // HTTP/2 says good-bye; HTTP/1.1 just closes, both by finishing.
                Expired::Idle if !finishing => {
                    finishing = true;
                    driver.finish();
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                what => Poll::Ready(Driven::Expired(what)),
            },
            _ => Poll::Pending,
        }
    })
    .await
}

impl<S, H> Driver for http1::Connection<Watched<S>, H>
where
    S: End + 'static,
    H: HttpService<Incoming, ResBody = Outgoing, Future: Unpin> + Unpin,
    H::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.poll_without_shutdown(cx)
    }

    fn finish(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl<S, H> Driver for http2::Connection<Watched<S>, H, Streams>
where
    S: End + 'static,
    H: HttpService<Incoming, ResBody = Outgoing, Future: 'static>,
    H::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Future::poll(Pin::new(self), cx)
    }

    fn finish(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}
