//! Where each value of a configuration was written, and the mistakes found so far.
//!
//! In: places while the tree is read, mistakes from every rule. Out: diagnostics in the order of the
//! file. Absent: the rules. Mistakes are bounded: a hostile file cannot make more than
//! [`MAX_PROBLEMS`] of them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::code::{Code, Severity};
use super::diagnostic::Diagnostic;
use super::source::{SourceMap, Span};
use super::tree::Fault;

/// More mistakes than this are counted, not kept.
pub(crate) const MAX_PROBLEMS: usize = 500;

/// A value's place, as an index into [`Places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place(u32);

impl Place {
    /// The whole configuration.
    pub(crate) const ROOT: Self = Self(0);
}

#[derive(Clone, Debug)]
enum Segment {
    Root,
    Key(String),
    Index(usize),
}

#[derive(Clone, Debug)]
struct Entry {
    parent: Place,
    segment: Segment,
    /// The value.
    span: Span,
    /// Its key, where it has one.
    key: Span,
}

/// Places of all values of a configuration; kept beside it for checks that come later.
pub struct Places {
    map: SourceMap,
    entries: Vec<Entry>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({})", self.entries.len())
    }
}

impl Places {
    pub(crate) fn new(map: SourceMap) -> Self {
        let root = Entry { parent: Place::ROOT, segment: Segment::Root, span: Span::default(), key: Span::default() };
        Self { map, entries: vec![root] }
    }

    pub(crate) fn map(&self) -> &SourceMap {
        &self.map
    }

    pub(crate) fn key(&mut self, parent: Place, name: &str, key: Span, value: Span) -> Place {
        self.push(Entry { parent, segment: Segment::Key(name.to_owned()), span: value, key })
    }

    pub(crate) fn index(&mut self, parent: Place, index: usize, value: Span) -> Place {
        self.push(Entry { parent, segment: Segment::Index(index), span: value, key: value })
    }

    pub(crate) fn set_root(&mut self, span: Span) {
        self.entries[0].span = span;
        self.entries[0].key = span;
    }

    fn push(&mut self, entry: Entry) -> Place {
        let place = Place(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(entry);
        place
    }

    fn entry(&self, place: Place) -> &Entry {
        self.entries.get(place.0 as usize).unwrap_or(&self.entries[0])
    }

    pub(crate) fn span(&self, place: Place) -> Span {
        self.entry(place).span
    }

    pub(crate) fn key_span(&self, place: Place) -> Span {
        self.entry(place).key
    }

    /// `FILE:LINE:COLUMN` of a value.
    pub(crate) fn reference(&self, place: Place) -> String {
        self.map.reference(self.span(place))
    }

    /// `virtual_services[2].address`.
    pub(crate) fn path(&self, place: Place) -> String {
        let mut segments = Vec::new();
        let mut at = place;
        while at != Place::ROOT && segments.len() < super::tree::MAX_DEPTH {
            let entry = self.entry(at);
            segments.push(&entry.segment);
            at = entry.parent;
        }
        let mut path = String::new();
        for segment in segments.iter().rev() {
            match segment {
                Segment::Root => {}
                Segment::Key(name) if path.is_empty() => path.push_str(&super::tree::clip(name)),
                Segment::Key(name) => {
                    path.push('.');
                    path.push_str(&super::tree::clip(name));
                }
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// The keys directly below a mapping.
    pub(crate) fn keys_of(&self, parent: Place) -> HashSet<String> {
        let key = |entry: &Entry| match &entry.segment {
            Segment::Key(name) if entry.parent == parent => Some(name.clone()),
            Segment::Key(_) | Segment::Index(_) | Segment::Root => None,
        };
        self.entries.iter().filter_map(key).collect()
    }

    /// All places by path; the first of each path counts.
    pub(crate) fn by_path(&self) -> HashMap<String, Place> {
        let mut places = HashMap::with_capacity(self.entries.len());
        for index in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            places.entry(self.path(Place(index))).or_insert(Place(index));
        }
        places
    }
}

/// A mistake whose words are still being chosen.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    place: Place,
    span: Span,
    message: String,
    label: String,
    help: Option<String>,
}

impl Problem {
    /// Why it is wrong; shown under the mark.
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// What to write instead.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

/// The mistakes found so far.
#[derive(Debug)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    seen: HashSet<(Code, Span, String)>,
    left_out: usize,
    spare: Problem,
}

impl Problems {
    pub(crate) fn new() -> Self {
        let spare = Problem {
            code: Code::TooManyProblems,
            place: Place::ROOT,
            span: Span::default(),
            message: String::new(),
            label: String::new(),
            help: None,
        };
        Self { found: Vec::new(), seen: HashSet::new(), left_out: 0, spare }
    }

    /// Notes a mistake once; the same one met again through an alias is not noted twice.
    pub(crate) fn add(&mut self, code: Code, place: Place, span: Span, message: impl Into<String>) -> &mut Problem {
        let message = message.into();
        if self.found.len() >= MAX_PROBLEMS {
            self.left_out += 1;
            return &mut self.spare;
        }
        if !self.seen.insert((code, span, message.clone())) {
            return &mut self.spare;
        }
        self.found.push(Problem { code, place, span, message, label: String::new(), help: None });
        self.found.last_mut().unwrap_or(&mut self.spare)
    }

    pub(crate) fn add_fault(&mut self, fault: Fault) {
        let problem = self.add(fault.code, Place::ROOT, fault.span, fault.message);
        problem.label(fault.label);
        problem.help = fault.help;
    }

    pub(crate) fn any_error(&self) -> bool {
        self.left_out > 0 || self.found.iter().any(|problem| problem.code.severity() == Severity::Error)
    }

    /// All of them, in the order of the sources.
    pub(crate) fn into_diagnostics(mut self, places: &Places) -> Vec<Diagnostic> {
        if self.left_out > 0 {
            let last = self.found.iter().map(|problem| problem.span).max().unwrap_or_default();
            let message = format!("{} more mistakes are not shown", self.left_out);
            self.found.push(Problem { message, span: last, help: None, label: String::new(), ..self.spare });
        }
        self.found.sort_by(|a, b| {
            (a.span.source, a.span.start, a.code, &a.message).cmp(&(b.span.source, b.span.start, b.code, &b.message))
        });
        self.found.into_iter().map(|problem| problem.into_diagnostic(places)).collect()
    }
}

impl Problem {
    fn into_diagnostic(self, places: &Places) -> Diagnostic {
        let location = places.map.locate(self.span);
        let mut diagnostic = Diagnostic::new(self.code, places.path(self.place), location, self.message);
        diagnostic.label = self.label;
        diagnostic.help = self.help;
        diagnostic
    }
}
