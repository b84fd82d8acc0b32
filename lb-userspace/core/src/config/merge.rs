//! Several files as one tree.
//!
//! In: the trees of the main file and of conf.d, in order. Out: one tree. Absent: decoding. Mappings
//! are merged key by key and lists are joined; a value that two files set differently is a mistake.

use std::rc::Rc;

use super::code::Code;
use super::source::SourceMap;
use super::tree::{Fault, Kind, Node, clip};

/// Merges `trees`; `None` when there is none.
pub(crate) fn merge(trees: Vec<Rc<Node>>, map: &SourceMap, faults: &mut Vec<Fault>) -> Option<Rc<Node>> {
    let mut trees = trees.into_iter();
    let first = trees.next()?;
    Some(trees.fold(first, |merged, tree| together(&merged, &tree, "", map, faults)))
}

fn together(old: &Rc<Node>, new: &Rc<Node>, key: &str, map: &SourceMap, faults: &mut Vec<Fault>) -> Rc<Node> {
    match (&old.kind, &new.kind) {
        _ if new.is_null() => Rc::clone(old),
        _ if old.is_null() => Rc::clone(new),
        (Kind::Mapping(old_entries), Kind::Mapping(new_entries)) => {
            let mut entries = old_entries.clone();
            for (key, value) in new_entries {
                match entries.iter_mut().find(|(known, _)| known.text == key.text) {
                    Some((_, known)) => *known = together(known, value, &key.text, map, faults),
                    None => entries.push((key.clone(), Rc::clone(value))),
                }
            }
            Rc::new(Node::mapping(old.span, entries))
        }
        (Kind::Sequence(old_items), Kind::Sequence(new_items)) => {
            Rc::new(Node::sequence(old.span, old_items.iter().chain(new_items).cloned().collect()))
        }
        (Kind::Scalar { text: old_text, .. }, Kind::Scalar { text: new_text, .. }) if old_text == new_text => {
            Rc::clone(old)
        }
        _ => {
            let message = match key {
                "" => format!("this file is {}, not a mapping", new.shape()),
                key => format!("two files set `{}` differently", clip(key)),
            };
            faults.push(Fault {
                code: if key.is_empty() { Code::WrongShape } else { Code::SourceConflict },
                span: new.span,
                message,
                label: format!("the other is at {}", map.reference(old.span)),
                help: Some("keep it in one file".to_owned()),
            });
            Rc::clone(old)
        }
    }
}
