//! What an examination of the network found (`lbctl doctor`).

use std::fmt::Write as _;

use lb_core::view::{Examination, Finding, FindingSeverity, Place, Progress};

use super::order::counted;
use super::style::{Style, clean_line, clean_text, wrap};
use super::wrong::paragraph;

/// Text is broken at this width at the latest: longer lines are hard to read.
const WIDEST: usize = 100;
const INDENT: &str = "    ";

/// The findings for a terminal of `width` columns. Commands are never broken: they are there to be copied.
#[must_use]
pub fn examination(examination: &Examination, width: usize, colour: bool) -> String {
    let width = width.min(WIDEST);
    let mut out = String::new();
    for finding in &examination.findings {
        out.push_str(&one(finding, width, colour));
        out.push('\n');
    }
    if !examination.untold.is_empty() {
        let _ = writeln!(out, "{}", Style::Dim.paint("Nothing could be told of:", colour));
        for sentence in &examination.untold {
            out.push_str(&paragraph("  - ", &clean_line(sentence), width));
        }
        out.push('\n');
    }
    out.push_str(&summary(examination));
    out
}

/// How far it is, on one line.
#[must_use]
pub fn progress(progress: &Progress, width: usize) -> String {
    let text = format!("{} of {}: {}", progress.done, progress.total, clean_line(&progress.what));
    wrap(&text, width.saturating_sub(1).max(1)).swap_remove(0)
}

fn one(finding: &Finding, width: usize, colour: bool) -> String {
    let style = match finding.severity {
        FindingSeverity::Problem => Style::Red,
        FindingSeverity::Warning => Style::Yellow,
    };
    let title = format!("{}: {}", finding.severity, finding.code);
    let mut out = format!("{}{}\n", style.paint(&title, colour), place(&finding.place));
    out.push_str(&paragraph("  ", &clean_line(&finding.what), width));
    out.push_str(&paragraph("  ", &clean_line(&finding.why), width));
    for remedy in &finding.fix {
        let lead = paragraph("  > ", &format!("{}:", clean_line(&remedy.at)), width);
        out.push_str(&Style::Dim.paint(lead.trim_end(), colour));
        out.push('\n');
        for command in &remedy.commands {
            let _ = writeln!(out, "{INDENT}{}", Style::Bold.paint(&clean_text(command), colour));
        }
    }
    out
}

/// ` (PACS, DICOM; server DS1; interface eth0)`.
fn place(place: &Place) -> String {
    let mut parts = Vec::new();
    if !place.services.is_empty() {
        parts.push(place.services.join(", "));
    }
    parts.extend(place.server.as_ref().map(|server| format!("real server {server}")));
    parts.extend(place.interface.as_ref().map(|interface| format!("interface {interface}")));
    if parts.is_empty() { String::new() } else { format!(" ({})", clean_line(&parts.join("; "))) }
}

fn summary(examination: &Examination) -> String {
    let of = |severity| examination.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let asked = format!("{} of the network", counted(examination.asked, "question"));
    match (of(FindingSeverity::Problem), of(FindingSeverity::Warning)) {
        (0, 0) => format!(
            "Nothing wrong was found; {asked} {} answered.\n",
            if examination.asked == 1 { "was" } else { "were" }
        ),
        (problems, 0) => format!("{}; {asked}.\n", counted(problems, "problem")),
        (0, warnings) => format!("{}; {asked}.\n", counted(warnings, "warning")),
        (problems, warnings) => {
            format!("{}, {}; {asked}.\n", counted(problems, "problem"), counted(warnings, "warning"))
        }
    }
}
