//! What the answer of an HTTP check must be.
//!
//! In: what the configuration expects, the status, and as much of the page as was read. Out: nothing, or the
//! failure that says what was expected and what came. Absent: requests and connections.

use std::borrow::Cow;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::outcome::{Detail, Failure};
use crate::config::model::{BodyExpectation, HttpProbe};

/// As much of a page as is looked at; the rest does not count.
pub const MOST_PAGE_BYTES: usize = 64 << 10;

/// As much of a text as a sentence shows, in characters.
const EXCERPT: usize = 60;

/// Regular expressions that were compiled before, so that not every probe does it.
#[derive(Debug, Default)]
pub struct Patterns(HashMap<String, Regex>);

impl Patterns {
    /// As many as are kept; more than that many different ones in use are compiled again and again.
    const LIMIT: usize = 256;

    /// What `probe` expects, ready to be compared.
    ///
    /// # Errors
    /// When its regular expression cannot be compiled, which the configuration would have said.
    pub fn expectation(&mut self, probe: &HttpProbe) -> Result<Expectation, Failure> {
        let page = match &probe.body {
            BodyExpectation::Any => Page::Any,
            BodyExpectation::Contains(text) => Page::Contains(text.clone()),
            BodyExpectation::Equals(text) => Page::Equals(text.trim().to_owned()),
            BodyExpectation::Regex(text) => Page::Matches(self.compile(text)?),
        };
        Ok(Expectation { status: probe.status, page })
    }

    fn compile(&mut self, text: &str) -> Result<Regex, Failure> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let compiled = RegexBuilder::new(text)
            .size_limit(1 << 20)
            .build()
            .map_err(|_| Failure::Local(Detail::new(format!("{} is not a regular expression", quoted(text)))))?;
        if self.0.len() >= Self::LIMIT {
            self.0.clear();
        }
        self.0.insert(text.to_owned(), compiled.clone());
        Ok(compiled)
    }
}

/// What one check expects.
#[derive(Clone, Debug)]
pub struct Expectation {
    status: u16,
    page: Page,
}

#[derive(Clone, Debug)]
enum Page {
    Any,
    Contains(String),
    /// Without white space at both ends.
    Equals(String),
    Matches(Regex),
}

impl Expectation {
    /// Judges the status, which comes before the page.
    ///
    /// # Errors
    /// When another one is expected.
    pub fn status(&self, got: u16) -> Result<(), Failure> {
        if got == self.status { Ok(()) } else { Err(Failure::HttpStatus { expected: self.status, got }) }
    }

    /// Whether the page matters.
    pub fn wants_page(&self) -> bool {
        !matches!(self.page, Page::Any)
    }

    /// Judges the page: its first [`MOST_PAGE_BYTES`] bytes, or all of it when it is `complete`. Bytes that are not
    /// UTF-8 count as U+FFFD.
    ///
    /// # Errors
    /// When something else is expected.
    pub fn page(&self, bytes: &[u8], complete: bool) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(bytes);
        let wrong = match &self.page {
            Page::Any => return Ok(()),
            Page::Contains(wanted) if text.contains(wanted.as_str()) => return Ok(()),
            Page::Contains(wanted) => format!("does not contain {}", quoted(wanted)),
            // What follows could only be more than is wanted.
            Page::Equals(wanted) if complete && text.trim() == wanted => return Ok(()),
            Page::Equals(wanted) => format!("is not {}", quoted(wanted)),
            Page::Matches(wanted) if wanted.is_match(&text) => return Ok(()),
            Page::Matches(wanted) => format!("does not match the regular expression {}", quoted(wanted.as_str())),
        };
        Err(Failure::HttpPage { status: self.status, wrong: Detail::new(wrong), came: came(&text, complete) })
    }
}

/// The beginning of a page, for a sentence.
fn came(text: &str, complete: bool) -> Detail {
    let text = text.trim();
    let begins = match (text.is_empty(), complete && text.chars().count() <= EXCERPT) {
        (true, _) => "it is empty".to_owned(),
        (false, true) => format!("it is {}", quoted(text)),
        (false, false) => format!("it begins with {}", quoted(text)),
    };
    let cut =
        if complete { Cow::Borrowed("") } else { format!("; only its first {MOST_PAGE_BYTES} bytes count").into() };
    Detail::new(format!("{begins}{cut}"))
}

/// The beginning of a text in quotation marks, with dots where it was cut.
fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if chars.next().is_some() { "..." } else { "" };
    format!("\"{shown}{more}\"")
}

#[cfg(test)]
mod tests;
