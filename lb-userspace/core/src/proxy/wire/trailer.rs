//! Fields after the last chunk (RFC 9112 section 7.1.2).

use bytes::{Buf as _, BytesMut};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
    MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use super::MOST_FIELDS;
use super::bad_answer::BadAnswer;

/// All of them together with the empty line stay below this.
const LIMIT: usize = 16 * 1024;

/// RFC 9110 section 6.5.1: what says how a message is framed, routed or understood comes too late here, and whoever
/// believes it all the same can be led astray.
const FORBIDDEN: [HeaderName; 16] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    HeaderName::from_static("keep-alive"),
    MAX_FORWARDS,
    HeaderName::from_static("proxy-connection"),
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a field may stand after the last chunk.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    !FORBIDDEN.contains(name)
}

/// Takes all of them and the empty line from the front of `buf`; those that may not stand here are left out. `None`:
/// more bytes are needed.
pub(super) fn read(buf: &mut BytesMut) -> Result<Option<HeaderMap>, BadAnswer> {
    let window = buf.get(..LIMIT - 1).unwrap_or(buf);
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let (length, fields) = match httparse::parse_headers(window, &mut fields) {
        Ok(Status::Complete(found)) => found,
        Ok(Status::Partial) if window.len() < LIMIT - 1 => return Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(BadAnswer::TooManyTrailers),
        Err(_) => return Err(BadAnswer::Trailer),
    };
    if window.get(..length).is_none_or(has_bare_line_feed) {
        return Err(BadAnswer::Trailer);
    }
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadAnswer::Trailer)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| BadAnswer::Trailer)?;
        if may_trail(&name) {
            trailers.append(name, value);
        }
    }
    buf.advance(length);
    Ok(Some(trailers))
}

fn has_bare_line_feed(lines: &[u8]) -> bool {
    let before = std::iter::once(&0).chain(lines);
    before.zip(lines).any(|(before, byte)| *byte == b'\n' && *before != b'\r')
}
