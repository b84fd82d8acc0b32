//! The head of an answer (RFC 9112 sections 4 to 6).

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{ParserConfig, Status};

use super::MOST_FIELDS;
use super::bad_answer::BadAnswer;
use super::body::Body;

/// The longest body that software which counts with a sign can tell from a negative one.
const LONGEST: u64 = i64::MAX as u64;

/// What a real server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its status; 1xx is followed by another head, except 101.
    pub status: StatusCode,
    /// What stands after the status, if that is not what always stands there.
    pub reason: Option<Bytes>,
    /// Its fields. A Content-Length that does not count is not among them, and one that does is there once.
    pub headers: HeaderMap,
    /// What follows.
    pub body: Body,
    /// After the body another request may be sent.
    pub keeps_alive: bool,
}

/// Takes a whole head from the front of `buf`; `None`: more bytes are needed. `method`: of the request, since HEAD has
/// no body. An informational head (1xx) is given like others, and has no body.
///
/// # Errors
/// When it is none, or longer than `max_bytes`; the connection is of no more use.
pub fn read_head(buf: &mut BytesMut, method: &Method, max_bytes: usize) -> Result<Option<Head>, BadAnswer> {
    if buf.is_empty() {
        return Ok(None);
    }
    let window = buf.get(..max_bytes).unwrap_or(buf);
    let mut places = [Field::default(); MOST_FIELDS];
    let Some(outline) = outline(window, &mut places)? else {
        return if window.len() < max_bytes { Ok(None) } else { Err(BadAnswer::TooLong(max_bytes)) };
    };
    let bytes = buf.split_to(outline.length).freeze();
    let mut headers = HeaderMap::with_capacity(outline.fields);
    let mut signs = Signs::default();
    for field in places.iter().take(outline.fields) {
        let name = HeaderName::from_bytes(field.name.of(&bytes)).map_err(|_| BadAnswer::Field)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(field.value.range())).map_err(|_| BadAnswer::Field)?;
        signs.note(&name, &value);
        headers.append(name, value);
    }
    let has_body = has_body(method, outline.status);
    let body = if has_body { signs.body(outline.is_old)? } else { Body::NONE };
    signs.settle(&mut headers);
    let changes_protocol = outline.status == StatusCode::SWITCHING_PROTOCOLS || is_tunnel(method, outline.status);
    let keeps_alive = signs.keeps_alive(outline.is_old) && !body.lasts_until_close() && !changes_protocol;
    let reason = outline.reason.map(|place| bytes.slice(place.range()));
    Ok(Some(Head { status: outline.status, reason, headers, body, keeps_alive }))
}

/// RFC 9112 section 6.3, points 1 and 2.
fn has_body(method: &Method, status: StatusCode) -> bool {
    let without = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational();
    !without && *method != Method::HEAD && !is_tunnel(method, status)
}

fn is_tunnel(method: &Method, status: StatusCode) -> bool {
    *method == Method::CONNECT && status.is_success()
}

/// What httparse finds, as places: while it is borrowed, the buffer cannot be split.
struct Outline {
    length: usize,
    status: StatusCode,
    reason: Option<Place>,
    /// HTTP/1.0.
    is_old: bool,
    fields: usize,
}

/// Where a name or a value stands.
#[derive(Clone, Copy, Default)]
struct Place {
    // Small, because a hundred fields of them are set to zero for each head.
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Default)]
struct Field {
    name: Place,
    value: Place,
}

impl Place {
    /// `part` lies within `whole`.
    fn new(whole: &[u8], part: &[u8]) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start + part.len();
        (end <= whole.len()).then_some(())?;
        Some(Self { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn of(self, bytes: &Bytes) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }
}

fn outline(bytes: &[u8], places: &mut [Field; MOST_FIELDS]) -> Result<Option<Outline>, BadAnswer> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    let Status::Complete(length) = parsed.map_err(refusal)? else { return Ok(None) };
    for (place, field) in places.iter_mut().zip(response.headers.iter()) {
        let name = Place::new(bytes, field.name.as_bytes()).ok_or(BadAnswer::Field)?;
        let value = Place::new(bytes, field.value).ok_or(BadAnswer::Field)?;
        *place = Field { name, value };
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(BadAnswer::Status)?;
    let reason = response.reason.filter(|reason| status.canonical_reason() != Some(reason));
    Ok(Some(Outline {
        length,
        status,
        // An empty one need not lie within the bytes.
        reason: reason.map(|reason| Place::new(bytes, reason.as_bytes()).unwrap_or_default()),
        is_old: response.version == Some(0),
        fields: response.headers.len(),
    }))
}

fn refusal(error: httparse::Error) -> BadAnswer {
    match error {
        httparse::Error::Version => BadAnswer::Version,
        httparse::Error::Status | httparse::Error::Token => BadAnswer::Status,
        httparse::Error::TooManyHeaders => BadAnswer::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => BadAnswer::Field,
    }
}

/// What the fields say of the body and the connection.
#[derive(Default)]
struct Signs {
    /// Content-Length: `None` in it if that is not one number.
    length: Option<Option<u64>>,
    /// Content-Length came more than once, or as a list.
    repeated: bool,
    /// Transfer-Encoding: whether the last coding is `chunked`.
    chunked: Option<bool>,
    close: bool,
    keep_alive: bool,
}

impl Signs {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            for text in items(value) {
                let length = number(text);
                self.repeated |= self.length.is_some();
                let same = self.length.is_none_or(|before| before == length);
                self.length = Some(length.filter(|_| same));
            }
        } else if *name == TRANSFER_ENCODING {
            // Of a list with strange bytes no coding is known, as with hyper.
            let last = value.to_str().ok().and_then(|_| items(value).last());
            self.chunked = Some(last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")));
        } else if *name == CONNECTION {
            for option in items(value) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }

    /// RFC 9112 section 6.3, points 3 to 8.
    fn body(&self, is_old: bool) -> Result<Body, BadAnswer> {
        match (self.chunked, self.length) {
            (Some(_), _) if is_old => Err(BadAnswer::OldTransferEncoding),
            (Some(true), _) => Ok(Body::chunked()),
            (Some(false), _) | (None, None) => Ok(Body::UNTIL_CLOSE),
            (None, Some(length)) => length.map(Body::of_length).ok_or(BadAnswer::Length),
        }
    }

    /// Leaves one Content-Length if there is one number and no Transfer-Encoding, otherwise none: nobody after this
    /// shall read it in another way.
    fn settle(&self, headers: &mut HeaderMap) {
        let Some(length) = self.length else { return };
        match length.filter(|_| self.chunked.is_none()) {
            None => drop(headers.remove(CONTENT_LENGTH)),
            Some(length) if self.repeated => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
            Some(_) => {}
        }
    }

    /// RFC 9112 section 9.3; and where a body could be two, nothing that comes after it is believed.
    fn keeps_alive(&self, is_old: bool) -> bool {
        let two_lengths = self.chunked.is_some() && self.length.is_some();
        !self.close && !two_lengths && (!is_old || self.keep_alive)
    }
}

/// Of a list, without the white space around them.
fn items(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// RFC 9110 section 8.6: digits only.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|number| *number <= LONGEST)
}
