//! A hash that is the same in every process, build and machine.

use lb_common::abi::Address;

/// Hash of a few bytes: FNV-1a (64 bits), then SplitMix64, because FNV alone leaves the high bits of
/// short inputs alike. Not for keys that an attacker chooses.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}

/// What decides the places of a real server: its address and port; 0: the port the client used.
#[must_use]
pub fn place_key(address: Address, port: u16) -> u64 {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&address.octets);
    bytes[16..].copy_from_slice(&port.to_be_bytes());
    stable_hash(&bytes)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every input bit reaches every
/// output bit, and no two inputs share an output.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
