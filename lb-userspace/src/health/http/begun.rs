//! A stream that remembers how what came over it began.
//!
//! In: any stream. Out: the same, and its first bytes, for the sentence about a server that speaks something else.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Begun<S> {
    stream: S,
    bytes: Vec<u8>,
}

/// As many bytes as are remembered.
const MOST: usize = 48;

impl<S> Begun<S> {
    pub(super) fn of(stream: S) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match ready!(Pin::new(&mut self.stream).poll_read(cx, buffer)) {
            // Many a TLS server closes without its close_notify. It matters to who fears that somebody cut the
            // answer short; here the answer is compared with what is expected.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            read => read,
        };
        let room = MOST.saturating_sub(self.bytes.len());
        let fresh = buffer.filled().iter().skip(before).take(room);
        self.bytes.extend(fresh);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
