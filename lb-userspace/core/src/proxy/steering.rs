//! Ranges of ports as prefixes, which is how the kernel finds the range of a port.
//!
//! In: a range. Out: the fewest prefixes that cover it and nothing else. Absent: the table that they go into.

use crate::config::model::PortRange;

/// Bits of a port.
const BITS: u32 = u16::BITS;

/// The fewest prefixes that cover the range: ports that agree in their first so many bits, lowest first. There are at
/// most 30.
///
/// ```
/// use lb_core::config::model::PortRange;
/// use lb_core::proxy::steering::prefixes;
///
/// let range = PortRange { first: 8000, last: 8099 };
/// assert_eq!(prefixes(range), [(8000, 10), (8064, 11), (8096, 14)]);
/// ```
#[must_use]
pub fn prefixes(range: PortRange) -> Vec<(u16, u8)> {
    let (mut first, end) = (u32::from(range.first), u32::from(range.last) + 1);
    let mut all = Vec::new();
    while first < end {
        // The largest block that begins here and is aligned to its size, and ends within the range.
        let aligned = first.trailing_zeros().min(BITS);
        let fits = (end - first).ilog2();
        let free = aligned.min(fits);
        if let (Ok(port), Ok(bits)) = (u16::try_from(first), u8::try_from(BITS - free)) {
            all.push((port, bits));
        }
        first += 1 << free;
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers((port, bits): (u16, u8), other: u16) -> bool {
        let free = BITS - u32::from(bits);
        u32::from(port) >> free == u32::from(other) >> free
    }

    fn is_exact(range: PortRange) -> Result<(), TestCaseError> {
        let prefixes = prefixes(range);
        for port in 0..=u16::MAX {
            let times = prefixes.iter().filter(|prefix| covers(**prefix, port)).count();
            prop_assert_eq!(
                times,
                usize::from((range.first..=range.last).contains(&port)),
                "port {} of {}",
                port,
                range
            );
        }
        prop_assert!(prefixes.len() <= 30, "{}", prefixes.len());
        // No two neighbours make one prefix, so there is no shorter list.
        for pair in prefixes.windows(2) {
            let ((low, bits), (_, next)) = (pair[0], pair[1]);
            prop_assert!(bits != next || u32::from(low) >> (BITS - u32::from(bits)) & 1 == 1, "{:?}", pair);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn prefixes_cover_each_port_of_the_range_once_and_no_other(a in any::<u16>(), b in any::<u16>()) {
            is_exact(PortRange { first: a.min(b), last: a.max(b) })?;
        }
    }

    #[test]
    fn the_edges_are_exact_too() {
        for (first, last) in [(0, 0), (1, 1), (1, 65_534), (0, 65_535), (1, 65_535), (65_535, 65_535), (32_767, 32_768)]
        {
            is_exact(PortRange { first, last }).unwrap();
        }
        assert_eq!(prefixes(PortRange { first: 0, last: 65_535 }), [(0, 0)]);
        assert_eq!(prefixes(PortRange { first: 1, last: 65_534 }).len(), 30);
        assert_eq!(prefixes(PortRange { first: 2, last: 1 }), []);
    }
}
