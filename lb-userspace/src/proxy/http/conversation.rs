//! HTTP/1.1 with a real server: one request after the other over one connection.
//!
//! In: a request. Out: its answer, as it comes. Absent: how both look on the wire, which is `lb_core::proxy::wire`'s;
//! which connection is used, and when it is closed ([`super::upstream`]).
//!
//! It has no task of its own. Whoever waits for the answer polls it, and the request's body moves on with that.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::body::{Body as _, Frame};
use hyper::header::{HeaderName, TRAILER};
use hyper::http::request::Parts;
use hyper::http::{HeaderMap, Method, StatusCode};
use lb_core::proxy::failure::Failure;
use lb_core::proxy::wire::{self, BadAnswer, Body, Framing, Head, Piece};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::task::unconstrained;

use super::body::{Gate, RequestBody};
use super::stream::ServerStream;

/// The longest header of an answer.
const MAX_HEAD: usize = 128 << 10;

/// Answers with a status of 1xx before the one that counts.
const MAX_INFORMATIONAL: u32 = 100;

/// What is read at once at first, and in the midst of a long body.
const LEAST_READ: usize = 8 << 10;
const MOST_READ: usize = 256 << 10;

/// A connection, and what is under way on it.
pub(super) struct Conversation {
    stream: ServerStream,
    /// What has come and is not taken yet.
    read: BytesMut,
    /// How much is read at once.
    at_once: usize,
    /// What is to be written, a head or a chunk; or a piece of a body whose length was told.
    write: BytesMut,
    piece: Bytes,
    /// Something was written that a flush may still hold back.
    unflushed: bool,
    /// The request's body, while there may be more of it.
    body: Option<RequestBody>,
    chunked: bool,
    /// Fields that the request has said would come behind its body; others stay behind.
    trailers: Vec<HeaderName>,
    /// Of a body whose length was told.
    left: u64,
    /// Something of the request has gone.
    begun: bool,
    method: Method,
    gate: Option<Arc<Gate>>,
    informational: u32,
    /// After this answer another request may be sent.
    keeps_alive: bool,
}

/// What `Trailer` names (RFC 9110 section 6.6.2). A server may take a trailer for a field of the header, so that a client
/// must not get one past the rules for those by surprise.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(TRAILER).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Why there is no answer, or not the whole of it.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection was closed, and nothing of an answer has come.
    Closed,
    /// The client's part of the request was broken.
    Request,
    /// The real server's answer was, or its connection in the midst of it.
    Answer,
}

impl Broken {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Closed | Self::Answer => Failure::ServerFailed,
            Self::Request => Failure::ClientGone,
        }
    }
}

impl From<BadAnswer> for Broken {
    fn from(_: BadAnswer) -> Self {
        Self::Answer
    }
}

