//! An answer that comes line by line.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use lb_core::view::DoctorLine;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// Lines of JSON, until their sender has no more, or the server stops. Dropped with the connection of its
/// client, which the sender then sees.
pub(super) struct Lines {
    lines: mpsc::Receiver<DoctorLine>,
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl Lines {
    pub(super) fn new(
        lines: mpsc::Receiver<DoctorLine>,
        place: OwnedSemaphorePermit,
        mut closed: watch::Receiver<bool>,
    ) -> Self {
        // A server that is gone has closed as well.
        let closed = Box::pin(async move { drop(closed.wait_for(|closed| *closed).await) });
        Self { lines, closed, _place: place }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(written(&line)))))
    }
}

fn written(line: &DoctorLine) -> Bytes {
    // The view types have string keys and no number that JSON cannot write.
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
