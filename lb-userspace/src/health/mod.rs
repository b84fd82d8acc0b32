//! Probes on the wire: connect, ping and DICOM C-ECHO.
//!
//! In: the probe and cancel actions of [`lb_core::health::Health`]. Out: one outcome per probe, on
//! a bounded channel. Absent: intervals, timeouts, and what an outcome means; the machine decides those.

mod connect;
mod dicom;
mod failure;
mod ping;
mod prober;

pub use prober::{Prober, Report};

use lb_core::config::model::Probe;

/// Whether this build can make such a probe.
///
/// # Errors
///
/// The sentence that tells an administrator what to use instead.
pub fn supported(probe: &Probe) -> Result<(), &'static str> {
    match probe {
        Probe::Connect | Probe::Ping | Probe::DicomEcho { .. } | Probe::None => Ok(()),
        Probe::Http(_) => Err("health checks of type http are not available in this version: use type connect"),
        Probe::Https { .. } => Err("health checks of type https are not available in this version: use type connect"),
        Probe::Script { .. } => {
            Err("health checks of type script are not available in this version: use type connect or ping")
        }
    }
}

#[cfg(test)]
mod tests;
