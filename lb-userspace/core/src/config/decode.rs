//! From a tree to typed values: the machinery that `raw` is written in.
//!
//! In: a tree, the environment. Out: values with their places, JSON Schema from the same
//! definitions. Absent: the definitions, and rules between values.
//!
//! `record!` defines a mapping. Each definition is at once the decoder, the default values, the documentation and the JSON Schema.

use std::cell::Cell;
use std::collections::HashMap;

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::code::Code;

use super::environment;

use super::places::{Place, Places, Problem, Problems};

use super::tree::{Key, Kind, Node, clip};
use super::words::closest;

/// The records that the schema consists of.
#[derive(Default)]
pub(crate) struct Definitions {
    /// JSON Schemas by name.
    pub(crate) schemas: Map<String, Value>,
    /// Keys of each record in the order of their definition, which JSON does not keep.
    pub(crate) keys: HashMap<&'static str, Vec<&'static str>>,
}

/// What decoding reads besides the tree, and where it notes what it finds.
pub(crate) struct Context<'a> {
    pub(crate) places: Places,
    pub(crate) problems: Problems,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the placeholder of a secret is accepted as one.
    pub(crate) placeholders: bool,
}

impl Context<'_> {
    /// Notes a mistake in the value at `place`.
    pub(crate) fn report(&mut self, code: Code, place: Place, message: impl Into<String>) -> &mut Problem {
        self.problems.add(code, place, self.places.span(place), message)
    }

    /// Notes a mistake that is the key's rather than the value's.
    pub(crate) fn report_key(&mut self, code: Code, place: Place, message: impl Into<String>) -> &mut Problem {
        self.problems.add(code, place, self.places.key_span(place), message)
    }

    /// The text of a single value, environment variables filled in.
    pub(crate) fn scalar(&mut self, node: &Node, place: Place, expected: &str) -> Option<String> {
        match &node.kind {
            Kind::Scalar { .. } if node.is_null() => {
                self.report(Code::WrongShape, place, format!("no value is written here; {expected} is expected"))
                    .help("write a value, or remove the key to get its default");
                None
            }
            Kind::Scalar { text, .. } => environment::fill_in(self, text, node.span, place),
            Kind::Sequence(_) | Kind::Mapping(_) => {
                let problem = self.problems.add(
                    Code::WrongShape,
                    place,
                    self.places.span(place),
                    format!("{expected} is expected, not {}", node.shape()),
                );
                if let Some(text) = meant_as_text(node) {
                    problem.help(format!("text that begins with a brace needs quotes: '{text}'"));
                }
                None
            }
        }
    }

    /// The entries of a mapping; nothing written is an empty one.
    pub(crate) fn mapping<'n>(&mut self, node: &'n Node, place: Place) -> Option<&'n [(Key, Rc<Node>)]> {
        match &node.kind {
            Kind::Mapping(entries) => Some(entries),
            _ if node.is_null() => Some(&[]),
            Kind::Scalar { .. } | Kind::Sequence(_) => {
                self.report(Code::WrongShape, place, format!("a mapping is expected, not {}", node.shape()))
                    .help("write `key: value` pairs, indented below, or in braces");
                None
            }
        }
    }

    /// The values of a record's keys, in the order of `names`; reports keys that do not exist.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, place: Place, names: &[&'n str]) -> Option<Fields<'n>> {
        let entries = self.mapping(node, place)?;
        let mut found = Vec::with_capacity(names.len());
        let mut meant = Vec::new();
        for (key, value) in entries {
            let at = self.places.key(place, &key.text, key.span, value.span);
            match names.iter().find(|name| **name == key.text) {
                Some(_) => found.push((key.text.as_str(), at, &**value)),
                None => meant.extend(self.unknown_key(at, &key.text, names)),
            }
        }
        Some(Fields { place, faulty: Cell::new(found.len() < entries.len()), found, meant })
    }

    /// Reports it, and returns the key that was probably meant.
    fn unknown_key<'n>(&mut self, place: Place, key: &str, names: &[&'n str]) -> Option<&'n str> {
        let near = if self.problems.is_full() { None } else { closest(key, names) };
        let help = match near {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the keys here are {}", names.join(", ")),
        };
        self.report_key(Code::UnknownKey, place, format!("unknown key `{}`", clip(key))).help(help);
        near
    }
}

