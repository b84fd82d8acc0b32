//! Incremental against computed afresh.

use proptest::prelude::*;

use super::*;

/// RFC 1071 §4.1, over whole words.
fn afresh(words: &[u32]) -> u16 {
    let mut sum: u64 = 0;
    for half in words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>().as_chunks::<2>().0 {
        sum += u64::from(u16::from_ne_bytes(*half));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

proptest! {
    #[test]
    fn a_changed_checksum_is_the_one_computed_afresh(
        mut words in prop::collection::vec(any::<u32>(), 2..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..12),
    ) {
        // Real data is never all zero: an address or a length is in it.
        words[0] |= 1;
        let (before, mut change) = (afresh(&words), Change::NONE);
        for (at, new) in changes {
            let at = 1 + at.index(words.len() - 1);
            change = change.word(words[at], new);
            words[at] = new;
        }
        prop_assert_eq!(change.apply(before), afresh(&words));
    }

    #[test]
    fn no_udp_checksum_stays_none_and_a_sum_of_zero_is_written_otherwise(sum: u16, old: u32, new: u32) {
        let after = Change::NONE.word(old, new).apply_udp(sum);
        prop_assert_eq!(after == 0, sum == 0);
    }
}
