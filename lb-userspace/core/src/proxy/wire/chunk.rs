//! Bodies in chunks (RFC 9112 section 7.1).
//!
//! Lines end with CRLF here, never with LF alone, and hold no control characters: whoever reads them otherwise sees
//! another end of the message.

use bytes::{Buf as _, BytesMut};

use super::bad_answer::BadAnswer;
use super::body::{Piece, split};
use super::trailer;

/// As many as a `u64` has.
const MOST_DIGITS: u8 = 16;

/// White space and extensions on the lines before all chunks of a body together: nobody needs any.
const MOST_EXTENSION_BYTES: usize = 16 * 1024;

/// How far a chunked body has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    /// Of the size that is being read.
    digits: u8,
    /// Bytes of the chunk.
    left: u64,
    /// In the body so far.
    extension_bytes: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space after the size.
    Blank,
    Extension,
    LineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
    Over,
}

impl Chunks {
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn take(&mut self, buf: &mut BytesMut) -> Result<Option<Piece>, BadAnswer> {
        self.skip_lines(buf)?;
        match self.state {
            State::Data => {
                let Some(data) = split(buf, self.left) else { return Ok(None) };
                self.left = self.left.saturating_sub(data.len() as u64);
                if self.left == 0 {
                    self.state = State::DataReturn;
                    // So that the end is known together with the last data. An error has changed nothing and comes
                    // again with the next piece.
                    let _ = self.skip_lines(buf);
                }
                Ok(Some(Piece::Data(data)))
            }
            State::Trailers => {
                let Some(trailers) = trailer::read(buf)? else { return Ok(None) };
                self.state = State::Over;
                Ok((!trailers.is_empty()).then_some(Piece::Trailers(trailers)))
            }
            State::Size
            | State::Blank
            | State::Extension
            | State::LineFeed
            | State::DataReturn
            | State::DataLineFeed
            | State::Over => Ok(None),
        }
    }

    /// Reads on until data or trailers come; an end without trailers is read too. On an error nothing has changed.
    fn skip_lines(&mut self, buf: &mut BytesMut) -> Result<(), BadAnswer> {
        let mut next = *self;
        let mut used = 0;
        for byte in buf.iter().copied() {
            if matches!(next.state, State::Data | State::Trailers | State::Over) {
                break;
            }
            next.read(byte)?;
            used += 1;
        }
        buf.advance(used);
        if next.state == State::Trailers && buf.starts_with(b"\r\n") {
            buf.advance(2);
            next.state = State::Over;
        }
        *self = next;
        Ok(())
    }

    fn read(&mut self, byte: u8) -> Result<(), BadAnswer> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9') => self.digit(byte - b'0')?,
            (State::Size, b'a'..=b'f') => self.digit(byte - b'a' + 10)?,
            (State::Size, b'A'..=b'F') => self.digit(byte - b'A' + 10)?,
            (State::Size, _) if self.digits == 0 => return Err(BadAnswer::ChunkSize),
            (State::Size | State::Blank | State::Extension, b'\r') => State::LineFeed,
            (State::Size | State::Blank, b' ' | b'\t') => self.extension(State::Blank)?,
            (State::Size | State::Blank, b';') | (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension(State::Extension)?
            }
            (State::LineFeed, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::Trailers } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size,
            (State::DataReturn | State::DataLineFeed, _) => return Err(BadAnswer::ChunkEnd),
            _ => return Err(BadAnswer::ChunkSize),
        };
        Ok(())
    }

    fn digit(&mut self, digit: u8) -> Result<State, BadAnswer> {
        if self.digits == MOST_DIGITS {
            return Err(BadAnswer::ChunkSize);
        }
        self.digits += 1;
        self.left = (self.left << 4) | u64::from(digit);
        Ok(State::Size)
    }

    fn extension(&mut self, state: State) -> Result<State, BadAnswer> {
        self.extension_bytes += 1;
        if self.extension_bytes > MOST_EXTENSION_BYTES { Err(BadAnswer::ChunkExtensions) } else { Ok(state) }
    }
}
