//! Whether a request moves on: who is waited for, and for how long already.
//!
//! In: what moves. Out: a [`Failure`] when client or real server was silent for too long, or the real server is cut.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::body::Progress;
use super::timer::Timer;
use crate::proxy::real_server::RealServer;
use lb_core::proxy::failure::Failure;

/// What wakes whoever uses a connection to a real server, beside the connection itself. It stays with the connection
/// and is lent to one request after the other, so that nothing is registered anew for each.
pub(super) struct Alarm {
    timer: Timer,
    cut: Cut,
}

impl Alarm {
    /// `number`: of the real server's signal, from before the connection was made.
    pub(super) fn new(live: &Arc<RealServer>, number: u64) -> Self {
        Self { timer: Timer::default(), cut: Cut::new(live, number) }
    }

    /// Whether the connection is one that was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_raised()
    }
}

/// The signal that cuts a real server's connections.
struct Cut {
    live: Arc<RealServer>,
    number: u64,
    raised: Pin<Box<dyn Future<Output = ()>>>,
    /// Who is woken.
    waker: Option<Waker>,
}

impl Cut {
    fn new(live: &Arc<RealServer>, number: u64) -> Self {
        let raiser = Arc::clone(live);
        let raised = Box::pin(async move { raiser.cut.after(number).await });
        Self { live: Arc::clone(live), number, raised, waker: None }
    }

    fn is_raised(&self) -> bool {
        self.live.cut.number() != self.number
    }

    /// The task is woken when it is raised.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            return self.raised.as_mut().poll(cx).is_ready();
        }
        self.is_raised()
    }
}

/// The pace of one request.
pub(super) struct Pace {
    progress: Rc<Progress>,
    client: Duration,
    server: Duration,
    /// Since when nothing has moved; `None`: it has since it was asked about last.
    still: Option<Instant>,
    alarm: Alarm,
}

impl Pace {
    pub(super) fn new(progress: Rc<Progress>, (client, server): (Duration, Duration), alarm: Alarm) -> Self {
        Self { progress, client, server, still: None, alarm }
    }

    /// The real server has sent something.
    pub(super) fn moved(&mut self) {
        self.still = None;
    }

    /// Why no more of the request can come.
    pub(super) fn broken(&self) -> Option<Failure> {
        self.progress.broken()
    }

    /// Of the real server's signal, from before the connection was made.
    pub(super) fn cut_number(&self) -> u64 {
        self.alarm.cut.number
    }

    /// For the next request over the same connection.
    pub(super) fn into_alarm(self) -> Alarm {
        self.alarm
    }

    /// To be asked when nothing moves.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        if self.alarm.cut.poll(cx) {
            return Some(Failure::ServerCut);
        }
        let (deadline, failure) = match self.progress.waits_for_client() {
            Some(since) => (since + self.client, Failure::ClientTimeout),
            None => {
                let still = *self.still.get_or_insert_with(Instant::now);
                let sent = self.progress.moved().unwrap_or(still);
                (sent.max(still) + self.server, Failure::ServerTimeout)
            }
        };
        self.alarm.timer.is_over(deadline, cx).then_some(failure)
    }
}
