//! The Internet checksum (RFC 1071), changed without reading what it covers (RFC 1624).
//!
//! Words are in memory order throughout: one's complement sums do not depend on byte order
//! (RFC 1071 §2 (B)), so nothing is swapped.

/// What replacing fields does to the one's complement sum over them.
#[derive(Clone, Copy, Debug)]
pub struct Change(u64);

impl Change {
    /// Nothing was replaced.
    pub const NONE: Self = Self(0);

    /// A 32-bit field at an even offset of the covered bytes.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// A 16-bit field at an even offset of the covered bytes.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Four words, such as an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub fn words(self, old: [u32; 4], new: [u32; 4]) -> Self {
        self.word(old[0], new[0]).word(old[1], new[1]).word(old[2], new[2]).word(old[3], new[3])
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change: HC' = ~(~HC + ~m + m'), RFC 1624 §3.
    ///
    /// ```
    /// use lb_common::wire::checksum::Change;
    ///
    /// // The example of RFC 1624 §4, where the older equation gives 0xffff.
    /// let old = 0xdd2f_u16.to_be();
    /// let new = Change::NONE.half(0x5555_u16.to_be(), 0x3285_u16.to_be()).apply(old);
    /// assert_eq!(new, 0);
    /// ```
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the sum was folded into 16 bits")]
    pub const fn apply(self, checksum: u16) -> u16 {
        let sum = self.0 + !checksum as u64;
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }

    /// The same for UDP, where 0 says that there is no checksum (RFC 768): none stays none, and a
    /// sum of 0 is written as 0xffff.
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

#[cfg(test)]
mod tests;
