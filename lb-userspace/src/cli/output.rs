//! Where results go: what the terminal can do, and JSON.

use std::io::{IsTerminal, Write};
use std::time::SystemTime;

use serde::Serialize;

use super::exit::Failure;

/// What standard output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// In columns; no limit where the output is not a terminal, so that `grep` sees whole lines.
    pub width: usize,
    /// In lines; `None` where the output is not a terminal.
    pub height: Option<usize>,
    /// Whether colours are wanted (<https://no-color.org>).
    pub colour: bool,
}

impl Terminal {
    /// Looks at standard output and the environment.
    #[must_use]
    pub fn detect() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self { width: usize::MAX, height: None, colour: false };
        }
        let (width, height) =
            terminal_size::terminal_size().map_or((80, 24), |(width, height)| (width.0.into(), height.0.into()));
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let colour = set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb");
        Self { width, height: Some(height), colour }
    }
}

/// Seconds since 1970-01-01 UTC by the clock of this machine; 0 where it is set before that.
pub(super) fn unix_now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

pub(super) fn text(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).map_err(Failure::Output)
}

/// Indented JSON and a line end.
pub(super) fn json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Output(error.into()))?;
    writeln!(out, "{text}").map_err(Failure::Output)
}

/// JSON on a line of its own.
pub(super) fn json_line(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
    writeln!(out, "{text}").map_err(Failure::Output)
}
