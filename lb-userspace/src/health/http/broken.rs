//! How an exchange broke off, as a failure.
//!
//! In: an error of hyper, and how the answer began. Out: a [`Failure`] in words.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use lb_core::health::{Detail, Failure};

use crate::health::failure::from_io;
use crate::health::tls;

/// Why there is no answer, or not the one expected.
#[derive(Debug)]
pub(super) enum Broken {
    /// The conversation ended too early or was none.
    Off(hyper::Error),
    /// The answer is not as expected.
    Unexpected(Failure),
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self::Off(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Unexpected(failure)
    }
}

impl Broken {
    /// The failure; `begun` is how the answer began.
    pub(super) fn about(self, begun: &[u8]) -> Failure {
        match self {
            Self::Unexpected(failure) => failure,
            Self::Off(error) => off(&error, begun),
        }
    }
}

fn off(error: &hyper::Error, begun: &[u8]) -> Failure {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(failure) = cause.and_then(tls::failure) {
        return failure;
    }
    if !begun.is_empty() && !b"HTTP/".starts_with(begun) && !begun.starts_with(b"HTTP/") {
        return not_http(begun);
    }
    match cause.map(io::Error::kind) {
        Some(ErrorKind::UnexpectedEof) => return early(begun),
        // What hyper says of chunks that are none.
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) | None => {}
        Some(_) => return cause.map_or(Failure::Reset, from_io),
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        early(begun)
    } else if error.is_parse_too_large() {
        bad("status line and headers together are larger than 64 KiB, or the headers are more than 100")
    } else {
        bad(&cause.map_or_else(|| error.to_string(), ToString::to_string))
    }
}

fn early(begun: &[u8]) -> Failure {
    let before = if begun.is_empty() { "it answered the request" } else { "its answer was complete" };
    Failure::ClosedEarly { before }
}

fn not_http(begun: &[u8]) -> Failure {
    // RFC 8446 section 5.1: the record of an alert, and of a handshake.
    if matches!(begun, [0x15 | 0x16, 0x03, ..]) {
        return bad("it speaks TLS; check it with type: https");
    }
    let line = begun.split(|byte| *byte == b'\n').next().unwrap_or_default();
    bad(&format!("it does not speak HTTP; it begins with \"{}\"", String::from_utf8_lossy(line).trim_end()))
}

fn bad(what: &str) -> Failure {
    Failure::BadAnswer(Detail::new(what))
}