/// What `{client}` without quotes was meant to be: YAML takes it for a mapping.
fn meant_as_text(node: &Node) -> Option<String> {
    let Kind::Mapping(entries) = &node.kind else { return None };
    let [(key, value)] = entries.as_slice() else { return None };
    value.is_null().then(|| format!("{{{}}}", clip(&key.text)))
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A type that can be read from a tree.
pub(crate) trait FromNode: Sized {
    /// Reads it; `None` after a mistake was noted.
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self>;
    /// Its JSON Schema; records add themselves to `definitions`.
    fn schema(definitions: &mut Definitions) -> Value;
}

/// A type whose values can be printed as a default.
pub(crate) trait ToJson {
    fn to_json(&self) -> Value;
}

/// The values of a record that were written.
pub(crate) struct Fields<'n> {
    place: Place,
    faulty: Cell<bool>,
    found: Vec<(&'n str, Place, &'n Node)>,
    /// Keys that are there under a wrong name.
    meant: Vec<&'n str>,
}

impl Fields<'_> {
    pub(crate) fn faulty(&self) -> bool {
        self.faulty.get()
    }

    pub(crate) fn optional<T: FromNode>(&self, name: &str, cx: &mut Context<'_>) -> Option<At<T>> {
        let (_, place, node) = *self.found.iter().find(|(key, _, _)| *key == name)?;
        let value = T::from_node(node, place, cx);
        if value.is_none() {
            self.faulty.set(true);
        }
        Some(At { value: value?, place })
    }

    pub(crate) fn required<T: FromNode>(&self, name: &str, cx: &mut Context<'_>) -> Option<At<T>> {
        if !self.found.iter().any(|(key, _, _)| *key == name) && !self.meant.contains(&name) {
            cx.report(Code::MissingKey, self.place, format!("`{name}` is missing"))
                .help(format!("add `{name}:`; it has no default"));
        }
        self.optional(name, cx)
    }

    pub(crate) fn default<T: FromNode>(&self, name: &str, default: T, cx: &mut Context<'_>) -> At<T> {
        self.optional(name, cx).unwrap_or(At { value: default, place: self.place })
    }
}

/// A list of values.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub(crate) Vec<At<T>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: FromNode> FromNode for List<T> {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let items = match &node.kind {
            Kind::Sequence(items) => items,
            _ if node.is_null() => return Some(Self::default()),
            Kind::Scalar { .. } | Kind::Mapping(_) => {
                cx.report(Code::WrongShape, place, format!("a list is expected, not {}", node.shape()))
                    .help("begin each entry with `- `, or write the entries in brackets");
                return None;
            }
        };
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = cx.places.index(place, index, item.span);
            list.extend(T::from_node(item, at, cx).map(|value| At { value, place: at }));
        }
        Some(Self(list))
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"type": ["array", "null"], "items": T::schema(definitions)})
    }
}

/// One value, or a list of at least one.
#[derive(Clone, Debug)]
pub(crate) struct Several<T>(pub(crate) Vec<At<T>>);

impl<T: FromNode> FromNode for Several<T> {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Sequence(items) if items.is_empty() => {
                cx.report(Code::WrongShape, place, "the list is empty")
                    .help("write one value or several, or remove the key to get its default");
                None
            }
            Kind::Sequence(_) => List::from_node(node, place, cx).map(|List(values)| Self(values)),
            Kind::Scalar { .. } | Kind::Mapping(_) => {
                T::from_node(node, place, cx).map(|value| Self(vec![At { value, place }]))
            }
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        let one = T::schema(definitions);
        json!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}

/// A mapping from labels that the administrator chooses.
#[derive(Clone, Debug)]
pub(crate) struct Labelled<T>(pub(crate) Vec<(String, At<T>)>);

impl<T> Default for Labelled<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: FromNode> FromNode for Labelled<T> {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let entries = cx.mapping(node, place)?;
        let mut list = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let at = cx.places.key(place, &key.text, key.span, value.span);
            if let Err(reason) = super::values::check_name(&key.text) {
                cx.report_key(Code::BadText, at, format!("`{}` cannot be a label: {reason}", clip(&key.text)));
            }
            list.extend(T::from_node(value, at, cx).map(|value| (key.text.clone(), At { value, place: at })));
        }
        Some(Self(list))
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"type": ["object", "null"], "additionalProperties": T::schema(definitions)})
    }
}

/// A schema with a description and, where there is one, a default.
pub(crate) fn described(mut schema: Value, description: &str, default: Option<Value>) -> Value {
    if let Value::Object(schema) = &mut schema {
        if !description.is_empty() {
            schema.insert("description".into(), description.into());
        }
        if let Some(default) = default {
            schema.insert("default".into(), default);
        }
    }
    schema
}

