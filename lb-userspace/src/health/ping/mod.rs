//! The ping check: ICMP echo is answered.
//!
//! In: addresses. Out: success, or why not. Absent: a timeout (the machine cancels).
//!
//! One raw socket per family, opened at the first ping, serves all real servers. A task reads it and gives
//! each answer to the ping that it belongs to.

pub(crate) mod icmp;
mod line;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use lb_core::health::Failure;

use icmp::Family;
use line::Line;

/// Pings; its sockets are closed when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Pinger {
    v4: Mutex<Option<Line>>,
    v6: Mutex<Option<Line>>,
}

impl Pinger {
    /// Sends one echo request, and waits until it is answered or refused.
    pub(super) async fn ping(&self, address: IpAddr) -> Result<(), Failure> {
        let line = match address {
            IpAddr::V4(_) => open(&self.v4, Family::V4)?,
            IpAddr::V6(_) => open(&self.v6, Family::V6)?,
        };
        let pending = line.register(address)?;
        line.send(&pending).await?;
        pending.answer().await
    }
}

/// The line that is there, or a new one when there is none or it has failed.
fn open(slot: &Mutex<Option<Line>>, family: Family) -> Result<Arc<line::Shared>, Failure> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    match &*slot {
        Some(line) if line.works() => Ok(line.shared()),
        _ => Ok(slot.insert(Line::open(family)?).shared()),
    }
}
