//! YAML as a tree of values that know their place.
//!
//! In: the text of one source. Out: a tree with anchors, aliases and merge keys (`<<`) resolved, and
//! the mistakes that are YAML's own. Absent: what the keys mean. Depth and expanded size are bounded,
//! so a hostile file costs no more than a large honest one.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::code::Code;
use super::source::{SourceMap, Span};

/// Bytes of one source.
pub(crate) const MAX_SOURCE_BYTES: usize = 4 << 20;
/// Values of all sources together, each alias counted with all that it stands for.
pub(crate) const MAX_VALUES: usize = 500_000;
/// Values inside values.
pub(crate) const MAX_DEPTH: usize = 32;

/// One value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Values in it, itself included, aliases expanded.
    values: usize,
    depth: usize,
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
    plain: bool,
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

    fn new(kind: Kind, span: Span) -> Self {
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

/// The mistakes in a source leave nothing to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

/// Reads one source; `None` when it is empty. `faults` gets the mistakes.
pub(crate) fn read(
    map: &SourceMap,
    source: u32,
    budget: &mut usize,
    faults: &mut Vec<Fault>,
) -> Result<Option<Rc<Node>>, Unreadable> {
    let text = map.text(source);
    if text.len() > MAX_SOURCE_BYTES {
        let span = Span { source, start: 0, end: 0 };
        let message = format!("the file has {} bytes; the limit is {MAX_SOURCE_BYTES}", text.len());
        faults.push(Fault { code: Code::TooLarge, span, message, label: String::new(), help: None });
        return Err(Unreadable);
    }
    let mut reader = Reader::new(source, text, budget);
    let result = reader.run(text);
    faults.append(&mut reader.faults);
    result.map_err(|fault| {
        faults.push(*fault);
        Unreadable
    })
}

struct Reader<'a> {
    source: u32,
    /// Byte offset of each character; empty when the text is ASCII and both are the same.
    offsets: Vec<u32>,
    length: u32,
    budget: &'a mut usize,
    anchors: HashMap<usize, Rc<Node>>,
    open: Vec<Frame>,
    root: Option<Rc<Node>>,
    faults: Vec<Fault>,
}

/// A collection that is not complete yet.
struct Frame {
    anchor: usize,
    start: Span,
    items: Items,
}

enum Items {
    Sequence(Vec<Rc<Node>>),
    Mapping { entries: Vec<(Key, Rc<Node>)>, key: Option<Key> },
}

type Stop = Box<Fault>;

impl<'a> Reader<'a> {
    fn new(source: u32, text: &str, budget: &'a mut usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let offsets =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| narrow(at)).collect() };
        Self {
            source,
            offsets,
            length: narrow(text.len()),
            budget,
            anchors: HashMap::new(),
            open: Vec::new(),
            root: None,
            faults: Vec::new(),
        }
    }

