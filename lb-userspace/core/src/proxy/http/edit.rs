//! Edits of fields, compiled.

use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};
use regex::bytes::{Regex, RegexBuilder};

use super::template::{Scene, Template};
use super::{fields, host};
use crate::config::model::HeaderEdit;

/// The most bytes that a value may have after a replacement: as many as a whole header by default.
const MOST_BYTES: usize = 32 << 10;

/// Edits in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits {
    edits: Box<[Edit]>,
    /// Whether a value tells of the request.
    tell_of_request: bool,
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(HeaderName, Template),
    Set(HeaderName, Template),
    Delete(HeaderName),
    Replace(HeaderName, Box<Replacement>),
}

#[derive(Clone, Debug)]
struct Replacement {
    pattern: Regex,
    with: Box<[u8]>,
}

impl Edits {
    /// # Errors
    /// A sentence that says which edit cannot be, and why.
    pub(super) fn new(edits: &[HeaderEdit]) -> Result<Self, String> {
        edits.iter().map(Edit::new).collect::<Result<Vec<_>, _>>().map(Self::of)
    }

    /// Edits of requests: those that can be made at once, and those that name the real server.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn of_requests(edits: &[HeaderEdit]) -> Result<(Self, Self), String> {
        let all = edits.iter().map(Edit::new).collect::<Result<Vec<_>, _>>()?;
        if all.iter().any(|edit| matches!(edit, Edit::Insert(name, _) | Edit::Delete(name) if name == HOST)) {
            return Err("every request has exactly one Host; use set or replace".to_owned());
        }
        let names_server = |edit: &Edit| edit.template().is_some_and(Template::names_server);
        let (late, early) = all.into_iter().partition(names_server);
        Ok((Self::of(early), Self::of(late)))
    }

    fn of(edits: Vec<Edit>) -> Self {
        let tell_of_request = edits.iter().filter_map(Edit::template).any(Template::tells_of_request);
        Self { edits: edits.into(), tell_of_request }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Whether a value tells of the request.
    pub(super) fn tell_of_request(&self) -> bool {
        self.tell_of_request
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap, scene: &Scene<'_>) {
        for edit in &self.edits {
            edit.apply(headers, scene);
        }
    }
}

impl Edit {
    fn new(edit: &HeaderEdit) -> Result<Self, String> {
        Ok(match edit {
            HeaderEdit::Insert { name, value } => Self::Insert(editable(name)?, Template::new(value)?),
            HeaderEdit::Set { name, value } => Self::Set(editable(name)?, Template::new(value)?),
            HeaderEdit::Delete { name } => Self::Delete(editable(name)?),
            HeaderEdit::Replace { name, pattern, with } => {
                let compiled = RegexBuilder::new(pattern).size_limit(1 << 20).build();
                let pattern = compiled.map_err(|error| format!("`{pattern}` is no regular expression: {error}"))?;
                if HeaderValue::from_str(with).is_err() {
                    return Err(format!("{with:?} cannot be in a field: it has a line break or a control character"));
                }
                Self::Replace(editable(name)?, Box::new(Replacement { pattern, with: with.as_bytes().into() }))
            }
        })
    }

    fn template(&self) -> Option<&Template> {
        match self {
            Self::Insert(_, value) | Self::Set(_, value) => Some(value),
            Self::Delete(_) | Self::Replace(..) => None,
        }
    }

    /// A value that can be none is left out: what the client sent in its place does not stay either.
    fn apply(&self, headers: &mut HeaderMap, scene: &Scene<'_>) {
        match self {
            Self::Insert(name, value) => {
                if let Some(value) = value.value(scene) {
                    headers.append(name, value);
                }
            }
            Self::Set(name, value) => match value.value(scene) {
                Some(value) => put(headers, name, value),
                None => drop(headers.remove(name)),
            },
            Self::Delete(name) => drop(headers.remove(name)),
            Self::Replace(name, replacement) => replacement.apply(headers, name),
        }
    }
}

impl Replacement {
    fn apply(&self, headers: &mut HeaderMap, name: &HeaderName) {
        if !headers.get_all(name).iter().any(|value| self.pattern.is_match(value.as_bytes())) {
            return;
        }
        let values: Vec<HeaderValue> = headers.get_all(name).iter().filter_map(|value| self.replace(value)).collect();
        if name == HOST {
            if let [value] = values.as_slice() {
                put(headers, name, value.clone());
            }
            return;
        }
        headers.remove(name);
        for value in values {
            headers.append(name, value);
        }
    }

    /// `None`: it would be too long.
    fn replace(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let text = value.as_bytes();
        let mut out = Vec::with_capacity(text.len());
        let mut done = 0;
        for groups in self.pattern.captures_iter(text) {
            let whole = groups.get(0)?;
            out.extend_from_slice(text.get(done..whole.start())?);
            groups.expand(&self.with, &mut out);
            done = whole.end();
            if out.len() > MOST_BYTES {
                return None;
            }
        }
        out.extend_from_slice(text.get(done..)?);
        HeaderValue::from_bytes(out.trim_ascii()).ok()
    }
}

/// A Host that would be none is not taken.
fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if name != HOST || host::is_valid(value.as_bytes()) {
        headers.insert(name, value);
    }
}

fn editable(name: &str) -> Result<HeaderName, String> {
    let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a field"))?;
    if fields::is_reserved(&field) {
        return Err(format!("{name} belongs to the connection or to the length of the body; it cannot be edited"));
    }
    Ok(field)
}
