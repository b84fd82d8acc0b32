//! The body of an answer: where it ends.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::bad_answer::BadAnswer;
use super::chunk::Chunks;

/// A body that is read: none, of a length, chunked, or until the server closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(Extent);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    Over,
    /// Bytes left, at least one.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// At least one byte.
    Data(Bytes),
    /// The last piece, at least one field; those that may not stand here are left out.
    Trailers(HeaderMap),
}

impl Body {
    pub(super) const NONE: Self = Self(Extent::Over);
    pub(super) const UNTIL_CLOSE: Self = Self(Extent::UntilClose);

    pub(super) fn of_length(length: u64) -> Self {
        Self(if length == 0 { Extent::Over } else { Extent::Length(length) })
    }

    pub(super) fn chunked() -> Self {
        Self(Extent::Chunked(Chunks::default()))
    }

    /// Takes what there is of it from the front of `buf`. `None`: more bytes are needed, or it is over, which
    /// [`Self::is_over`] says; that may be so as soon as the last piece has been taken.
    ///
    /// # Errors
    /// When it is not framed as it should be; the connection is of no more use.
    pub fn take(&mut self, buf: &mut BytesMut) -> Result<Option<Piece>, BadAnswer> {
        match &mut self.0 {
            Extent::Over => Ok(None),
            Extent::UntilClose => Ok(split(buf, u64::MAX).map(Piece::Data)),
            Extent::Length(left) => {
                let Some(data) = split(buf, *left) else { return Ok(None) };
                *self = Self::of_length(left.saturating_sub(data.len() as u64));
                Ok(Some(Piece::Data(data)))
            }
            Extent::Chunked(chunks) => {
                let piece = chunks.take(buf)?;
                if chunks.is_over() {
                    self.0 = Extent::Over;
                }
                Ok(piece)
            }
        }
    }

    /// The server has closed the connection, and nothing is left in the buffer that [`Self::take`] would take. That
    /// is the end of a body until close.
    ///
    /// # Errors
    /// When more of it should have come.
    pub fn closed(&mut self) -> Result<(), BadAnswer> {
        match self.0 {
            Extent::Over => Ok(()),
            Extent::UntilClose => {
                self.0 = Extent::Over;
                Ok(())
            }
            Extent::Length(_) | Extent::Chunked(_) => Err(BadAnswer::BrokenOff),
        }
    }

    /// Nothing more belongs to it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.0, Extent::Over)
    }

    /// The connection ends with it.
    #[must_use]
    pub fn lasts_until_close(&self) -> bool {
        matches!(self.0, Extent::UntilClose)
    }

    /// How many bytes are left, where that is known.
    #[must_use]
    pub fn exact(&self) -> Option<u64> {
        match self.0 {
            Extent::Over => Some(0),
            Extent::Length(left) => Some(left),
            Extent::Chunked(_) | Extent::UntilClose => None,
        }
    }
}

/// Up to `most` bytes, uncopied; `None`: there are none.
pub(super) fn split(buf: &mut BytesMut, most: u64) -> Option<Bytes> {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
    (length > 0).then(|| buf.split_to(length).freeze())
}
