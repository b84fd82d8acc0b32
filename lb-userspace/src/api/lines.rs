//! An answer that goes on: values in as they come, one JSON line each out.
//!
//! The channel bounds what waits for a slow client, and its end is the end of the answer. When the client
//! goes, hyper drops the answer, and whoever fills the channel sees it closed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use lb_core::view::TraceLine;
use tokio::sync::mpsc;

/// As <https://jsonlines.org> names it.
pub(super) const CONTENT_TYPE: &str = "application/jsonl";

/// The lines of a trace.
#[derive(Debug)]
pub(super) struct Lines(pub(super) mpsc::Receiver<TraceLine>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = std::task::ready!(self.0.poll_recv(context));
        // The view types have string keys and finite numbers, so that this does not fail; a line that did
        // would be left out.
        let bytes = |line| {
            serde_json::to_vec(&line).map(|mut bytes| {
                bytes.push(b'\n');
                Bytes::from(bytes)
            })
        };
        Poll::Ready(line.map(|line| Ok(Frame::data(bytes(line).unwrap_or_default()))))
    }
}
