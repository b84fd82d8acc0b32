//! Hashes of addresses and flows.

use crate::abi::{Address, FlowKey};

/// Mixes two words at a time by multiplication; the high half of the product depends on every bit.
#[inline(always)]
pub(super) fn mix(hash: u64, a: u32, b: u32) -> u64 {
    let product = (hash ^ (u64::from(a) | (u64::from(b) << 32))).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

/// Differs between addresses.
#[inline(always)]
pub(super) fn hash(address: &Address, seed: u64) -> u32 {
    let [a, b, c, d] = address.words();
    // The low half is the well-mixed one after the fold of `mix`; one more round spreads it.
    high_half(mix(mix(seed, a, b), c, d).wrapping_mul(0xff51_afd7_ed55_8ccd))
}

/// Differs between flows.
#[inline(always)]
pub(super) fn flow_hash(key: &FlowKey) -> u32 {
    let ports = (u32::from(key.client_port) << 16) | u32::from(key.vip_port);
    let vip = hash(&key.vip, u64::from(key.protocol));
    hash(&key.client, mix(u64::from(vip), ports, 0))
}

/// The half of a product that depends on every bit of its factors.
#[inline(always)]
pub(super) fn high_half(product: u64) -> u32 {
    (product >> 32) as u32
}
