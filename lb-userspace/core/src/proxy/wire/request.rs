//! A request of HTTP/1.1 as it is sent (RFC 9112 sections 3, 6 and 7).

use std::fmt::Write as _;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};

use super::trailer::may_trail;

/// What a field takes on average, with a guess on the high side.
const FIELD: usize = 48;

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// Of so many bytes.
    Length(u64),
    /// By [`write_chunk`] and [`write_end`].
    Chunked,
}

/// Writes a head: the target in origin form, names in lower case, values byte for byte. Where the body ends is written
/// from `framing` alone, whatever the fields say of it; Connection and Upgrade stay as they are. TE stays behind: it would
/// have to be named in Connection, which is the connection's own (RFC 9110 section 10.1.4).
pub fn write_request(head: &request::Parts, framing: Framing, out: &mut BytesMut) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let method = head.method.as_str();
    out.reserve(method.len() + target.len() + head.headers.len() * FIELD + 2 * FIELD);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b" ");
    // A target can be a query alone, after a host.
    if !target.starts_with(['/', '*']) {
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut had_length = false;
    for (name, value) in &head.headers {
        if *name == CONTENT_LENGTH {
            had_length = true;
        } else if *name != TRANSFER_ENCODING && *name != TE {
            write_field(name, value, out);
        }
    }
    match framing {
        Framing::None if had_length || expects_body(&head.method) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Framing::None => {}
        Framing::Length(length) => {
            // Writing to memory does not fail.
            let _ = write!(out, "content-length: {length}\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a chunk. No data is none: an empty chunk would be the end.
pub fn write_chunk(data: &[u8], out: &mut BytesMut) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    // Writing to memory does not fail.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailers, but for those that may not stand there.
pub fn write_end(trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| may_trail(name)) {
        write_field(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110 section 8.6: with these a server may ask for a length even when there is no body.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn write_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
