//! The metrics, in the text format of Prometheus (version 0.0.4).
//!
//! In: the overview, the health checks and [`Extra`], as the shell gathered them. Out: the text, and
//! the reference of every family. Absent: HTTP, sockets, the clock.
//!
//! A family says in one place what it is called, what it means, which labels it has and where its
//! samples come from (`family.rs`); text and reference are both made of those. No two series
//! of a text are the same, whatever comes in: Prometheus would refuse all of it.

mod extra;
mod families;
mod family;
mod reference;
mod source;
mod text;

#[cfg(test)]
mod tests;

pub use extra::{EventCount, Extra, Process, Reloads};
pub use reference::reference;

use crate::view::{HealthList, Status};
use families::SECTIONS;
use source::Source;

/// What [`render`] gives, as HTTP names it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is measured, as text.
#[must_use]
pub fn render(status: &Status, health: &HealthList, extra: &Extra) -> String {
    let source = Source::new(status, health, extra);
    let mut text = String::new();
    for family in SECTIONS.iter().flat_map(|section| section.families) {
        family.write(&source, &mut text);
    }
    text
}
