//! The metrics over TCP, and the figures that only the process itself knows.
//!
//! In: the address of the configuration, scrapes. Out: [`Request::Metrics`] to the control loop, at
//! most one a second however many ask; its text. Absent: the text itself ([`lb_core::metrics`]), and
//! the API's socket, where the same text is served to root.
//!
//! `GET /metrics` over HTTP/1.1, without encryption or login. Whoever reaches the address can read
//! it, and hold a place for as long as [`listener::limits`] allow; nothing else.
//!
//! [`Request::Metrics`]: crate::api::Request::Metrics

mod answer;
mod endpoint;
mod latest;
mod listener;
mod process;

#[cfg(test)]
mod tests;

pub use endpoint::Endpoint;
pub use listener::{BindError, Listener, limits};
pub use process::process;
