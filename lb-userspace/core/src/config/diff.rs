//! What differs between two configurations, in sentences.
//!
//! In: two configurations. Out: one change per setting, services and real servers matched by name.
//! Absent: places in files, and what the changes do to traffic.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde_yaml::Value;

use super::effective::document;
use super::model::{Certificate, Config, Secret};
use super::parse::SECRET_PLACEHOLDER;

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The setting, entries of lists by name: `virtual_services.HL7.real_servers.IMS1.weight`.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Its value before, as YAML; `None`: it was not there. Secrets are `<secret>`.
    pub old: Option<String>,
    /// Its value after, as YAML; `None`: it is gone. Secrets are `<secret>`.
    pub new: Option<String>,
    /// The change in words.
    pub sentence: String,
}

/// What happened to a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value, or another place in its list.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// All settings that differ, in the order of the file; empty when the two are equal.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    values(&mut Path::default(), &document(old), &document(new), &mut changes);
    secrets(old, new, &mut changes);
    changes
}

/// Where a comparison is: keys for programs, words for people.
#[derive(Clone, Default)]
struct Path {
    keys: Vec<String>,
    words: Vec<String>,
}

impl Path {
    fn within<R>(&mut self, key: &str, word: String, go: impl FnOnce(&mut Self) -> R) -> R {
        self.keys.push(key.to_owned());
        self.words.push(word);
        let result = go(self);
        self.keys.pop();
        self.words.pop();
        result
    }

    /// `virtual service HL7: real server IMS1: weight`.
    fn subject(&self) -> String {
        self.words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(": ")
    }

    fn change(&self, kind: ChangeKind, old: Option<&Value>, new: Option<&Value>) -> Change {
        let (old, new) = (old.map(print), new.map(print));
        let subject = self.subject();
        let sentence = match (&old, &new, kind) {
            (Some(old), Some(new), ChangeKind::Changed) => format!("{subject} changes from {old} to {new}"),
            (None, Some(new), ChangeKind::Added) if is_short(new) => format!("{subject} is added: {new}"),
            (Some(old), None, ChangeKind::Removed) if is_short(old) => format!("{subject} is removed; it was {old}"),
            (_, _, ChangeKind::Added) => format!("{subject} is added"),
            (_, _, ChangeKind::Removed) => format!("{subject} is removed"),
            (_, _, ChangeKind::Changed) => format!("{subject} changes"),
        };
        Change { path: self.keys.join("."), kind, old, new, sentence }
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= 40 && !text.contains(['{', '\n'])
}

fn values(path: &mut Path, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Mapping(old_map), Value::Mapping(new_map)) => {
            let keys = old_map.keys().chain(new_map.keys().filter(|key| !old_map.contains_key(key)));
            for key in keys {
                let name = print(key);
                path.within(&name, word_for(&name), |path| {
                    one(path, old_map.get(key), new_map.get(key), changes);
                });
            }
        }
        (Value::Sequence(old_list), Value::Sequence(new_list)) if is_named(old_list) && is_named(new_list) => {
            named_lists(path, old_list, new_list, changes);
        }
        (Value::Sequence(old_list), Value::Sequence(new_list)) if are_mappings(old_list) && are_mappings(new_list) => {
            numbered_lists(path, old_list, new_list, changes);
        }
        _ => changes.push(path.change(ChangeKind::Changed, Some(old), Some(new))),
    }
}

fn one(path: &mut Path, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (Some(old), Some(new)) => values(path, old, new, changes),
        (Some(old), None) => changes.push(path.change(ChangeKind::Removed, Some(old), None)),
        (None, Some(new)) => changes.push(path.change(ChangeKind::Added, None, Some(new))),
        (None, None) => {}
    }
}