    fn run(&mut self, text: &str) -> Result<Option<Rc<Node>>, Stop> {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, at) = event.map_err(|error| self.syntax(&error))?;
            let span = self.span(at.start.index(), at.end.index());
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(stop(
                            Code::UnsupportedYaml,
                            span,
                            "a second document begins here",
                            "a configuration file is one document",
                            "remove the line `---`, or write the rest into a file of its own in conf.d",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && !self.quotes(tag.as_deref(), span);
                    self.scalar(text.into_owned(), plain, anchor, span)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.quotes(tag.as_deref(), span);
                    self.begin(Frame { anchor, start: span, items: Items::Sequence(Vec::new()) })?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.quotes(tag.as_deref(), span);
                    let items = Items::Mapping { entries: Vec::new(), key: None };
                    self.begin(Frame { anchor, start: span, items })?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(self.root.take())
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let byte = |index: usize| {
            if self.offsets.is_empty() {
                u32::try_from(index).unwrap_or(u32::MAX).min(self.length)
            } else {
                self.offsets.get(index).copied().unwrap_or(self.length)
            }
        };
        let start = byte(start);
        Span { source: self.source, start, end: byte(end).max(start) }
    }

    fn syntax(&self, error: &saphyr_parser::ScanError) -> Stop {
        let at = error.marker().index();
        stop(
            Code::Syntax,
            self.span(at, at),
            &format!("the file is not YAML from here on: {}", error.info()),
            if self.span(at, at).start >= self.length { "the file ends here" } else { "" },
            "look for a missing colon, bracket or quote, or wrong indentation, here or on the line before",
        )
    }

    /// Whether a tag says that the scalar is text whatever it looks like.
    fn quotes(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        if !tag.is_yaml_core_schema() && tag.to_string() != "!" {
            self.faults.push(*stop(
                Code::UnsupportedYaml,
                span,
                &format!("the tag `{}` has no meaning here", clip(&tag.to_string())),
                "",
                "remove the tag",
            ));
        }
        tag.is_yaml_core_schema() && tag.suffix == "str"
    }

    fn scalar(&mut self, text: String, plain: bool, anchor: usize, span: Span) -> Result<(), Stop> {
        // The parser says `~` where nothing is written.
        let text = if plain && span.start == span.end { String::new() } else { text };
        if let Some(Frame { items: Items::Mapping { key: key @ None, .. }, .. }) = self.open.last_mut() {
            *key = Some(Key { text: text.clone(), span, plain });
            if anchor == 0 {
                return Ok(());
            }
            // An anchored key can be named by an alias elsewhere.
            self.anchors.insert(anchor, Rc::new(Node::new(Kind::Scalar { text, plain }, span)));
            return Ok(());
        }
        self.place(Rc::new(Node::new(Kind::Scalar { text, plain }, span)), anchor)
    }

    fn begin(&mut self, frame: Frame) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(frame.start));
        }
        if let Some(Frame { items: Items::Mapping { key: None, .. }, .. }) = self.open.last() {
            return Err(Box::new(complex_key(frame.start)));
        }
        self.open.push(frame);
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Stop> {
        let Some(Frame { anchor, start, items }) = self.open.pop() else { return Ok(()) };
        let span = Span { source: self.source, start: start.start, end: span.end.max(start.end) };
        let node = match items {
            Items::Sequence(items) => Node::sequence(span, items),
            Items::Mapping { entries, .. } => Node::mapping(span, self.merge(entries)),
        };
        self.place(Rc::new(node), anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(stop(
                Code::UnsupportedYaml,
                span,
                "an alias inside its own anchor",
                "this value would contain itself",
                "write the value out",
            ));
        };
        if let Some(Frame { items: Items::Mapping { key: key @ None, .. }, .. }) = self.open.last_mut() {
            let Kind::Scalar { text, .. } = &node.kind else { return Err(Box::new(complex_key(span))) };
            *key = Some(Key { text: text.clone(), span, plain: false });
            return Ok(());
        }
        if self.open.len() + node.depth > MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.place(node, 0)
    }

    /// Puts a complete value where it belongs.
    fn place(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Stop> {
        // Collections are paid for by their parts; an alias pays for all that it stands for.
        let cost = match &node.kind {
            Kind::Scalar { .. } => 1,
            _ if Rc::strong_count(&node) > 1 => node.values,
            _ => 1,
        };
        let Some(left) = self.budget.checked_sub(cost) else {
            return Err(stop(
                Code::TooLarge,
                node.span,
                &format!("the configuration has more than {MAX_VALUES} values"),
                "reading stops here",
                "aliases and merge keys count with all that they stand for",
            ));
        };
        *self.budget = left;
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut().map(|frame| &mut frame.items) {
            None => self.root = Some(node),
            Some(Items::Sequence(items)) => items.push(node),
            Some(Items::Mapping { entries, key }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
        }
        Ok(())
    }

    /// Removes keys written twice, and fills in what `<<` brings; keys written here win.
    fn merge(&mut self, entries: Vec<(Key, Rc<Node>)>) -> Vec<(Key, Rc<Node>)> {
        let mut seen: HashMap<String, Span> = HashMap::with_capacity(entries.len());
        let mut kept: Vec<(Key, Rc<Node>)> = Vec::with_capacity(entries.len());
        let mut merged: Vec<Rc<Node>> = Vec::new();
        for (key, value) in entries {
            if key.plain && key.text == "<<" {
                merged.push(value);
            } else if seen.contains_key(&key.text) {
                self.faults.push(*stop(
                    Code::DuplicateKey,
                    key.span,
                    &format!("`{}` is written twice", clip(&key.text)),
                    "the same key stands before in this mapping",
                    "remove one of the two",
                ));
            } else {
                seen.insert(key.text.clone(), key.span);
                kept.push((key, value));
            }
        }
        for base in merged {
            self.merge_from(&base, &mut seen, &mut kept, true);
        }
        kept
    }

    fn merge_from(
        &mut self,
        base: &Rc<Node>,
        seen: &mut HashMap<String, Span>,
        kept: &mut Vec<(Key, Rc<Node>)>,
        list_allowed: bool,
    ) {
        match &base.kind {
            Kind::Mapping(entries) => {
                for (key, value) in entries {
                    if !seen.contains_key(&key.text) {
                        seen.insert(key.text.clone(), key.span);
                        kept.push((key.clone(), Rc::clone(value)));
                    }
                }
            }
            Kind::Sequence(bases) if list_allowed => {
                for base in bases {
                    self.merge_from(base, seen, kept, false);
                }
            }
            _ => self.faults.push(*stop(
                Code::WrongShape,
                base.span,
                "`<<` takes a mapping, usually an alias such as `*name`",
                "",
                "name a mapping that has an anchor (`&name`)",
            )),
        }
    }
}

fn complex_key(span: Span) -> Fault {
    *stop(
        Code::UnsupportedYaml,
        span,
        "a key that is not plain text",
        "",
        "write the key as one word, without brackets",
    )
}

fn too_deep(span: Span) -> Stop {
    stop(
        Code::TooLarge,
        span,
        &format!("values are nested deeper than {MAX_DEPTH} levels"),
        "reading stops here",
        "no setting needs this depth",
    )
}

fn stop(code: Code, span: Span, message: &str, label: &str, help: &str) -> Stop {
    Box::new(Fault { code, span, message: message.to_owned(), label: label.to_owned(), help: Some(help.to_owned()) })
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
