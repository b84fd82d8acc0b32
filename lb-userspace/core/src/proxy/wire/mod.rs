//! HTTP/1.1 as it is spoken to a real server: requests written, answers read.
//!
//! In: heads and bodies of requests; the bytes of a connection, in whatever pieces they come. Out: bytes to send;
//! heads, pieces of bodies, and why an answer is none. Absent: sockets, timeouts, when a connection is used again.
//!
//! What is read is refused where servers and clients could differ on where a message ends (RFC 9112 sections 6 and
//! 11), and otherwise no stricter than hyper, which read these answers before: the tests compare both.

mod answer;
mod bad_answer;
mod body;
mod chunk;
mod request;
mod trailer;

pub use answer::{Head, read_head};
pub use bad_answer::BadAnswer;
pub use body::{Body, Piece};
pub use request::{Framing, write_chunk, write_end, write_request};

/// Fields of a head, and again of its trailers: more than any server sends.
const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests;
