//! Who gets new flows, compiled into lists that the datapath only indexes.
//!
//! In: the real servers of one virtual service that may take new flows, with their weights.
//! Out: a consistent-hash [`ring`] and a list of [`turns`]. Absent: health, addresses, the kernel
//! tables, randomness: the same input gives the same list in every process and on both of a pair.

mod hash;
pub mod ring;
mod share;
pub mod turns;

use lb_common::abi::ServerId;

pub use hash::{place_key, stable_hash};

/// A real server that may take new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its number in the kernel tables; never influences its places.
    pub server: ServerId,
    /// [`stable_hash`] of what it is; decides its places.
    pub key: u64,
    /// Share of new flows; 0: none.
    pub weight: u32,
}

/// Members with a weight, in an order that depends on their keys alone. Equal keys keep the order
/// they came in.
fn in_key_order(members: &[Member]) -> Vec<Member> {
    let mut members: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
    members.sort_by_key(|member| member.key);
    members
}
