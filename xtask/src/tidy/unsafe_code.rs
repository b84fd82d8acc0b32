//! No `unsafe` in lb-common and lb-core; elsewhere every unsafe block says why it is sound.
//!
//! Clippy sees to the second half in the workspace; lb-ebpf is outside of it.

use super::source::{Line, Source, has_word};
use super::{Finding, Tree};

const WITHOUT: &[&str] = &["lb-common/", "lb-userspace/core/"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust_below(&[""]) {
        let without = WITHOUT.iter().any(|dir| file.path.starts_with(dir));
        for (number, line) in source.numbered().filter(|(_, line)| has_word(&line.code, "unsafe")) {
            if without {
                findings.push(file.error(number, "no unsafe code in this crate"));
            } else if is_block(&line.code) && !explained(source, number) {
                findings.push(file.error(number, "say above this unsafe block why it is sound: // SAFETY: ..."));
            }
        }
    }
    findings
}

/// A block or an implementation; `unsafe fn` is explained by its documentation, which clippy demands.
fn is_block(code: &str) -> bool {
    let after = code.split("unsafe").nth(1).unwrap_or_default().trim_start();
    after.is_empty() || after.starts_with('{') || after.starts_with("impl")
}

/// Whether the comment that belongs to the statement holds `SAFETY:`.
fn explained(source: &Source, number: usize) -> bool {
    let here = &source.lines[number - 1];
    if here.comment.contains("SAFETY:") {
        return true;
    }
    for line in source.lines[..number - 1].iter().rev() {
        if line.comment.contains("SAFETY:") {
            return true;
        }
        if ends_statement(line) {
            return false;
        }
    }
    false
}

/// The line closes what came before, so a comment above it speaks of something else.
fn ends_statement(line: &Line) -> bool {
    let code = line.code.trim();
    let blank = code.is_empty() && line.comment.is_empty();
    blank || code.ends_with([';', '}', ',']) || (code.ends_with('{') && !code.starts_with("#["))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn crates_that_forbid_it_have_none_and_may_speak_of_it() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nfn f() { unsafe { g() } }\n";
        let tree = Tree::of(&[("lb-userspace/core/src/a.rs", text), ("lb-common/src/a.rs", text)]);
        assert_eq!(lines(&check(&tree)), [3, 3]);
    }

    #[test]
    fn elsewhere_a_block_is_explained() {
        let text = "// SAFETY: g has no conditions.\nlet a =\n    unsafe { g() };\n\nlet b = unsafe { g() };\nunsafe fn h() {}\n";
        assert_eq!(lines(&check(&Tree::of(&[("lb-ebpf/src/main.rs", text)]))), [5]);
    }

    #[test]
    fn the_explanation_of_the_statement_before_does_not_count() {
        let text = "// SAFETY: one.\nunsafe { a() };\nunsafe { b() };\n";
        assert_eq!(lines(&check(&Tree::of(&[("lb-userspace/src/a.rs", text)]))), [3]);
    }
}
