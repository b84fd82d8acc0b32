//! Choices of words.
//!
//! In: a scalar. Out: the value that it names, or what was probably meant. Absent: which words there
//! are, which is `raw`'s.

use serde_json::{Value, json};

use super::code::Code;
use super::decode::Context;
use super::places::Place;
use super::tree::{Node, clip};

/// The name within `candidates` that was probably meant.
#[must_use]
pub fn closest<'a>(typed: &str, candidates: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if typed.chars().count() > LONGEST {
        return None;
    }
    let typed = typed.to_lowercase().replace('-', "_");
    let near = |name: &&'a str| {
        let distance = edit_distance(&typed, &name.to_lowercase().replace('-', "_"));
        (distance <= 1 + name.len() / 4).then_some((distance, *name))
    };
    candidates.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Insertions, removals, replacements and swaps of neighbours between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_previous: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            current[j] = replaced.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                current[j] = current[j].min(before_previous[j - 2] + 1);
            }
        }
        before_previous = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

/// Gives a type its words: `words! { Type, "what it is": "word" => Value, "what it means"; }`.
macro_rules! words {
    ($type:ty, $what:literal: $( $word:literal => $value:path, $meaning:literal; )*) => {
        impl $crate::config::words::Word for $type {
            const WHAT: &'static str = $what;
            const ALL: &'static [(&'static str, Self, &'static str)] = &[$( ($word, $value, $meaning), )*];
            fn word(&self) -> &'static str {
                match self { $( $value => $word, )* }
            }
        }

        impl $crate::config::decode::FromNode for $type {
            fn from_node(
                node: &$crate::config::tree::Node,
                place: $crate::config::places::Place,
                cx: &mut $crate::config::decode::Context<'_>,
            ) -> Option<Self> {
                $crate::config::words::word_from_node(node, place, cx)
            }
            fn schema(_: &mut $crate::config::decode::Definitions) -> serde_json::Value {
                $crate::config::words::word_schema::<$type>()
            }
        }

        impl $crate::config::decode::ToJson for $type {
            fn to_json(&self) -> serde_json::Value {
                $crate::config::words::Word::word(self).into()
            }
        }
    };
}

pub(crate) use words;

/// A choice of words.
pub(crate) trait Word: Copy + 'static {
    /// What they choose, with its article.
    const WHAT: &'static str;
    /// Word, value, meaning.
    const ALL: &'static [(&'static str, Self, &'static str)];
    /// The word of a value.
    fn word(&self) -> &'static str;
}

pub(crate) fn word_from_node<T: Word>(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<T> {
    let text = cx.scalar(node, place, T::WHAT)?;
    if let Some((_, value, _)) = T::ALL.iter().find(|(word, _, _)| *word == text) {
        return Some(*value);
    }
    let words: Vec<&str> = T::ALL.iter().map(|(word, _, _)| *word).collect();
    let help = match closest(&text, &words) {
        Some(word) => format!("did you mean `{word}`? The words are {}", words.join(", ")),
        None => format!("the words are {}", words.join(", ")),
    };
    cx.report(Code::UnknownWord, place, format!("`{}` is not {}", clip(&text), T::WHAT)).help(help);
    None
}

pub(crate) fn word_schema<T: Word>() -> Value {
    let choice = |(word, _, meaning): &(&str, T, &str)| json!({"const": word, "description": meaning});
    json!({"oneOf": T::ALL.iter().map(choice).collect::<Vec<_>>()})
}