impl Conversation {
    pub(super) fn new(stream: ServerStream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            at_once: LEAST_READ,
            write: BytesMut::new(),
            piece: Bytes::new(),
            unflushed: false,
            body: None,
            chunked: false,
            trailers: Vec::new(),
            left: 0,
            begun: false,
            method: Method::GET,
            gate: None,
            informational: 0,
            keeps_alive: true,
        }
    }

    /// Takes the next request; it goes when the answer is waited for. `gate`: opens when the real server asks for the body.
    pub(super) fn ask(&mut self, head: &Parts, body: RequestBody, gate: Option<Arc<Gate>>) {
        let framing = match body.size_hint().exact() {
            _ if body.is_end_stream() => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        self.write.clear();
        wire::write_request(head, framing, &mut self.write);
        self.chunked = framing == Framing::Chunked;
        self.trailers = if self.chunked { announced(&head.headers) } else { Vec::new() };
        self.left = if let Framing::Length(length) = framing { length } else { 0 };
        self.body = (framing != Framing::None).then_some(body);
        self.begun = false;
        self.method.clone_from(&head.method);
        self.gate = gate;
        self.informational = 0;
    }

    /// The request's body, if nothing of the request has gone.
    pub(super) fn unsent(&mut self) -> Option<Option<RequestBody>> {
        (!self.begun).then(|| self.body.take())
    }

    /// The head of the answer.
    ///
    /// # Errors
    /// When there will be none.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        self.send(cx)?;
        loop {
            match wire::read_head(&mut self.read, &self.method, MAX_HEAD)? {
                Some(head) if head.status == StatusCode::SWITCHING_PROTOCOLS || !head.status.is_informational() => {
                    self.keeps_alive = head.keeps_alive;
                    return Poll::Ready(Ok(head));
                }
                Some(head) => {
                    if head.status == StatusCode::CONTINUE
                        && let Some(gate) = &self.gate
                    {
                        gate.open();
                    }
                    self.informational += 1;
                    if self.informational > MAX_INFORMATIONAL {
                        return Poll::Ready(Err(Broken::Answer));
                    }
                    continue;
                }
                None => {}
            }
            match ready!(self.fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) if self.read.is_empty() => return Poll::Ready(Err(Broken::Closed)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Answer)),
            }
        }
    }

    /// The next piece of the answer's body.
    ///
    /// # Errors
    /// When it broke off.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Body,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Err(broken) = self.send(cx) {
            return Poll::Ready(Some(Err(broken)));
        }
        loop {
            match body.take(&mut self.read) {
                Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Piece::Trailers(trailers))) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(None) if body.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            match ready!(self.fill(cx)) {
                Ok(0) => {
                    if let Err(error) = body.closed() {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(Some(Err(Broken::Answer))),
            }
        }
    }

    /// Whether another request may follow: the last one and its answer are complete, and nothing has come since.
    pub(super) fn is_free(&mut self) -> bool {
        let is_done = self.body.is_none() && self.write.is_empty() && self.piece.is_empty() && !self.unflushed;
        self.keeps_alive && is_done && !self.stream.is_deaf() && self.read.is_empty() && self.is_silent()
    }

    /// Forgets buffers that a connection does not need while it waits.
    pub(super) fn rest(&mut self) {
        (self.read, self.at_once) = (BytesMut::new(), LEAST_READ);
        (self.write, self.gate) = (BytesMut::new(), None);
    }

    /// What is below, and what was read of it already.
    pub(super) fn into_stream(self) -> (ServerStream, Bytes) {
        (self.stream, self.read.freeze())
    }

    /// Whether nothing has come: whatever comes while a connection waits belongs to no request.
    fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut buf = ReadBuf::new(&mut byte);
        let look = poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buf));
        // A task that has done much already would be told that there is nothing, whatever there is.
        pin!(unconstrained(look)).poll(&mut cx).is_pending()
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.at_once);
        let room = self.read.capacity() - self.read.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?;
        if read == room {
            self.at_once = (self.at_once * 2).min(MOST_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Sends as much of the request as there is room for.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        loop {
            while !self.write.is_empty() || !self.piece.is_empty() {
                match self.write(cx) {
                    Poll::Ready(Ok(written @ 1..)) => self.written(written),
                    // What has come before that is read all the same.
                    Poll::Ready(Ok(0) | Err(_)) => return if self.begun { Ok(()) } else { Err(Broken::Closed) },
                    Poll::Pending => return Ok(()),
                }
            }
            let Some(body) = &mut self.body else { break };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.frame(frame)?,
                Poll::Ready(Some(Err(_))) => return Err(self.breaks()),
                Poll::Ready(None) => self.end(None)?,
                Poll::Pending => break,
            }
        }
        if self.unflushed {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(cx).is_pending();
        }
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let next: &[u8] = if self.write.is_empty() { &self.piece } else { &self.write };
        Pin::new(&mut self.stream).poll_write(cx, next)
    }

    fn written(&mut self, written: usize) {
        (self.begun, self.unflushed) = (true, true);
        if self.write.is_empty() {
            self.piece.advance(written);
        } else {
            self.write.advance(written);
        }
    }

    fn frame(&mut self, frame: Frame<Bytes>) -> Result<(), Broken> {
        match frame.into_data() {
            Ok(data) if self.chunked => wire::write_chunk(&data, &mut self.write),
            Ok(data) => {
                self.left = self.left.checked_sub(data.len() as u64).ok_or_else(|| self.breaks())?;
                self.piece = data;
            }
            Err(frame) => return self.end(frame.into_trailers().ok().as_ref()),
        }
        // A body of known length is not asked for its end.
        if !self.chunked && self.body.as_ref().is_some_and(hyper::body::Body::is_end_stream) {
            return self.end(None);
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Broken> {
        // Were a body shorter than was told, the next request would be taken for the rest of it.
        if self.left > 0 {
            return Err(self.breaks());
        }
        self.body = None;
        if self.chunked {
            let mut announced = HeaderMap::new();
            for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| self.trailers.contains(name)) {
                announced.append(name, value.clone());
            }
            wire::write_end(Some(&announced), &mut self.write);
        }
        Ok(())
    }

    /// The rest of the request will not come.
    fn breaks(&mut self) -> Broken {
        self.body = None;
        self.keeps_alive = false;
        Broken::Request
    }
}
