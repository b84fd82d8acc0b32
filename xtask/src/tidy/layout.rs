//! The root folder holds what a newcomer expects there and nothing else.

use super::{Finding, Severity, Tree};

const ALLOWED: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "configs",
    "deny.toml",
    "docs",
    "fuzz",
    "lb-common",
    "lb-ebpf",
    "lb-userspace",
    "packaging",
    "rustfmt.toml",
    "tests",
    "xtask",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let strangers = tree.top.iter().filter(|name| !ALLOWED.contains(&name.as_str()));
    let finding = |name: &String| Finding {
        path: name.clone(),
        line: 0,
        severity: Severity::Error,
        text: "does not belong in the root folder".to_owned(),
    };
    strangers.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_in_the_root_folder_is_found() {
        let tree = Tree { top: vec!["Cargo.toml".into(), "notes.txt".into()], files: Vec::new() };
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "notes.txt");
    }
}