/// Entries are matched by name; a change of order alone is one change.
fn named_lists(path: &mut Path, old: &[Value], new: &[Value], changes: &mut Vec<Change>) {
    let singular = match path.keys.last().map(String::as_str) {
        Some("virtual_services") => "virtual service",
        Some("real_servers") => "real server",
        Some("interfaces") => "interface",
        Some("rules") => "rule",
        _ => "entry",
    };
    let mut entry = |name: &str, old: Option<&Value>, new: Option<&Value>| {
        path.within(name, format!("{singular} {name}"), |path| one(path, old, new, changes));
    };
    for value in old {
        let name = name_of(value).unwrap_or_default();
        entry(&name, Some(value), find(new, &name));
    }
    for value in new {
        let name = name_of(value).unwrap_or_default();
        if find(old, &name).is_none() {
            entry(&name, None, Some(value));
        }
    }
    let common = |list: &[Value], other: &[Value]| -> Vec<String> {
        list.iter().filter_map(name_of).filter(|name| find(other, name).is_some()).collect()
    };
    let (before, after) = (common(old, new), common(new, old));
    if before != after {
        path.within("order", format!("the order of each {singular}"), |path| {
            let (before, after) = (Value::from(before.join(", ")), Value::from(after.join(", ")));
            changes.push(path.change(ChangeKind::Changed, Some(&before), Some(&after)));
        });
    }
}

/// Entries without names, such as edits of headers, are matched by their number, from 1.
fn numbered_lists(path: &mut Path, old: &[Value], new: &[Value], changes: &mut Vec<Change>) {
    let singular = match path.keys.last().map(String::as_str) {
        Some("rules") => "rule",
        _ => "entry",
    };
    for at in 0..old.len().max(new.len()) {
        let number = (at + 1).to_string();
        path.within(&number, format!("{singular} {number}"), |path| one(path, old.get(at), new.get(at), changes));
    }
}

fn are_mappings(list: &[Value]) -> bool {
    list.iter().all(Value::is_mapping)
}

fn name_of(value: &Value) -> Option<String> {
    let mapping = value.as_mapping()?;
    mapping.get("name").or_else(|| mapping.get("device")).map(print)
}

/// Conditions may name one header twice: those are not matched by name.
fn is_named(list: &[Value]) -> bool {
    let mut names = HashSet::new();
    list.iter().all(|value| name_of(value).is_some_and(|name| names.insert(name)))
}

fn find<'v>(list: &'v [Value], name: &str) -> Option<&'v Value> {
    list.iter().find(|value| name_of(value).as_deref() == Some(name))
}

/// Sections that only group settings are not repeated in sentences.
fn word_for(key: &str) -> String {
    match key {
        "virtual_services" | "real_servers" | "interfaces" | "rules" | "defaults" | "node" => String::new(),
        "certificates" => "certificate".to_owned(),
        key => key.replace('_', " "),
    }
}

/// A value on one line.
fn print(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Sequence(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(", ")),
        Value::Mapping(mapping) => {
            let entry = |(key, value): (&Value, &Value)| format!("{}: {}", print(key), print(value));
            format!("{{{}}}", mapping.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Null => "nothing".to_owned(),
        Value::Bool(switch) => switch.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Tagged(tagged) => print(&tagged.value),
    }
}

/// Secrets look the same when printed, so they are compared here.
fn secrets(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let mut changed = |path: &str, subject: &str, old: Option<&Secret>, new: Option<&Secret>| {
        if let (Some(Secret::Value(before)), Some(Secret::Value(after))) = (old, new)
            && before != after
            && before != SECRET_PLACEHOLDER
            && after != SECRET_PLACEHOLDER
        {
            changes.push(Change {
                path: path.to_owned(),
                kind: ChangeKind::Changed,
                old: Some(SECRET_PLACEHOLDER.to_owned()),
                new: Some(SECRET_PLACEHOLDER.to_owned()),
                sentence: format!("{subject} changes"),
            });
        }
    };
    let password = |certificate: Option<&Certificate>| match certificate {
        Some(Certificate::Pfx { password, .. }) => password.clone(),
        Some(Certificate::Pem { .. }) | None => None,
    };
    for (label, certificate) in &old.certificates {
        let (before, after) = (password(Some(certificate)), password(new.certificates.get(label)));
        let path = format!("certificates.{label}.password");
        changed(&path, &format!("certificate: {label}: password"), before.as_ref(), after.as_ref());
    }
    let key = |config: &Config| config.high_availability.as_ref().map(|pair| pair.sync.key.clone());
    let (before, after) = (key(old), key(new));
    changed("high_availability.sync.key", "high availability: sync: key", before.as_ref(), after.as_ref());
}
