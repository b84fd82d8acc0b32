//! The text of a configuration and places in it.
//!
//! In: files as text, byte ranges. Out: lines, columns and excerpts for messages. Absent: reading
//! files, YAML.

/// One file of a configuration, already read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it is shown in messages, for example `/etc/lb/lb.yaml`.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// A byte range in one source; `end` is excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) source: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Where a span is, in the words of a text editor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In characters, at least 1; a span of several lines is cut at the end of its first.
    pub(crate) length: usize,
    /// The line, or the part of a very long one around the span; control characters replaced.
    pub(crate) excerpt: String,
    /// Characters of `excerpt` before the span.
    pub(crate) indent: usize,
}

#[derive(Debug)]
struct File {
    path: String,
    text: String,
    line_starts: Vec<usize>,
}

/// All sources of one configuration.
#[derive(Debug)]
pub(crate) struct SourceMap {
    files: Vec<File>,
}

/// A longer line is shown in part, so that a hostile file cannot make a flood of output.
const EXCERPT_CHARACTERS: usize = 160;
/// What is kept before the span when a line is cut.
const CONTEXT_CHARACTERS: usize = 60;

impl SourceMap {
    /// Copies the sources; a byte order mark is dropped.
    pub(crate) fn new(sources: &[Source]) -> Self {
        let file = |source: &Source| {
            let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text).to_owned();
            let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
            File { path: source.path.clone(), text, line_starts }
        };
        Self { files: sources.iter().map(file).collect() }
    }

    /// The text of one source; empty when there is no such source.
    pub(crate) fn text(&self, source: u32) -> &str {
        self.files.get(source as usize).map_or("", |file| &file.text)
    }

    /// The text of a span; empty when it is not on character boundaries.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text(span.source).get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// `FILE:LINE:COLUMN`, for a message that names a second place.
    pub(crate) fn reference(&self, span: Span) -> String {
        let location = self.locate(span);
        format!("{}:{}:{}", location.file, location.line, location.column)
    }

    /// Where a span is.
    pub(crate) fn locate(&self, span: Span) -> Location {
        let Some(file) = self.files.get(span.source as usize) else {
            return Location { file: String::new(), line: 1, column: 1, length: 1, excerpt: String::new(), indent: 0 };
        };
        let start = floor_boundary(&file.text, span.start as usize);
        let line = file.line_starts.partition_point(|&line_start| line_start <= start);
        let line_start = file.line_starts[line - 1];
        let line_end = file.line_starts.get(line).map_or(file.text.len(), |&next| next - 1);
        let text = file.text[line_start..line_end].trim_end_matches('\r');
        let start = start.min(line_start + text.len());
        let end = floor_boundary(&file.text, span.end as usize).clamp(start, line_start + text.len());
        let before = file.text[line_start..start].chars().count();
        let length = file.text[start..end].trim_end().chars().count().max(1);
        let (excerpt, indent) = excerpt(text, before);
        Location { file: file.path.clone(), line, column: before + 1, length, excerpt, indent }
    }
}

/// The part of a line that is shown, and how many of its characters come before the span.
fn excerpt(line: &str, before: usize) -> (String, usize) {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let characters = line.chars().count();
    if characters <= EXCERPT_CHARACTERS {
        return (line.trim_end().chars().map(printable).collect(), before);
    }
    let skipped = before.saturating_sub(CONTEXT_CHARACTERS);
    let mut shown: String = if skipped > 0 { "…".to_owned() } else { String::new() };
    let indent = before - skipped + usize::from(skipped > 0);
    shown.extend(line.chars().skip(skipped).take(EXCERPT_CHARACTERS).map(printable));
    if skipped + EXCERPT_CHARACTERS < characters {
        shown.push('…');
    }
    (shown, indent)
}

/// The nearest character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
