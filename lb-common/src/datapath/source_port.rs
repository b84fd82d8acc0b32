//! Source ports for `l4-snat`: a bit for each port of a pool, set while the port is in use.
//!
//! The kernel claims a port by setting its bit, atomically, so two CPUs never get one port. It never
//! clears a bit that stood for a flow: the daemon does, once no [reply](crate::abi::Reply) has had the
//! port for two sweeps. What makes a port somebody's in the end is the entry in `replies`, which is made
//! only if there is none: a bit that should be set and is not costs a second try, and nothing else.

#![allow(clippy::cast_possible_truncation, reason = "fields are taken out of a number by their width")]

use super::Tables;
use crate::abi::{MAX_POOLS, PORT_WORDS, Settings, Ticks};

/// Words tried before the pool counts as exhausted. With nine of ten ports in use one word in 850 has
/// no free one.
const TRIES: u32 = 32;

/// The first of them are those whose turn it is. The turn moves on with the clock, so that at a
/// moderate rate a port rests for as long as possible before it is used again, for a real server keeps a
/// finished connection in mind for up to four minutes (RFC 9293 §3.6.1, TIME-WAIT).
const IN_TURN: u32 = 4;

/// Words by which the turn moves on with a tick.
const TURN: u32 = 8;

/// Claims a port that nobody uses: host order; 0 when none was found. `hash` spreads the flows.
#[inline(always)]
pub(super) fn claim<T: Tables>(tables: &T, pool: u32, settings: &Settings, hash: u32, now: Ticks) -> u16 {
    let first = u32::from(settings.first_source_port) / 64;
    let last = u32::from(settings.last_source_port) / 64;
    if pool >= MAX_POOLS || first > last {
        return 0;
    }
    let words = last - first + 1;
    let turn = now.wrapping_mul(TURN).wrapping_add(hash & (TURN - 1)) % words;
    let mut random = hash;
    for i in 0..TRIES {
        let at = if i < IN_TURN {
            turn + i
        } else if words <= TRIES - IN_TURN {
            // One after the other, so that none is left out.
            i
        } else {
            random = random.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
            ((random >> 16) * words) >> 16
        };
        let word = first + at % words;
        let place = pool * PORT_WORDS + word;
        let free = !tables.source_ports(place) & usable(word, settings);
        if free == 0 {
            continue;
        }
        let bit = some_bit(free, hash);
        let mask = 1_u64 << (bit & 63);
        if tables.claim_source_port(place, mask) & mask == 0 {
            return (word * 64 + bit) as u16;
        }
    }
    0
}

/// The ports of a word that may be used: all but those at the ends of the range.
#[inline(always)]
fn usable(word: u32, settings: &Settings) -> u64 {
    let (first, last) = (u32::from(settings.first_source_port), u32::from(settings.last_source_port));
    let mut bits = u64::MAX;
    if word == first / 64 {
        bits &= u64::MAX << (first & 63);
    }
    if word == last / 64 {
        bits &= u64::MAX >> (63 - (last & 63));
    }
    bits
}

/// One of the bits that are set: the first from a random one on, so that CPUs that look at the same word
/// want different ones.
#[inline(always)]
fn some_bit(bits: u64, hash: u32) -> u32 {
    let by = hash >> 26;
    let turned = bits.rotate_right(by);
    // The lowest bit that is set, by halving: BPF has no instruction for it.
    let mut rest = turned;
    let mut at = 0;
    if rest as u32 == 0 {
        at += 32;
        rest >>= 32;
    }
    if rest & 0xffff == 0 {
        at += 16;
        rest >>= 16;
    }
    if rest & 0xff == 0 {
        at += 8;
        rest >>= 8;
    }
    if rest & 0xf == 0 {
        at += 4;
        rest >>= 4;
    }
    if rest & 0x3 == 0 {
        at += 2;
        rest >>= 2;
    }
    if rest & 0x1 == 0 {
        at += 1;
    }
    (at + by) & 63
}

#[cfg(test)]
mod tests;
