//! From what the administrator typed to a [`model::Config`] that can be compiled.
//!
//! In: the text of one or more YAML files, the environment. Out: a [`model::Config`] and warnings, or
//! every mistake at once; the JSON Schema; the whole configuration as text; what differs between
//! two. Absent: reading files ([`load`] gets text), and what only the running machine can say
//! ([`host::check_against_host`] gets what it has).
//!
//! Relative file names stay as typed; they are meant from the directory of the main file.

mod checks;
mod code;
mod decode;
pub mod diagnostic;
pub mod diff;
mod effective;
mod environment;
mod files;
pub mod host;
pub mod impact;
mod merge;
pub mod model;
mod parse;
mod places;
mod raw;
mod reader;
mod reference;
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod values;
mod words;

use decode::{Context, Definitions, FromNode};
pub use diagnostic::Diagnostic;
pub use effective::effective;
pub use files::{UnusableFile, check_files};
pub use host::{HostAddress, HostFacts, check_against_host, parse_local_ports};
pub use places::Places;
use places::{Place, Problems};
pub use reference::reference;
pub use source::Source;
use source::{SourceMap, Span};
pub use values::{parse_duration, print_duration};
pub use words::closest;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: model::Config,
    /// What is probably not meant, in the order of the sources.
    pub warnings: Vec<Diagnostic>,
    /// Where each value was written, for [`check_against_host`] and [`check_files`].
    pub places: Places,
}

/// Reads the main file and those of conf.d, in this order.
///
/// Mappings are merged and lists joined; files may not contradict each other. `env` looks up
/// environment variables for `${NAME}`.
///
/// ```
/// use lb_core::config::{Source, diagnostic::render, load};
///
/// let text = "
/// version: 1
/// node: {interfaces: [{device: eth0}]}
/// virtual_services:
///   - {name: web, address: 192.168.10.80, ports: [80], mode: l4-drr, real_servers: [{name: a, address: 192.168.10.81}]}
/// ";
/// let source = Source { path: "lb.yaml".to_owned(), text: text.to_owned() };
/// let mistakes = load(&[source], &|_| None).unwrap_err();
/// assert!(render(&mistakes[0]).contains("lb.yaml:5"));
/// ```
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
    let mut budget = reader::MAX_VALUES;
    let count = u32::try_from(sources.len()).unwrap_or(u32::MAX);
    let mut trees = Vec::new();
    let mut readable = true;
    for source in 0..count {
        match reader::read(&map, source, &mut budget, &mut faults) {
            Ok(tree) => trees.extend(tree),
            Err(reader::Unreadable) => readable = false,
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
    let mut definitions = Definitions::default();
    raw::Root::schema(&mut definitions);
    for record in definitions.schemas.values_mut() {
        let properties = record["properties"].as_object_mut();
        properties.into_iter().flat_map(|properties| properties.values_mut()).for_each(allow_variable);
    }
    let mut root = definitions.schemas.remove("Root").unwrap_or_default();
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Configuration of lb".into();
    root["$defs"] = definitions.schemas.into();
    root
}

/// `${NAME}` may stand for any single value, a number too.
fn allow_variable(property: &mut serde_json::Value) {
    let Some(fields) = property.as_object_mut() else { return };
    if ["$ref", "items", "additionalProperties"].iter().any(|key| fields.contains_key(*key)) {
        return;
    }
    let about = ["description", "default"].map(|key| (key, fields.remove(key)));
    let typed = std::mem::take(fields);
    let variable = serde_json::json!({"type": "string", "pattern": environment::PATTERN});
    fields.insert("anyOf".to_owned(), serde_json::json!([typed, variable]));
    for (key, value) in about {
        fields.extend(value.map(|value| (key.to_owned(), value)));
    }
}
