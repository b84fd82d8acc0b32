//! The daemon's API: HTTP/1.1 with JSON bodies on a Unix socket that only root may open.
//!
//! In: connections of clients. Out: [`Request`]s to the control loop, each with the channel its
//! answer goes back by. Absent: any decision about the load balancer; the control loop owns those,
//! and the shapes of the answers are [`lb_core::view`].
//!
//! | Method | Path | Answer |
//! |---|---|---|
//! | GET | `/v1/status` | [`lb_core::view::Status`] |
//! | GET | `/v1/connections` | [`lb_core::view::Connections`] |
//! | GET | `/v1/persistence` | [`lb_core::view::PersistenceList`] |
//! | DELETE | `/v1/persistence` | [`lb_core::view::PersistenceCleared`] |
//! | GET | `/v1/health` | [`lb_core::view::HealthList`] |
//! | GET | `/v1/explain` | [`lb_core::view::Explained`] |
//! | GET | `/v1/events` | [`lb_core::view::Events`], with `wait` once something matches |
//! | GET | `/v1/doctor` | lines of JSON as they come, each a [`lb_core::view::DoctorLine`] |
//! | POST | `/v1/order` | [`lb_core::view::OrderReport`] |
//! | POST | `/v1/reload` | [`lb_core::view::ReloadReport`]; 422 [`lb_core::view::InvalidConfiguration`] |
//! | POST | `/v1/confirm`, `/v1/rollback` | [`lb_core::view::ConfirmReport`]; 409 when nothing waits for it |
//! | POST | `/v1/trace` | [`lb_core::view::TraceLine`]s while the trace runs; 409 when another one does |
//! | POST | `/v1/upgrade` | [`lb_core::view::UpgradeReport`] |
//! | POST | `/v1/stop` | [`lb_core::view::StopReport`] |
//! | GET | `/v1/config` | the configuration in force with every default, YAML |
//! | GET | `/metrics` | [`lb_core::metrics`], the text format of Prometheus |
//!
//! Whatever is not a success answers [`lb_core::view::ErrorBody`]. One connection carries one
//! request, so that a client never holds a place it does not use; clients that wait for events have a
//! bound of their own, so that they leave places for the others. One trace runs at a time.

mod answer;
mod body;
mod client;
pub(crate) mod connections;
mod following;
mod lines;
mod peer;
mod request;
mod route;
mod server;
mod socket;

#[cfg(test)]
pub(crate) mod tests;

pub use body::CONFIRM_WITHIN_SECONDS;
pub use client::{Client, ClientError};
pub use following::Following;
pub use request::{Handle, OrderRefused, ReloadRefused, Request, TraceRefused, Unanswered};
pub use server::{Limits, Server};
pub use socket::BindError;

/// Where the daemon listens and `lbctl` connects unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/lb/lbd.sock";
