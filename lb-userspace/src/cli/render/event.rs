//! An event on one line.

use std::fmt::Display;

use chrono::{DateTime, TimeZone};
use lb_core::view::{Event, Severity};

use super::style::{Style, clean_line};

/// `2026-11-21 03:12:09  warning  HL7/IMS1  IMS1 of HL7 is down (by alice)` in the time of `zone`.
#[must_use]
pub fn event<Z: TimeZone<Offset: Display>>(event: &Event, zone: &Z, colour: bool) -> String {
    let (severity, style) = match event.severity {
        Severity::Info => ("info   ", Style::Dim),
        Severity::Warning => ("warning", Style::Yellow),
    };
    let subject = match (&event.service, &event.server) {
        (Some(service), Some(server)) => {
            format!("  {}", Style::Bold.paint(&clean_line(&format!("{service}/{server}")), colour))
        }
        (Some(name), None) | (None, Some(name)) => format!("  {}", Style::Bold.paint(&clean_line(name), colour)),
        (None, None) => String::new(),
    };
    let by = event.by.as_ref().map_or_else(String::new, |by| format!(" (by {})", clean_line(by)));
    let (time, severity) = (time(event.at_ms, zone), style.paint(severity, colour));
    format!("{time}  {severity}{subject}  {}{by}\n", clean_line(&event.sentence))
}

fn time<Z: TimeZone<Offset: Display>>(at_ms: u64, zone: &Z) -> String {
    let at = i64::try_from(at_ms).ok().and_then(DateTime::from_timestamp_millis);
    // Some 262,000 years from now nobody reads this.
    at.map_or_else(
        || format!("{at_ms} ms after 1970"),
        |at| at.with_timezone(zone).format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
