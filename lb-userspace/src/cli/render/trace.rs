//! A traced frame on one line.

use std::fmt::Display;

use chrono::{DateTime, TimeZone};
use lb_core::view::TracedFrame;

use super::style::clean_line;

/// `12:00:01.123 eth0  192.0.2.7:5000 -> 10.0.0.100:443 udp 120 B  pass no-service` in the time of `zone`.
#[must_use]
pub fn traced<Z: TimeZone<Offset: Display>>(traced: &TracedFrame, zone: &Z) -> String {
    let at = i64::try_from(traced.at_ms).ok().and_then(DateTime::from_timestamp_millis);
    let at = at.map_or_else(
        || format!("{} ms after 1970", traced.at_ms),
        |at| at.with_timezone(zone).format("%H:%M:%S%.3f").to_string(),
    );
    format!("{at} {}\n", clean_line(&lb_core::trace::line(traced)))
}
