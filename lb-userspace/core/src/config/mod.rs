//! From what the administrator typed to a [`model::Config`] that can be compiled.
//!
//! In: the text of one or more YAML files, the environment. Out: a [`model::Config`] and warnings, or
//! every mistake at once; the JSON Schema; the whole configuration as text; what differs between
//! two. Absent: reading files ([`load`] gets text), and what only the running machine can say
//! ([`host::check_against_host`] gets its addresses).
//!
//! Relative file names stay as typed; they are meant from the directory of the main file.

mod checks;
mod code;
mod decode;
pub mod diagnostic;
pub mod diff;
mod effective;
mod environment;
pub mod host;
mod merge;
pub mod model;
mod parse;
mod places;
mod raw;
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use decode::{Context, Definitions, FromNode};
pub use diagnostic::Diagnostic;
pub use effective::effective;
pub use host::{HostAddress, HostAddresses, check_against_host};
pub use places::Places;
use places::{Place, Problems};
pub use source::Source;
use source::{SourceMap, Span};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: model::Config,
    /// What is probably not meant, in the order of the sources.
    pub warnings: Vec<Diagnostic>,
    /// Where each value was written, for [`check_against_host`].
    pub places: Places,
}

/// Reads the main file and those of conf.d, in this order.
///
/// Mappings are merged and lists joined; files may not contradict each other. `env` looks up
/// environment variables for `${NAME}`.
///
/// # Errors
/// All mistakes and warnings, in the order of the sources.
pub fn load(sources: &[Source], env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Diagnostic>> {
    read(sources, env, false)
}

/// Reads what [`effective`] printed, to compare it: the placeholders of secrets are accepted.
///
/// The result must not be run; [`diff::diff`] knows that a placeholder says nothing about a secret.
///
/// # Errors
/// All mistakes, when the text is not from [`effective`].
pub fn read_effective(text: &str) -> Result<model::Config, Vec<Diagnostic>> {
    let source = Source { path: "the running configuration".to_owned(), text: text.to_owned() };
    read(&[source], &|_| None, true).map(|loaded| loaded.config)
}

fn read(
    sources: &[Source],
    env: &dyn Fn(&str) -> Option<String>,
    placeholders: bool,
) -> Result<Loaded, Vec<Diagnostic>> {
    let map = SourceMap::new(sources);
    let mut faults = Vec::new();
    let mut budget = tree::MAX_VALUES;
    let count = u32::try_from(sources.len()).unwrap_or(u32::MAX);
    let mut trees = Vec::new();
    let mut readable = true;
    for source in 0..count {
        match tree::read(&map, source, &mut budget, &mut faults) {
            Ok(tree) => trees.extend(tree),
            Err(tree::Unreadable) => readable = false,
        }
    }
    let root = if readable { merge::merge(trees, &map, &mut faults) } else { None };
    let mut cx = Context { places: Places::new(map), problems: Problems::new(), env, placeholders };
    for fault in faults {
        cx.problems.add_fault(fault);
    }
    // What is missing from a file that cannot be read is not missing.
    let config = if readable { understand(root.as_deref(), &mut cx) } else { None };
    let any_error = cx.problems.any_error();
    let diagnostics = cx.problems.into_diagnostics(&cx.places);
    match config {
        Some(config) if !any_error => Ok(Loaded { config, warnings: diagnostics, places: cx.places }),
        _ => Err(diagnostics),
    }
}

fn understand(root: Option<&tree::Node>, cx: &mut Context<'_>) -> Option<model::Config> {
    let empty = tree::Node::mapping(Span::default(), Vec::new());
    let root = root.unwrap_or(&empty);
    // A mistake about the whole is shown on its first line.
    let span = root.span;
    cx.places.set_root(Span { end: span.start, ..span });
    let raw = raw::Root::from_node(root, Place::ROOT, cx)?;
    parse::config(&raw, cx)
}

/// The JSON Schema of the main file (draft 2020-12), for editors.
pub fn schema() -> serde_json::Value {
    let mut definitions = Definitions::new();
    raw::Root::schema(&mut definitions);
    let mut root = definitions.remove("Root").unwrap_or_default();
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Configuration of lb".into();
    root["$defs"] = definitions.into();
    root
}
