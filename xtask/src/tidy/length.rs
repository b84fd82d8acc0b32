//! No source file is longer than a person reads at a sitting.

use super::{Finding, Tree, has_extension};

const WARN: usize = 400;
const MOST: usize = 600;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.files.iter().filter(|file| has_extension(&file.path, &["rs", "py", "sh", "js"]));
    let long = sources.filter_map(|file| match file.text.lines().count() {
        count if count > MOST => Some(file.error(0, format!("{count} lines; split it, {MOST} are the most"))),
        count if count > WARN => Some(file.warning(0, format!("{count} lines; look for the second noun in it"))),
        _ => None,
    });
    long.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Severity;

    #[test]
    fn long_files_are_warned_of_and_longer_ones_refused() {
        let of = |count| "x\n".repeat(count);
        let tree = Tree::of(&[("a.rs", &of(400)), ("b.rs", &of(401)), ("c.rs", &of(601)), ("d.md", &of(2000))]);
        let findings = check(&tree);
        let found: Vec<_> = findings.iter().map(|finding| (finding.path.as_str(), finding.severity)).collect();
        assert_eq!(found, [("b.rs", Severity::Warning), ("c.rs", Severity::Error)]);
    }
}
