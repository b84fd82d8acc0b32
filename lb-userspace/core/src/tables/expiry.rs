//! Which flows and persistence records the sweep removes.
//!
//! In: one record, the state of the servers, the time. Out: a verdict. Absent: the tables, the
//! clock.

use std::time::Duration;

use lb_common::abi::{Flow, FlowKey, FlowState, Persistence, PersistenceKey, ServerId, ServerState, ServiceId, Ticks};

use crate::config::model::FlowTimeouts;

/// What the sweep does with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// It goes.
    Remove(Reason),
}

/// Why a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not used for as long as its timeout.
    Idle,
    /// Its server is down or not in use, or its number has another generation.
    ServerGone,
    /// Its service keeps no persistence records, or is gone.
    NoPersistence,
}

/// [`FlowTimeouts`] in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickTimeouts {
    /// TCP, after the handshake.
    pub established: Ticks,
    /// TCP, after FIN from the client alone, where the real server's packets are seen.
    pub half_closed: Ticks,
    /// TCP, after FIN or RST.
    pub closing: Ticks,
    /// TCP and UDP before the client's second packet.
    pub pending: Ticks,
    /// UDP.
    pub udp: Ticks,
}

impl TickTimeouts {
    /// Rounded up to whole ticks.
    #[must_use]
    pub fn from(timeouts: &FlowTimeouts, tick: Duration) -> Self {
        Self {
            established: ticks(timeouts.established, tick),
            half_closed: ticks(timeouts.half_closed, tick),
            closing: ticks(timeouts.closing, tick),
            pending: ticks(timeouts.pending, tick),
            udp: ticks(timeouts.udp, tick),
        }
    }

    /// The one that goes for this flow.
    #[must_use]
    pub fn of(&self, key: &FlowKey, flow: &Flow) -> Ticks {
        match (FlowState::from_u8(flow.state), key.protocol) {
            (FlowState::Pending, _) => self.pending,
            (FlowState::Established | FlowState::HalfClosed | FlowState::Closing, UDP) => self.udp,
            (FlowState::Established, _) => self.established,
            (FlowState::HalfClosed, _) => self.half_closed,
            (FlowState::Closing, _) => self.closing,
        }
    }
}

/// Whether a flow stays. `servers` gives a number's generation and state, `None` for a number that
/// is not in use.
pub fn flow_verdict(
    key: &FlowKey,
    flow: &Flow,
    servers: &dyn Fn(ServerId) -> Option<(u32, ServerState)>,
    now: Ticks,
    timeouts: &TickTimeouts,
) -> Verdict {
    if !serves(flow.server, flow.generation, servers) {
        return Verdict::Remove(Reason::ServerGone);
    }
    unless_idle(flow.last_seen, now, timeouts.of(key, flow))
}

/// Whether a persistence record stays. `servers` is as for flows, but also gives `None` for servers
/// that are [off duty](crate::tables::Wanted::off_duty); `timeout` gives a service's persistence timeout in ticks, 0
/// for a service that has none or is gone.
pub fn persistence_verdict(
    key: &PersistenceKey,
    record: &Persistence,
    servers: &dyn Fn(ServerId) -> Option<(u32, ServerState)>,
    now: Ticks,
    timeout: &dyn Fn(ServiceId) -> Ticks,
) -> Verdict {
    let timeout = timeout(key.service);
    if timeout == 0 {
        return Verdict::Remove(Reason::NoPersistence);
    }
    if !serves(record.server, record.generation, servers) {
        return Verdict::Remove(Reason::ServerGone);
    }
    unless_idle(record.last_used, now, timeout)
}

/// Ticks from `then` to `now`, over the wrap of the counter. 0 if `then` is later: the kernel may
/// write a record after the sweep has read the clock.
#[must_use]
pub fn elapsed(then: Ticks, now: Ticks) -> Ticks {
    let ticks = now.wrapping_sub(then);
    if ticks > MAX_TICKS { 0 } else { ticks }
}

/// A duration in whole ticks, rounded up, at least 1, at most half of the counter's range.
#[must_use]
pub fn ticks(duration: Duration, tick: Duration) -> Ticks {
    let ticks = duration.as_nanos().div_ceil(tick.as_nanos().max(1));
    Ticks::try_from(ticks).unwrap_or(MAX_TICKS).clamp(1, MAX_TICKS)
}

fn serves(server: ServerId, generation: u32, servers: &dyn Fn(ServerId) -> Option<(u32, ServerState)>) -> bool {
    match servers(server) {
        Some((_, ServerState::Down)) | None => false,
        Some((current, ServerState::Active | ServerState::Draining)) => current == generation,
    }
}

/// A record of tick `t` may have been used at the very end of it, so it is idle for `timeout`
/// only once more than `timeout` ticks have begun since.
fn unless_idle(last: Ticks, now: Ticks, timeout: Ticks) -> Verdict {
    if elapsed(last, now) > timeout { Verdict::Remove(Reason::Idle) } else { Verdict::Keep }
}

/// Half of the counter's range: a longer time cannot be told from a time in the future.
const MAX_TICKS: Ticks = Ticks::MAX / 2;

/// IANA protocol number.
const UDP: u8 = 17;

#[cfg(test)]
mod tests;
