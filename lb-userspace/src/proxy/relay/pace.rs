//! Whether a direction carries bulk, by the sizes of its reads. Knows no sockets.
//!
//! Small pieces are cheaper to copy, and a connection that sends them needs no pipe. Bulk is cheaper to splice.

/// What the reads of one direction have been like.
#[derive(Debug, Default)]
pub(super) struct Pace {
    is_bulk: bool,
    /// Reads in a row that speak for a change.
    streak: u8,
    cannot_splice: bool,
}

impl Pace {
    pub(super) fn is_bulk(&self) -> bool {
        self.is_bulk
    }

    pub(super) fn copied(&mut self, bytes: usize) {
        // Bulk is copied when no pipe can be had; that is no reason to stop asking for one.
        if !self.is_bulk {
            self.count(bytes >= LARGE && !self.cannot_splice);
        }
    }

    pub(super) fn spliced(&mut self, bytes: usize) {
        self.count(bytes < SMALL);
    }

    /// Everything is copied from now on.
    pub(super) fn never_splice(&mut self) {
        *self = Self { cannot_splice: true, ..Self::default() };
    }

    fn count(&mut self, speaks_for_change: bool) {
        self.streak = if speaks_for_change { self.streak + 1 } else { 0 };
        if self.streak == IN_A_ROW {
            self.is_bulk = !self.is_bulk;
            self.streak = 0;
        }
    }
}

/// A copied read of this size may be part of bulk.
const LARGE: usize = 16 * 1024;

/// A spliced read below this may be the end of bulk.
const SMALL: usize = 8 * 1024;

/// So many in a row decide.
const IN_A_ROW: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_large_reads_in_a_row_are_bulk_until_several_small_ones() {
        let mut pace = Pace::default();
        for bytes in [LARGE, LARGE, LARGE, LARGE - 1, LARGE, LARGE, LARGE] {
            pace.copied(bytes);
            assert!(!pace.is_bulk());
        }
        pace.copied(LARGE);
        assert!(pace.is_bulk());
        for bytes in [0, 0, 0, SMALL, SMALL - 1, SMALL - 1, SMALL - 1] {
            pace.spliced(bytes);
            assert!(pace.is_bulk());
        }
        pace.spliced(1);
        assert!(!pace.is_bulk());
    }

    #[test]
    fn what_cannot_be_spliced_is_never_bulk_again() {
        let mut pace = Pace::default();
        for _ in 0..IN_A_ROW {
            pace.copied(LARGE);
        }
        pace.never_splice();
        for _ in 0..10 * IN_A_ROW {
            assert!(!pace.is_bulk());
            pace.copied(LARGE);
        }
    }
}
