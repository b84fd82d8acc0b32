//! Bytes in, heads and bodies out, and back.

mod bodies;
mod heads;
mod oracle;
mod properties;
mod requests;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use proptest::prelude::*;
use proptest::sample::select;

use super::{BadAnswer, Body, Head, Piece, read_head};

/// Longer than any head here.
const MOST: usize = 64 * 1024;

/// What a connection has said until it was closed.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    informational: Vec<Head>,
    head: Option<Head>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What came after the answer.
    rest: Vec<u8>,
}

/// Reads one answer from bytes that come in these pieces, after which the server closes.
fn read(pieces: &[&[u8]], method: &Method, max_bytes: usize) -> (Seen, Result<(), BadAnswer>) {
    let mut seen = Seen::default();
    let mut buf = BytesMut::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        if let Err(bad) = advance(&mut seen, &mut buf, method, max_bytes) {
            // How far it was read before is of no more interest.
            seen.head.iter_mut().for_each(|head| head.body = Body::NONE);
            return (seen, Err(bad));
        }
    }
    let ended = seen.head.as_mut().map_or(Err(BadAnswer::BrokenOff), |head| head.body.closed());
    seen.rest = buf.to_vec();
    (seen, ended)
}

/// Takes all that can be taken.
fn advance(seen: &mut Seen, buf: &mut BytesMut, method: &Method, max_bytes: usize) -> Result<(), BadAnswer> {
    while seen.head.is_none() {
        let Some(head) = read_head(buf, method, max_bytes)? else { return Ok(()) };
        if head.status.is_informational() && head.status != 101 {
            assert!(head.body.is_over());
            seen.informational.push(head);
        } else {
            seen.head = Some(head);
        }
    }
    let body = &mut seen.head.as_mut().unwrap().body;
    while let Some(piece) = body.take(buf)? {
        match piece {
            Piece::Data(data) => {
                assert!(!data.is_empty());
                seen.data.extend_from_slice(&data);
            }
            Piece::Trailers(trailers) => {
                assert!(body.is_over() && seen.trailers.is_none() && !trailers.is_empty());
                seen.trailers = Some(trailers);
            }
        }
    }
    Ok(())
}

/// The head of an answer to GET that comes at once.
fn head(text: &[u8]) -> Result<Option<Head>, BadAnswer> {
    read_head(&mut BytesMut::from(text), &Method::GET, MOST)
}

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.1 200 \r\n",
    "\r\nHTTP/1.1 404 Nothing here\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\n",
    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 500 Oops\r\n",
    "HTTP/1.1 999 What\r\n",
    "HTTP/1.1 099 What\r\n",
    "HTTP/1.2 200 OK\r\n",
    "HTTP/2 200\r\n",
    "ICY 200 OK\r\n",
];

const FIELDS: &[&str] = &[
    "Content-Length: 5\r\n",
    "content-length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 6\r\n",
    "Content-Length: 05\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: \r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: Chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, gzip\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked,\r\n",
    "Transfer-Encoding:\r\n",
    "Connection: close\r\n",
    "Connection: Keep-Alive, X-A\r\n",
    "X-A: 1\r\n",
    "x-a:2 \t\r\n",
    "X-B:\r\n",
    "X-B: a\n",
    "X B: a\r\n",
    "X-B : a\r\n",
    " X-B: a\r\n",
    "X-B: a\r\n b\r\n",
    "X-B\r\n",
    ": a\r\n",
    "Set-Cookie: a=b; Path=/\r\n",
    "Set-Cookie: c=d\r\n",
];

const BODIES: &[&str] = &[
    "",
    "hello",
    "hello!",
    "hell",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "5;a=\"b\" ; c\r\nhello\r\n000 \r\n\r\n",
    "A\t;x\r\nhellohello\r\na\r\nhellohello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-sum:2\r\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 1\r\nHost: a\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Sum : 1\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Sum: 1\nX-B: 2\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\n",
    "5\r\nhello\r\n0\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\rhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5;\x00\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello",
    "ffffffffffffffff\r\nhello",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n",
];

/// Bytes that mean something somewhere.
const BYTES: &[u8] = b"\r\n\r\n\t :;,\"0159afAFgzZ-_\x00\x0b\x7f\x80\xff/.";

fn method() -> impl Strategy<Value = Method> {
    select(&[Method::GET, Method::GET, Method::POST, Method::HEAD][..])
}

/// Answers, well formed and not.
fn answer() -> impl Strategy<Value = Bytes> {
    let fields = prop::collection::vec(select(FIELDS), 0..4);
    let parts = (select(STATUS_LINES), fields, select(&["\r\n", "\r\n", "\r\n", "\n", ""][..]), select(BODIES));
    parts.prop_map(|(line, fields, end, body)| Bytes::from([line, &fields.concat(), end, body].concat()))
}

/// Answers of which some bytes are others, are missing, or are there too much.
fn mutated() -> impl Strategy<Value = Bytes> {
    let change = (any::<prop::sample::Index>(), 0_u8..3, select(BYTES));
    (answer(), prop::collection::vec(change, 0..4)).prop_map(|(answer, changes)| {
        let mut answer = answer.to_vec();
        for (index, kind, byte) in changes {
            let index = index.index(answer.len());
            match kind {
                0 => answer[index] = byte,
                1 => answer.insert(index, byte),
                _ => drop(answer.remove(index)),
            }
        }
        Bytes::from(answer)
    })
}
