//! The boundary between kernel and daemon: keys and entries of the BPF maps.
//!
//! Every type is `repr(C)` without hidden padding, so that its bytes can be read on either side
//! and `bpftool map dump` prints its fields by name. Numbers are in host byte order, addresses are
//! 16 bytes in network order (IPv4 as `::ffff:a.b.c.d`, RFC 4291 §2.5.5.2), times are [`Ticks`].
//!
//! The tables, in the order in which a packet meets them:
//!
//! | map | kind | key -> entry | written by |
//! |---|---|---|---|
//! | `vip_filter` | array | word -> 64 bits | daemon |
//! | `flows` | hash | [`FlowKey`] -> [`Flow`] | kernel; daemon removes |
//! | `pending_flows` | LRU hash | [`FlowKey`] -> [`Flow`] | kernel; daemon removes |
//! | `reply_filter` | array | word -> 64 bits | daemon |
//! | `replies` | hash | [`FlowKey`] -> [`Reply`] | kernel; daemon removes |
//! | `service_ports` | hash | [`ServicePortKey`] -> service | daemon |
//! | `port_ranges` | hash | [`PortRangesKey`] -> [`PortRanges`] | daemon |
//! | `services` | array | service -> [`Service`] | daemon |
//! | `persistence` | hash | [`PersistenceKey`] -> [`Persistence`] | kernel; daemon removes |
//! | `new_clients` | LRU hash | [`PersistenceKey`] -> [`Persistence`] | kernel; daemon removes |
//! | `schedule` | array | word -> 4 servers | daemon |
//! | `rotation` | array | service -> next turn | kernel |
//! | `servers` | array | server -> [`Server`] | daemon |
//! | `opened` | array | server -> [`Opened`] | kernel |
//! | `closed` | array | server -> connections ended | daemon |
//! | `sources` | array | number -> [`Address`] | daemon |
//! | `source_ports` | array | word -> 64 bits | kernel sets; daemon clears |
//! | `fragments` | LRU hash | [`FragmentKey`] -> [`Fragment`] | kernel |
//! | `admission` | per-CPU array | service -> [`Admission`] | kernel |
//! | `server_counters` | per-CPU array | server -> [`ServerCounters`] | kernel |
//! | `verdicts` | per-CPU array | reason -> [`VerdictCounters`] | kernel |
//! | `settings` | array | 0 -> [`Settings`] | daemon |
//!
//! Services and servers are small numbers, because flows carry them. A server is one real server
//! *of one virtual service*; its `generation` changes whenever its flows must be forgotten, which
//! cuts all of them with one write.
//!
//! Apart from the datapath, `lb_lookup` steers connections for the proxy (`steering`).

mod entry;
mod explanation;
mod flow;
mod key;
mod steering;
#[cfg(test)]
mod tests;
mod trace;

pub use entry::{
    Admission, Opened, Persistence, PortRange, PortRanges, Scheduler, Server, ServerCounters, ServerState, Service,
    ServiceMode, Settings, VerdictCounters,
};
pub use explanation::{Considered, Explanation, MAX_CONSIDERED, Role};
pub use flow::{Flow, FlowState, Fragment, Reply};
pub use key::{Address, FlowKey, FragmentKey, PersistenceKey, PortRangesKey, ServicePortKey};
pub use steering::{Destination, DestinationPrefix, MAX_STEERED_PREFIXES, MAX_STEERED_RANGES};
pub use trace::{TRACE_RING_BYTES, TRACED_BYTES, TRACED_PER_TICK, TraceAccount, TraceAction, TraceEvent, TraceFilter};

/// Changes whenever the layout or the meaning of a table changes, so that a daemon recognises
/// tables that another version left behind.
pub const ABI_VERSION: u32 = 2;

/// Coarse time of the datapath: about a second, counted from boot; see [`Settings::tick_ns`].
pub type Ticks = u32;

/// Number of a virtual service.
pub type ServiceId = u32;

/// Number of a real server of one virtual service.
pub type ServerId = u32;

