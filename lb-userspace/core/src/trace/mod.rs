//! A trace in words: what the traced program tells of a frame, who the real server is, and the line that
//! a person reads.
//!
//! In: events of the kernel, the names that control knows. Out: [`TracedFrame`]s and lines of text. Absent:
//! the ring buffer, terminals. Frames come from anybody: whatever their bytes, something is said of them.

mod decode;
mod line;
mod names;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use line::line;
pub use names::Names;

use lb_common::abi::{Address, TRACED_BYTES, TraceAction, TraceEvent, TraceFilter};
use lb_common::datapath::Reason;

use crate::view::{CounterAction, Leaving, Network, TracedFrame};

/// What the traced program compares addresses with.
#[must_use]
pub fn filter(client: &Network) -> TraceFilter {
    let bits = u32::from(client.prefix_length()) + if client.address().is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    let mask = Address::v6(mask.to_be_bytes());
    TraceFilter { client: Address::from(client.address()).masked(&mask), mask }
}

/// What an event says; it came at `at_ms`. `interface` names interfaces by their numbers.
#[must_use]
pub fn traced(event: &TraceEvent, at_ms: u64, names: &Names, interface: impl Fn(u32) -> String) -> TracedFrame {
    let frame = decode(first(&event.before, event.length), event.length);
    let verdict = match TraceAction::from_u8(event.action) {
        TraceAction::Pass => CounterAction::Pass,
        TraceAction::Drop => CounterAction::Drop,
        TraceAction::Forward => CounterAction::Forward,
    };
    let leaves = (verdict == CounterAction::Forward).then(|| Leaving {
        interface: interface(event.egress),
        frame: decode(first(&event.after, event.length_after), event.length_after),
    });
    // A reply is not counted for a server; it comes from one.
    let named = names.server(event.server);
    let named = named.or_else(|| frame.source.filter(|_| leaves.is_some()).and_then(|source| names.sender(source)));
    TracedFrame {
        at_ms,
        interface: interface(event.ingress),
        frame,
        verdict,
        reason: reason(event.reason),
        service: named.map(|named| named.service.clone()),
        server: named.map(|named| named.server.clone()),
        leaves,
    }
}

/// The bytes that are the frame's own.
fn first(bytes: &[u8; TRACED_BYTES], length: u32) -> &[u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(TRACED_BYTES);
    bytes.get(..length).unwrap_or_default()
}

fn reason(number: u8) -> String {
    let found = Reason::ALL.iter().find(|reason| **reason as u8 == number);
    found.map_or_else(|| format!("reason {number}"), |reason| reason.name().to_owned())
}
