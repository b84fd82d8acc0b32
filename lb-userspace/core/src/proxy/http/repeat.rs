//! Which requests may be sent again to another real server.

use http::Method;

/// How much of a request's body has gone to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProgress {
    /// It has none.
    Empty,
    /// None of it was taken from the client yet.
    NotBegun,
    /// Some of it is gone.
    Begun,
}

/// Whether a request of which something may have reached a real server may go to another one, when nothing was
/// answered: its method is safe or idempotent (RFC 9110 section 9.2), and its body can still be sent whole. A
/// request of which nothing was sent, because no connection could be opened, needs only the second.
#[must_use]
pub fn may_repeat(method: &Method, body: BodyProgress) -> bool {
    let idempotent = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    idempotent && body != BodyProgress::Begun
}
