//! One mistake in a configuration, as it is shown to the administrator.
//!
//! In: a code, a place, words. Out: text in the form of a compiler's message, or JSON. Absent: how
//! mistakes are found.

use std::fmt::Write as _;

use serde::Serialize;

pub use super::code::{Code, Severity, reference};
use super::source::Location;

/// One mistake, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable code, `E014`.
    pub code: Code,
    /// Whether the configuration can be used in spite of it.
    pub severity: Severity,
    /// What is wrong, one sentence.
    pub message: String,
    /// Place in the configuration, `virtual_services[2].real_servers[0].port`; empty: the whole.
    pub path: String,
    /// File, as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In characters, at least 1.
    pub length: usize,
    /// The line itself; of a very long line the part around the mistake.
    pub source_line: String,
    /// Why it is wrong, shown under the mark; may be empty.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Characters of `source_line` before the mark.
    #[serde(skip)]
    pub(crate) indent: usize,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, path: String, location: Location, message: String) -> Self {
        Self {
            code,
            severity: code.severity(),
            message,
            path,
            file: location.file,
            line: location.line,
            column: location.column,
            length: location.length,
            source_line: location.excerpt,
            label: String::new(),
            help: None,
            indent: location.indent,
        }
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&render(self))
    }
}

/// The message as plain text, with a line break at its end.
pub fn render(diagnostic: &Diagnostic) -> String {
    paint(diagnostic, &Palette::PLAIN)
}

/// The message for a terminal, in colours (ANSI escape sequences).
pub fn render_coloured(diagnostic: &Diagnostic) -> String {
    paint(diagnostic, &Palette::ANSI)
}

struct Palette {
    error: &'static str,
    warning: &'static str,
    frame: &'static str,
    bold: &'static str,
    reset: &'static str,
}

impl Palette {
    const PLAIN: Self = Self { error: "", warning: "", frame: "", bold: "", reset: "" };
    const ANSI: Self =
        Self { error: "\x1b[1;31m", warning: "\x1b[1;33m", frame: "\x1b[1;34m", bold: "\x1b[1m", reset: "\x1b[0m" };
}

fn paint(diagnostic: &Diagnostic, palette: &Palette) -> String {
    let Palette { frame, bold, reset, .. } = palette;
    let accent = match diagnostic.severity {
        Severity::Error => palette.error,
        Severity::Warning => palette.warning,
    };
    let Diagnostic { code, severity, message, file, line, column, source_line, label, .. } = diagnostic;
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let mark = " ".repeat(diagnostic.indent) + accent + &"^".repeat(mark_length(diagnostic));
    let mut text = format!("{accent}{severity}[{code}]{reset}{bold}: {message}{reset}\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{margin}{frame}-->{reset} {file}:{line}:{column}");
    let _ = writeln!(text, "{frame}{number} |{reset} {source_line}");
    let _ = writeln!(text, "{}", format!("{margin} {frame}|{reset} {mark} {label}").trim_end().to_owned() + reset);
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(text, "{margin} {frame}={reset} {bold}help{reset}: {help}");
    }
    text
}

/// The mark never runs past what is shown of the line.
fn mark_length(diagnostic: &Diagnostic) -> usize {
    let shown = diagnostic.source_line.chars().count();
    diagnostic.length.min(shown.saturating_sub(diagnostic.indent)).max(1)
}
