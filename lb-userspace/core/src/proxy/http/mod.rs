//! What becomes of a request on its way to a real server, and of the answer on its way back.
//!
//! In: heads that hyper has parsed, what is known of the connection, and a [`Policy`] compiled from one virtual
//! service. Out: heads edited in place, or the balancer's own answer. Absent: bodies, connections, the choice of a
//! real server, files (pages come as bytes).
//!
//! One request takes these steps, and the caller does what stands in brackets:
//!
//! ```text
//! examine ── Policy::request ── [choose a real server] ── Policy::named ── to_http2, or not ── [send]
//!                                                                                                │
//!            [send to the client] ── Policy::response ── examine_answer ─────────────────────────┘
//! ```
//!
//! **Order.** A plain request is first sent to the TLS port where the service says so. Then connection fields, the
//! persistence cookie and what strangers say about forwarding are removed, and what the balancer says is added.
//! Rules come next, in their order: each sees the request as the rules before it left it, and within a rule the
//! edits come before the rewrite and the rewrite before the action. The service's own edits are last. Edits that
//! name the real server wait until there is one.
//!
//! **Placeholders** tell of the request as it is at that moment, after earlier rewrites; in fields of an answer, of
//! the request as the client sent it.
//!
//! **Paths** are judged in one form and forwarded in another; `path` says why.

mod answer;
mod client;
mod condition;
mod cookie;
mod decision;
mod edit;
mod examine;
mod fields;
mod follow;
mod forwarded;
mod host;
mod path;
mod policy;
mod repeat;
mod rule;
mod target;
mod template;

pub use answer::{Answer, Origin, Page, Pages};
pub use client::ClientFacts;
pub use decision::{Decision, Forward};
pub use examine::{Reason, Refused, examine, examine_answer};
pub use policy::Policy;
pub use repeat::{BodyProgress, may_repeat};
pub use target::to_http2;

#[cfg(test)]
mod tests;
