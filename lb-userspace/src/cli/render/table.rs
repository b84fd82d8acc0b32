//! Rows set in columns by display width, with free text after the last column.

use super::style::{Style, clean_line, width, wrap};

/// Columns of the terminal between those of the table.
const GAP: usize = 2;
/// Free text gets a line of its own where fewer columns than this are left for it.
const NARROWEST_TEXT: usize = 28;
/// That line begins here.
const TEXT_INDENT: usize = 6;

/// A piece of text in one cell, in one or several styles.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell(Vec<(String, Style)>);

impl Cell {
    pub(super) fn new(text: &str, style: Style) -> Self {
        Self::default().and(text, style)
    }

    pub(super) fn and(mut self, text: &str, style: Style) -> Self {
        self.0.push((clean_line(text), style));
        self
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| width(text)).sum()
    }

    fn paint(&self, colour: bool) -> String {
        self.0.iter().map(|(text, style)| style.paint(text, colour)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows in columns.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Align>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    is_header: bool,
    cells: Vec<Cell>,
    text: String,
    style: Style,
}

impl Table {
    pub(super) fn new(columns: &[Align]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Titles of the columns and of the free text.
    pub(super) fn header(&mut self, titles: Vec<&str>, text: &str) {
        let cells = titles.into_iter().map(|title| Cell::new(title, Style::Dim)).collect();
        self.push(Row { is_header: true, cells, text: clean_line(text), style: Style::Dim });
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.row_with_text(cells, "", Style::Plain);
    }

    /// A row with free text after its last column.
    pub(super) fn row_with_text(&mut self, cells: Vec<Cell>, text: &str, style: Style) {
        self.push(Row { is_header: false, cells, text: clean_line(text), style });
    }

    fn push(&mut self, row: Row) {
        debug_assert_eq!(row.cells.len(), self.columns.len());
        self.rows.push(row);
    }

    /// The table for a terminal of `columns`; each line ends with a line end, none with spaces.
    pub(super) fn render(&self, columns: usize, colour: bool) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| self.rows.iter().map(|row| row.cells[column].width()).max().unwrap_or(0))
            .collect();
        let text_at = widths.iter().map(|width| advance(*width)).sum::<usize>();
        let beside = columns.saturating_sub(text_at);
        let longest = self.rows.iter().map(|row| width(&row.text)).max().unwrap_or(0);
        let is_beside = beside >= NARROWEST_TEXT.min(longest);
        let mut out = String::new();
        for row in &self.rows {
            let line = self.line(&row.cells, &widths, colour);
            out.push_str(&line.painted);
            if is_beside && !row.text.is_empty() {
                out.push_str(&" ".repeat(text_at - line.width));
                push_wrapped(&mut out, &wrap(&row.text, beside), text_at, row.style, colour);
            }
            // A title would not be seen to belong to the lines below the rows.
            if !is_beside && !row.text.is_empty() && !row.is_header {
                out.push('\n');
                out.push_str(&" ".repeat(TEXT_INDENT));
                let lines = wrap(&row.text, columns.saturating_sub(TEXT_INDENT).max(NARROWEST_TEXT));
                push_wrapped(&mut out, &lines, TEXT_INDENT, row.style, colour);
            }
            out.push('\n');
        }
        out
    }

    fn line(&self, cells: &[Cell], widths: &[usize], colour: bool) -> Line {
        let mut line = Line { painted: String::new(), width: 0 };
        let mut column_at = 0;
        for ((cell, width), align) in cells.iter().zip(widths).zip(&self.columns) {
            let start = match align {
                Align::Left => column_at,
                Align::Right => column_at + width - cell.width(),
            };
            if cell.width() > 0 {
                line.painted.push_str(&" ".repeat(start - line.width));
                line.painted.push_str(&cell.paint(colour));
                line.width = start + cell.width();
            }
            column_at += advance(*width);
        }
        line
    }
}

/// From the start of a column to the start of the next; a column without text takes no room.
const fn advance(width: usize) -> usize {
    if width == 0 { 0 } else { width + GAP }
}

/// A line without trailing spaces, and the columns it takes.
struct Line {
    painted: String,
    width: usize,
}

fn push_wrapped(out: &mut String, lines: &[String], indent: usize, style: Style, colour: bool) {
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&style.paint(line, colour));
    }
}
