//! Durations and counts as an administrator reads them.

use std::fmt;
use std::time::Duration;

/// A setting, told exactly: `2 s`, `2500 ms`.
pub(crate) struct Exactly(pub(crate) Duration);

impl fmt::Display for Exactly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

/// A time measured, rounded down to what matters: `8 s`, `5 min`, `3 h`, `4 days`.
pub(super) struct Roughly(pub(super) Duration);

impl fmt::Display for Roughly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        match self.0.as_secs() {
            0 if self.0.as_millis() == 0 => f.write_str("less than 1 ms"),
            0 => write!(f, "{} ms", self.0.as_millis()),
            secs if secs < 2 * MINUTE => write!(f, "{secs} s"),
            secs if secs < 2 * HOUR => write!(f, "{} min", secs / MINUTE),
            secs if secs < 2 * DAY => write!(f, "{} h", secs / HOUR),
            secs => write!(f, "{} days", secs / DAY),
        }
    }
}

/// How many checks in a row: `1 check`, `2 checks in a row`.
pub(super) struct InARow(pub(super) u32);

impl fmt::Display for InARow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 check"),
            n => write!(f, "{n} checks in a row"),
        }
    }
}
