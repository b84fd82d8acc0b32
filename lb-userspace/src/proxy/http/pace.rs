//! Whether a request moves on: who is waited for, and for how long already.
//!
//! In: what moves. Out: a [`Failure`] when client or real server was silent for too long, or the real server is cut.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use super::body::Progress;
use super::timer::Timer;
use crate::proxy::real_server::RealServer;
use lb_core::proxy::failure::Failure;

/// The pace of one request.
pub(super) struct Pace {
    progress: Rc<Progress>,
    client: Duration,
    server: Duration,
    moved: Instant,
    pub(super) timer: Timer,
    cut: Pin<Box<dyn Future<Output = ()>>>,
}

impl Pace {
    /// `cut_number`: of the real server's signal, from before the connection was made.
    pub(super) fn new(
        progress: Rc<Progress>,
        (client, server): (Duration, Duration),
        timer: Timer,
        live: &Arc<RealServer>,
        cut_number: u64,
    ) -> Self {
        let live = Arc::clone(live);
        let cut = Box::pin(async move { live.cut.after(cut_number).await });
        Self { progress, client, server, moved: Instant::now(), timer, cut }
    }

    /// The real server has sent something.
    pub(super) fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// Whether the real server has got the whole request.
    pub(super) fn is_request_sent(&self) -> bool {
        self.progress.is_done()
    }

    /// To be asked when nothing moves.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Some(Failure::ServerCut);
        }
        let (deadline, failure) = match self.progress.waits_for_client() {
            Some(since) => (since + self.client, Failure::ClientTimeout),
            None => {
                let sent = self.progress.moved().unwrap_or(self.moved);
                (sent.max(self.moved) + self.server, Failure::ServerTimeout)
            }
        };
        self.timer.is_over(deadline, cx).then_some(failure)
    }
}