/// Doc comments as one text.
pub(crate) fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The key of a field, which may be a Rust keyword.
pub(crate) fn key_name(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Defines a mapping of the file. Each field is `required(Type)`, `optional(Type)`,
/// `optional(Type, "what holds without it")` or `default(Type, value)`.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $( $(#[doc = $field_doc:literal])* $field:ident : $kind:ident $arguments:tt ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            /// Where it was written.
            #[allow(dead_code, reason = "not every mapping has a rule about itself")]
            pub(crate) place: $crate::config::places::Place,
            /// Whether a key of its own is unknown or has a mistake, so that what seems missing may not be.
            #[allow(dead_code, reason = "not every mapping has a rule about what is missing")]
            pub(crate) faulty: bool,
            $( $(#[doc = $field_doc])* pub(crate) $field: record!(@type $kind $arguments), )*
        }

        impl $crate::config::decode::FromNode for $name {
            fn from_node(
                node: &$crate::config::tree::Node,
                place: $crate::config::places::Place,
                cx: &mut $crate::config::decode::Context<'_>,
            ) -> Option<Self> {
                let fields = cx.fields(node, place, &[$( $crate::config::decode::key_name(stringify!($field)) ),*])?;
                $( let $field = record!(@read fields cx $field $kind $arguments); )*
                Some(Self { place, faulty: fields.faulty(), $( $field, )* })
            }

            fn schema(definitions: &mut $crate::config::decode::Definitions) -> serde_json::Value {
                let keys = vec![$( $crate::config::decode::key_name(stringify!($field)) ),*];
                // Noted before the fields are described, so that a cycle ends.
                if definitions.keys.insert(stringify!($name), keys).is_none() {
                    let mut properties = serde_json::Map::new();
                    $(
                        let key = $crate::config::decode::key_name(stringify!($field));
                        let text = $crate::config::decode::joined(&[$($field_doc),*]);
                        properties.insert(key.into(), record!(@schema definitions text $kind $arguments));
                    )*
                    let required: Vec<&str> =
                        [$( record!(@require $field $kind) ),*].into_iter().flatten().collect();
                    let description = $crate::config::decode::joined(&[$($doc),*]);
                    let mut schema = serde_json::json!({
                        "type": "object",
                        "description": description,
                        "additionalProperties": false,
                        "properties": properties,
                    });
                    if !required.is_empty() {
                        schema["required"] = required.into();
                    }
                    definitions.schemas.insert(stringify!($name).into(), schema);
                }
                serde_json::json!({"$ref": concat!("#/$defs/", stringify!($name))})
            }
        }
    };
    (@type required ($type:ty)) => { Option<$crate::config::decode::At<$type>> };
    (@type optional ($type:ty $(, $without:literal)?)) => { Option<$crate::config::decode::At<$type>> };
    (@type default ($type:ty, $value:expr)) => { $crate::config::decode::At<$type> };
    (@read $fields:ident $cx:ident $field:ident required ($type:ty)) => {
        $fields.required::<$type>($crate::config::decode::key_name(stringify!($field)), $cx)
    };
    (@read $fields:ident $cx:ident $field:ident optional ($type:ty $(, $without:literal)?)) => {
        $fields.optional::<$type>($crate::config::decode::key_name(stringify!($field)), $cx)
    };
    (@read $fields:ident $cx:ident $field:ident default ($type:ty, $value:expr)) => {
        $fields.default::<$type>($crate::config::decode::key_name(stringify!($field)), $value, $cx)
    };
    (@schema $definitions:ident $text:ident required ($type:ty)) => {
        $crate::config::decode::described(<$type>::schema($definitions), &$text, None)
    };
    (@schema $definitions:ident $text:ident optional ($type:ty)) => {
        $crate::config::decode::described(<$type>::schema($definitions), &$text, None)
    };
    (@schema $definitions:ident $text:ident optional ($type:ty, $without:literal)) => {
        $crate::config::decode::described(
            <$type>::schema($definitions), &format!("{} Default: {}.", $text, $without), None)
    };
    (@schema $definitions:ident $text:ident default ($type:ty, $value:expr)) => {{
        let default: $type = $value;
        let default = $crate::config::decode::ToJson::to_json(&default);
        $crate::config::decode::described(<$type>::schema($definitions), &$text, Some(default))
    }};
    (@require $field:ident required) => { Some($crate::config::decode::key_name(stringify!($field))) };
    (@require $field:ident optional) => { None };
    (@require $field:ident default) => { None };
}

pub(crate) use record;
