//! The stream to a real server, in the clear or encrypted, whose bytes are counted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::small::one_or_many;
use crate::proxy::open::Opened;
use crate::proxy::real_server::RealServer;
use crate::proxy::relay::Meter as _;

/// A connection to a real server.
pub(super) struct ServerStream {
    stream: Opened,
    live: Arc<RealServer>,
    /// Something was sent since the last of its bytes came.
    is_asked: bool,
    /// It takes nothing more: what it has said before that is still to be read.
    is_deaf: bool,
}

impl ServerStream {
    pub(super) fn new(stream: Opened, live: Arc<RealServer>) -> Self {
        Self { stream, live, is_asked: false, is_deaf: false }
    }

    /// The connection itself, and whose it is.
    pub(super) fn into_parts(self) -> (Opened, Arc<RealServer>) {
        (self.stream, self.live)
    }

    /// What was agreed on in the TLS handshake.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match &self.stream {
            Opened::Plain(_) => None,
            Opened::Encrypted(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether it takes nothing more.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// A real server may answer a request of which it does not want the rest, and close (RFC 9112 section 9.3). So
    /// the rest goes nowhere, and reading gives the answer, or the error, at once.
    fn count(&mut self, written: Poll<io::Result<usize>>, offered: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.is_asked = true;
                self.live.to_server(bytes as u64);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) if self.is_asked && is_closed(&error) => {
                self.is_deaf = true;
                Poll::Ready(Ok(offered))
            }
            other => other,
        }
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Opened::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Opened::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        self.live.to_client((buf.filled().len() - before) as u64);
        self.is_asked = false;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = match &mut self.stream {
            Opened::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Opened::Encrypted(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(offered));
        }
        let written = match &mut self.stream {
            Opened::Plain(stream) => one_or_many(Pin::new(stream), cx, bufs),
            Opened::Encrypted(stream) => one_or_many(Pin::new(stream), cx, bufs),
        };
        self.count(written, offered)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Opened::Plain(stream) => stream.is_write_vectored(),
            Opened::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Opened::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Opened::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Opened::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Opened::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Whether the other end has closed, as a write tells it.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
