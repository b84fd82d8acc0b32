//! An answer that goes on: values in as they come, one JSON line each out.
//!
//! The channel bounds what waits for a slow client, and its end is the end of the answer; so is the end of
//! the server, where that is asked for. When the client goes, hyper drops the answer, and whoever fills the
//! channel sees it closed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// As <https://jsonlines.org> names it.
pub(super) const CONTENT_TYPE: &str = "application/jsonl";

/// Lines, until their sender has no more.
pub(super) struct Lines<T> {
    lines: mpsc::Receiver<T>,
    closed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> Lines<T> {
    pub(super) fn new(lines: mpsc::Receiver<T>) -> Self {
        Self { lines, closed: None, _place: None }
    }

    /// They also end with the server, and hold a place until then.
    pub(super) fn until(self, mut closed: watch::Receiver<bool>, place: OwnedSemaphorePermit) -> Self {
        // A server that is gone has closed as well.
        let closed = Box::pin(async move { drop(closed.wait_for(|closed| *closed).await) });
        Self { closed: Some(closed), _place: Some(place), ..self }
    }
}

impl<T: Serialize + Unpin> Body for Lines<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.closed.as_mut().is_some_and(|closed| closed.as_mut().poll(context).is_ready()) {
            return Poll::Ready(None);
        }
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(written(&line)))))
    }
}

fn written(line: &impl Serialize) -> Bytes {
    // The view types have string keys and no number that JSON cannot write; a line that failed would be
    // left out.
    let Ok(mut bytes) = serde_json::to_vec(line) else { return Bytes::new() };
    bytes.push(b'\n');
    bytes.into()
}
