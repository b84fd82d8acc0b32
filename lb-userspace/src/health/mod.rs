//! Probes on the wire: connect, ping, http, https, DICOM C-ECHO and scripts.
//!
//! In: the probe and cancel actions of [`lb_core::health::Health`]. Out: one outcome per probe, on
//! a bounded channel. Absent: intervals, timeouts, and what an outcome means; the machine decides those.

mod connect;
mod dicom;
mod failure;
mod http;
pub(crate) mod ping;
mod prober;
mod script;
mod tls;

pub use prober::{Prober, Question, Report};

#[cfg(test)]
mod tests;
