//! Bodies on their way: from a client to a real server, and back.
//!
//! In: what hyper reads on one side. Out: what it writes on the other, never more than a few frames ahead. Absent:
//! heads.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::exchange::Exchange;
use super::pace::Pace;
use super::timer::Timer;
use super::upstream::Upstream;
use lb_core::proxy::failure::Failure;
use lb_core::proxy::wire;

/// How long a client's body is held back when the real server says nothing to `Expect: 100-continue` (RFC 9110
/// section 10.1.1: a client must not wait for ever, and so neither must this).
const CONTINUE: Duration = Duration::from_secs(1);

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: Cell<bool>,
    /// The client was to send, and has not, since then.
    waiting: Cell<Option<Instant>>,
    /// When a frame went on last.
    moved: Cell<Option<Instant>>,
    /// The client's part of it was broken.
    broken: Cell<Option<Failure>>,
}

impl Progress {
    /// Since when the client has been waited for; `None`: it is not.
    pub(super) fn waits_for_client(&self) -> Option<Instant> {
        if self.done.get() { None } else { self.waiting.get() }
    }

    /// Whether all of it went on.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Why no more of it can come: that is the client's fault, and not the real server's.
    pub(super) fn broken(&self) -> Option<Failure> {
        self.broken.get()
    }

    /// When a frame went on last.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.moved.get()
    }
}

/// Opens when the real server says that it wants the body.
#[derive(Debug, Default)]
pub(super) struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// The body of a request to a real server.
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    progress: Rc<Progress>,
    gate: Option<(Arc<Gate>, Timer, Instant)>,
}

impl RequestBody {
    /// No body.
    pub(super) fn empty(progress: Rc<Progress>) -> Self {
        progress.done.set(true);
        Self { incoming: None, progress, gate: None }
    }

    /// The client's; held back until the gate opens, if there is one.
    pub(super) fn of_client(incoming: Incoming, progress: Rc<Progress>, gate: Option<Arc<Gate>>) -> Self {
        let gate = gate.map(|gate| (gate, Timer::default(), Instant::now() + CONTINUE));
        Self { incoming: Some(incoming), progress, gate }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, progress, gate: held } = &mut *self;
        if let Some((gate, timer, until)) = held {
            gate.waker.register(cx.waker());
            if !gate.open.load(Ordering::Acquire) && !timer.is_over(*until, cx) {
                return Poll::Pending;
            }
            *held = None;
        }
        let Some(incoming) = incoming else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        match &polled {
            Poll::Pending if progress.waiting.get().is_none() => progress.waiting.set(Some(Instant::now())),
            Poll::Pending => {}
            Poll::Ready(frame) => {
                progress.waiting.set(None);
                progress.moved.set(Some(Instant::now()));
                if let Some(Err(error)) = frame {
                    progress.broken.set(Some(fault(error)));
                }
                // A body of known length is not asked for its end.
                progress.done.set(frame.is_none() || incoming.is_end_stream());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What a client's body broke off with: it was malformed, or the client has gone.
fn fault(error: &hyper::Error) -> Failure {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Failure::BadRequest,
        _ => Failure::ClientGone,
    }
}

/// The body of an answer to a client. What is counted of the request is closed when it is dropped.
pub(super) enum Outgoing {
    /// The balancer's own.
    Fixed {
        /// What is not sent yet.
        data: Option<Bytes>,
        /// Ends with it.
        exchange: Box<Exchange>,
    },
    /// A real server's.
    Server(Box<ServerBody>),
    /// None: what follows is another protocol.
    Tunnel,
}

/// Where the body of an answer comes from.
pub(super) enum From {
    /// Over a connection that the request has for itself.
    Alone(Box<Upstream>, wire::Body),
    /// Over one of HTTP/2.
    Shared(Incoming),
}

impl From {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self {
            Self::Alone(upstream, body) => upstream.http.poll_frame(body, cx).map_err(|broken| broken.failure()),
            Self::Shared(incoming) => Pin::new(incoming).poll_frame(cx).map_err(|_| Failure::ServerFailed),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Alone(_, body) => body.is_over(),
            Self::Shared(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Alone(_, body) => body.exact().map_or_else(SizeHint::new, SizeHint::with_exact),
            Self::Shared(incoming) => incoming.size_hint(),
        }
    }
}

/// The body of a real server's answer.
pub(super) struct ServerBody {
    /// `None` once it is complete.
    from: Option<(From, Pace)>,
    exchange: Box<Exchange>,
}

/// A body that ended too early: the client must see that it did.
#[derive(Debug, thiserror::Error)]
#[error("the answer of the real server broke off: {}", .0.word())]
pub(super) struct BrokenOff(Failure);

impl std::convert::From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl ServerBody {
    pub(super) fn new(from: From, pace: Pace, exchange: Box<Exchange>) -> Box<Self> {
        let is_over = from.is_over();
        let mut body = Box::new(Self { from: Some((from, pace)), exchange });
        if is_over {
            body.complete();
        }
        body
    }

    /// The connection may carry the next request.
    fn complete(&mut self) {
        self.exchange.completed();
        if let Some((From::Alone(upstream, _), pace)) = self.from.take() {
            self.exchange.idle().give_back(upstream, pace.into_alarm());
        }
    }

    fn fail(&mut self, failure: Failure) -> BrokenOff {
        self.from = None;
        self.exchange.failed(failure);
        BrokenOff(failure)
    }
}

impl Body for ServerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let Some((from, pace)) = &mut this.from else { return Poll::Ready(None) };
        match from.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                pace.moved();
                let is_over = from.is_over();
                this.exchange.holds();
                this.exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                if is_over {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(failure))) => {
                let failure = pace.broken().unwrap_or(failure);
                Poll::Ready(Some(Err(this.fail(failure))))
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                this.exchange.waits();
                match pace.poll(cx) {
                    Some(failure) => Poll::Ready(Some(Err(this.fail(failure)))),
                    None => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.from.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.from.as_ref().map_or_else(|| SizeHint::with_exact(0), |(from, _)| from.size_hint())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut *self {
            Self::Fixed { data, exchange } => {
                let frame = data.take();
                if let Some(bytes) = &frame {
                    exchange.sent(bytes.len());
                    exchange.holds();
                }
                Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Server(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Tunnel => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fixed { data, .. } => data.as_ref().is_none_or(Bytes::is_empty),
            Self::Server(body) => body.is_end_stream(),
            Self::Tunnel => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed { data, .. } => SizeHint::with_exact(data.as_ref().map_or(0, Bytes::len) as u64),
            Self::Server(body) => body.size_hint(),
            Self::Tunnel => SizeHint::with_exact(0),
        }
    }
}
