//! The reference of all keys, as Markdown.
//!
//! In: the definitions. Out: one table per mapping of the file, in the order of the file. Absent:
//! words of its own about any key; they are the definitions'.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::decode::{Definitions, FromNode};
use super::raw;

const HEAD: &str = "\
# The configuration file

`/etc/lb/lb.yaml`, and `conf.d/*.yaml` beside it in the order of their names. Files in `conf.d` add to
lists and mappings and contradict nothing. Every key is listed here; unknown keys are errors.

- A duration is a whole number and a unit: `100ms`, `4s`, `5m`, `6h`, `1d`. A number alone means seconds.
- `${NAME}` in a value is replaced by the environment variable NAME. Write `$${` for a plain `${`.
- A relative file name is taken from the directory of `lb.yaml`.
- `lbctl check` says what is wrong with a file, `lbctl config show --effective` prints it with every
  default, `lbctl schema` prints a JSON Schema for editors.
";

/// The reference of all keys.
pub fn reference() -> String {
    let mut definitions = Definitions::default();
    raw::Root::schema(&mut definitions);
    let mut page = Page { definitions: &definitions, text: HEAD.to_owned(), done: HashSet::new() };
    page.record("Root", "At the top");
    page.text
}

struct Page<'d> {
    definitions: &'d Definitions,
    text: String,
    done: HashSet<String>,
}

impl Page<'_> {
    /// A table of the keys of a record, then the records that they hold.
    fn record(&mut self, name: &str, path: &str) {
        let Some((name, keys)) = self.definitions.keys.get_key_value(name) else { return };
        if !self.done.insert((*name).to_owned()) {
            return;
        }
        let schema = &self.definitions.schemas[*name];
        let about = schema["description"].as_str().unwrap_or("");
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\n## {path}\n\n{about}\n\n| Key | Value | Meaning |\n|---|---|---|\n");
        let required = |key: &str| schema["required"].as_array().is_some_and(|list| list.contains(&key.into()));
        for key in keys {
            let property = &schema["properties"][*key];
            let meaning = property["description"].as_str().unwrap_or("");
            let default = match &property["default"] {
                Value::Null if required(key) => " Required.".to_owned(),
                Value::Null => String::new(),
                Value::String(text) => format!(" Default: `{text}`."),
                other => format!(" Default: `{other}`."),
            };
            let _ = writeln!(self.text, "| `{key}` | {} | {meaning}{default} |", value(property));
        }
        for key in keys {
            let path = if *name == "Root" { (*key).to_owned() } else { format!("{path}.{key}") };
            for (target, suffix) in records(&schema["properties"][*key]) {
                self.record(&target, &format!("{path}{suffix}"));
            }
        }
    }
}

/// The records that a value can be or hold, and how their paths go on.
fn records(schema: &Value) -> Vec<(String, &'static str)> {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        return vec![(name.to_owned(), "")];
    }
    let nested = |schema: &Value, suffix| records(schema).into_iter().map(|(name, _)| (name, suffix)).collect();
    match schema {
        _ if schema["items"].is_object() => nested(&schema["items"], "[]"),
        _ if schema["additionalProperties"].is_object() => nested(&schema["additionalProperties"], ".LABEL"),
        _ => schema["anyOf"].as_array().map_or_else(Vec::new, |choices| choices.iter().flat_map(records).collect()),
    }
}

/// What may be written, in a few words.
fn value(schema: &Value) -> String {
    if schema["$ref"].is_string() {
        return "mapping, below".to_owned();
    }
    if let Some(choices) = schema["enum"].as_array() {
        return format!("`{}`", choices.first().unwrap_or(&Value::Null));
    }
    if let Some(words) = schema["oneOf"].as_array() {
        let word = |choice: &Value| {
            let word = choice["const"].as_str().map_or_else(|| choice["const"].to_string(), str::to_owned);
            format!("`{word}`: {}", choice["description"].as_str().unwrap_or(""))
        };
        return words.iter().map(word).collect::<Vec<_>>().join("<br>");
    }
    if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        return format!("{least} to {most}");
    }
    if schema["items"].is_object() {
        return format!("list: {}", value(&schema["items"]));
    }
    if schema["propertyNames"].is_object() {
        return format!("statuses: {}", value(&schema["additionalProperties"]));
    }
    if schema["additionalProperties"].is_object() {
        return format!("labels: {}", value(&schema["additionalProperties"]));
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return alternatives(choices);
    }
    let is_network = |pattern: &str| pattern.ends_with("(/[0-9]{1,3})?$");
    match schema["type"].as_str() {
        _ if schema["pattern"].as_str().is_some_and(is_network) => "address or network".to_owned(),
        Some("boolean") => "`true`, `false`".to_owned(),
        _ => "text".to_owned(),
    }
}

fn alternatives(choices: &[Value]) -> String {
    if let [one, several] = choices
        && several["items"] == *one
    {
        return match &value(one)[..] {
            "mapping, below" => "mapping, below, or a list of them".to_owned(),
            one => format!("{one}, or a list"),
        };
    }
    let has = |what: &str| choices.iter().any(|choice| choice["format"] == what);
    let is_duration = |choice: &Value| choice["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms|s"));
    if has("ipv4") {
        return "address".to_owned();
    }
    if choices.iter().any(is_duration) {
        return "duration".to_owned();
    }
    if choices.iter().any(|choice| choice["items"].is_object()) {
        return "`80`, `[1935, 554, 50000-65535]` or `\"1935,554,50000-65535\"`".to_owned();
    }
    choices.iter().map(value).collect::<Vec<_>>().join("<br>or ")
}
