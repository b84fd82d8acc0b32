//! Why what a real server sends is no answer.

use super::MOST_FIELDS;

/// What a real server sent cannot be understood, or could be understood in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Another protocol, or another version.
    #[error("the answer does not begin with HTTP/1.1 or HTTP/1.0")]
    Version,
    /// The first line after the version.
    #[error("the first line of the answer has no status of three digits")]
    Status,
    /// A name or a value with bytes that none has, a folded line, white space before a colon.
    #[error("a field in the head of the answer is malformed")]
    Field,
    /// More fields than are read.
    #[error("the head of the answer has more than {MOST_FIELDS} fields")]
    TooManyFields,
    /// The head does not end in time.
    #[error("the head of the answer is longer than {0} bytes")]
    TooLong(usize),
    /// Content-Length that is no number, or several different ones.
    #[error("the Content-Length of the answer is not one number")]
    Length,
    /// Transfer-Encoding in HTTP/1.0, which has none.
    #[error("the answer is one of HTTP/1.0 and has a Transfer-Encoding")]
    OldTransferEncoding,
    /// The line before a chunk.
    #[error("a chunk of the answer does not begin with its size in up to 16 hexadecimal digits")]
    ChunkSize,
    /// Extensions on the lines before chunks.
    #[error("the chunks of the answer have more than 16 kB of extensions")]
    ChunkExtensions,
    /// No line end after a chunk.
    #[error("a chunk of the answer is longer than its size")]
    ChunkEnd,
    /// A field after the last chunk.
    #[error("a field after the last chunk of the answer is malformed")]
    Trailer,
    /// More of them than are read.
    #[error("the answer has more than {MOST_FIELDS} fields or 16 kB after its last chunk")]
    TooManyTrailers,
    /// Closed too early.
    #[error("the real server closed the connection before the end of its answer")]
    BrokenOff,
}
