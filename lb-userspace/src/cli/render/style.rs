//! Colours, display width, and text from elsewhere made harmless.

use unicode_width::UnicodeWidthStr;

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Style {
    /// The SGR parameter (ECMA-48 §8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }

    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        match self {
            Self::Plain => text.to_owned(),
            _ if !colour || text.is_empty() => text.to_owned(),
            style => format!("\x1b[{}m{text}\x1b[0m", style.code()),
        }
    }
}

/// Columns that `text` takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// `text` with whatever could command a terminal or turn the reading direction replaced; line ends
/// stay. Names, and what real servers say in a failed check, come from elsewhere.
#[must_use]
pub fn clean_text(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { clean_char(c) }).collect()
}

/// The same for text that has to stay on one line.
pub(super) fn clean_line(text: &str) -> String {
    text.chars().map(clean_char).collect()
}

fn clean_char(c: char) -> char {
    match c {
        '\n' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// `text` broken into lines of at most `columns`, between words where it can be.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let gap = usize::from(!line.is_empty());
            if width(line) + gap + width(rest) <= columns {
                line.extend(std::iter::repeat_n(' ', gap));
                line.push_str(rest);
                break;
            }
            if gap == 1 {
                lines.push(String::new());
                continue;
            }
            let (head, tail) = split_at_width(rest, columns);
            line.push_str(head);
            if tail.is_empty() {
                break;
            }
            rest = tail;
            lines.push(String::new());
        }
    }
    lines
}

/// At least one character, and as many as fit.
fn split_at_width(word: &str, columns: usize) -> (&str, &str) {
    let second = word.char_indices().nth(1).map_or(word.len(), |(at, _)| at);
    let fits = word.char_indices().map(|(at, _)| at).take_while(|at| width(&word[..*at]) <= columns).last();
    word.split_at(fits.unwrap_or(second).max(second))
}