/// Marks types whose every byte is initialised and every bit pattern valid: they cross the
/// boundary as bytes. Each implementation stands beside an assertion that it has no padding.
pub trait Plain: Copy + 'static {}

impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for Address {}

/// Virtual services: an array, so it costs what it holds; 1,000 is the largest deployment asked for.
pub const MAX_SERVICES: u32 = 1024;

/// Real servers over all services; numbers fit 16 bits because `schedule` packs four in a word.
pub const MAX_SERVERS: u32 = 16_384;

/// No server: an empty place of a schedule.
pub const NO_SERVER: ServerId = 0xffff;

/// True ranges (more than one port) on one (VIP, protocol): searched one by one for a new flow.
pub const MAX_PORT_RANGES: usize = 16;

/// Single ports over all services, and (VIP, protocol) pairs with ranges.
pub const MAX_SERVICE_PORTS: u32 = 16_384;

/// Places of all schedules together; 1,000 services of 1,021 places, twice over while one is replaced.
pub const SCHEDULE_PLACES: u32 = 4 << 20;

/// Places in one word of `schedule`.
pub const PLACES_PER_WORD: u32 = 4;

/// 64-bit words of `vip_filter` and of `reply_filter`.
pub const VIP_FILTER_WORDS: u32 = 1024;

/// First fragments remembered.
pub const MAX_FRAGMENTS: u32 = 16_384;

/// Default size of `flows`.
pub const DEFAULT_FLOWS: u32 = 1 << 20;

/// Default size of `pending_flows`.
pub const DEFAULT_PENDING_FLOWS: u32 = 1 << 17;

/// Default size of `replies`.
pub const DEFAULT_TRANSLATED_FLOWS: u32 = 1 << 18;

/// Source addresses of `l4-snat`; number 0 is none.
pub const MAX_SOURCES: u32 = 256;

/// Pools of source ports: two, for TCP and UDP, for each (source address, real server, port).
pub const MAX_POOLS: u32 = 2048;

/// 64-bit words of `source_ports` in one pool: a bit for each port, set while it is in use.
pub const PORT_WORDS: u32 = 65_536 / 64;

/// Default size of `persistence`.
pub const DEFAULT_PERSISTENCE: u32 = 1 << 18;

/// Size of `new_clients`.
pub const MAX_NEW_CLIENTS: u32 = 1 << 16;

/// Size of `verdicts`: more than there are reasons, so that a reason may be added without a new layout.
pub const MAX_REASONS: u32 = 64;

/// Which bit an address sets, a VIP in `vip_filter`, a real server whose replies are translated in
/// `reply_filter`: word and bit. Several addresses may share a bit; then a packet for a stranger is
/// looked up in vain, and nothing else happens.
#[inline(always)]
#[must_use]
pub fn filter_bit(address: &Address) -> (u32, u64) {
    let [a, b, c, d] = address.words();
    let hash = (a ^ b.rotate_left(7) ^ c.rotate_left(13) ^ d).wrapping_mul(0x9e37_79b1) >> 16;
    (hash >> 6, 1 << (hash & 63))
}

/// The server at `place` (0 to 3) of a word of `schedule`.
#[inline(always)]
#[must_use]
pub const fn server_in_word(word: u64, place: u32) -> ServerId {
    ((word >> (16 * (place & 3))) & 0xffff) as u32
}

/// A word of `schedule` from four servers.
///
/// ```
/// use lb_common::abi::{NO_SERVER, schedule_word, server_in_word};
///
/// let word = schedule_word([3, 1, 4, NO_SERVER]);
/// assert_eq!(server_in_word(word, 2), 4);
/// ```
#[must_use]
pub const fn schedule_word(servers: [ServerId; 4]) -> u64 {
    (servers[0] as u64 & 0xffff)
        | (servers[1] as u64 & 0xffff) << 16
        | (servers[2] as u64 & 0xffff) << 32
        | (servers[3] as u64 & 0xffff) << 48
}
