//! YAML as a tree of values that know their place.
//!
//! In: values, from `reader`. Out: the tree, and how large and deep it is. Absent: YAML's text, and
//! what the keys mean.

use std::rc::Rc;

use super::code::Code;
use super::source::Span;

/// Values inside values.
pub(crate) const MAX_DEPTH: usize = 32;

/// One value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Values in it, itself included, aliases expanded.
    pub(crate) values: usize,
    pub(crate) depth: usize,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Text, and whether it is written without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Key, Rc<Node>)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
    pub(crate) plain: bool,
}

/// A mistake in the YAML itself.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl Node {
    pub(crate) fn sequence(span: Span, items: Vec<Rc<Node>>) -> Self {
        Self::new(Kind::Sequence(items), span)
    }

    pub(crate) fn mapping(span: Span, entries: Vec<(Key, Rc<Node>)>) -> Self {
        Self::new(Kind::Mapping(entries), span)
    }

    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        let (values, depth) = match &kind {
            Kind::Scalar { .. } => (0, 0),
            Kind::Sequence(items) => totals(items.iter()),
            Kind::Mapping(entries) => totals(entries.iter().map(|(_, value)| value)),
        };
        Self { kind, span, values: values + 1, depth: depth + 1 }
    }

    /// Nothing is written, or `null`, or `~`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The word for it in a message.
    pub(crate) fn shape(&self) -> &'static str {
        match &self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

fn totals<'a>(children: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    children.fold((0, 0), |(values, depth), child| (values.saturating_add(child.values), depth.max(child.depth)))
}

/// A text of the file as it may be repeated in a message: short, without control characters.
pub(crate) fn clip(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
