//! `cargo xtask tidy`: the house rules that no compiler checks.
//!
//! In: the source tree's text. Out: findings, each with file, line and what to do. Every rule is a
//! function from the tree to findings in a file of its own. Absent: types and macros; rules look at
//! words, with comments and strings told apart from code (`source`).

mod imports;
mod layout;
mod length;
mod manifests;
mod offsets;
mod pure_core;
mod source;
mod unsafe_code;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workspace;
use source::Source;

/// What the rules look at.
pub(crate) struct Tree {
    /// Names in the root folder.
    top: Vec<String>,
    files: Vec<File>,
}

/// A text file of the tree.
pub(crate) struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
    /// Code and comments told apart; only for Rust.
    rust: Option<Source>,
}

/// A breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    severity: Severity,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Warning,
    Error,
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    layout::check,
    length::check,
    unsafe_code::check,
    imports::check,
    pure_core::check,
    offsets::check,
    manifests::check,
    words::check,
];

/// Applies every rule to the workspace.
///
/// # Errors
/// When a rule is broken (all findings are printed first) or the tree cannot be read.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::read(&workspace::root())?;
    let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    ensure!(errors == 0, "{errors} house rules are broken");
    println!("tidy: {} files, {} rules, warnings: {}", tree.files.len(), RULES.len(), findings.len());
    Ok(())
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { top: Vec::new(), files: Vec::new() };
        tree.read_dir(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.mark_test_modules();
        Ok(tree)
    }

    fn read_dir(&mut self, dir: &Path, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".git" || name == "target" {
                continue;
            }
            if prefix.is_empty() {
                self.top.push(name.clone());
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.read_dir(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                // What is not text (a capture, a picture) has no rules.
                if let Ok(text) = String::from_utf8(bytes) {
                    self.files.push(File::new(path, text));
                }
            }
        }
        Ok(())
    }

    /// A file that its parent declares under `#[cfg(test)]` is a test, and so is everything below it.
    fn mark_test_modules(&mut self) {
        let declared = self.files.iter().filter_map(|file| Some((module_dir(&file.path)?, file.rust.as_ref()?)));
        let tests: Vec<String> = declared
            .flat_map(|(dir, source)| source.test_modules().into_iter().map(move |name| format!("{dir}{name}")))
            .collect();
        for file in &mut self.files {
            let is_test = |module: &String| {
                file.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            if let Some(source) = &mut file.rust
                && tests.iter().any(is_test)
            {
                source.mark_all_as_test();
            }
        }
    }

    /// The Rust files below one of `dirs`.
    fn rust_below<'a>(&'a self, dirs: &'a [&str]) -> impl Iterator<Item = (&'a File, &'a Source)> {
        let below = |file: &&File| dirs.iter().any(|dir| file.path.starts_with(dir));
        self.files.iter().filter(below).filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File::new((*path).to_owned(), (*text).to_owned())).collect();
        let mut tree = Self { top: Vec::new(), files };
        tree.mark_test_modules();
        tree
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let rust = has_extension(&path, &["rs"]).then(|| Source::new(&path, &text));
        Self { path, text, rust }
    }

    fn error(&self, line: usize, text: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, severity: Severity::Error, text: text.into() }
    }

    fn warning(&self, line: usize, text: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..self.error(line, text) }
    }
}

/// Where the modules lie that the file at `path` declares, with a `/` at the end.
fn module_dir(path: &str) -> Option<String> {
    let stem = path.strip_suffix(".rs")?;
    let (dir, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    Some(if matches!(name, "mod" | "lib" | "main") { format!("{dir}/") } else { format!("{stem}/") })
}

fn has_extension(path: &str, extensions: &[&str]) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{severity}: {}:{}: {}", self.path, self.line, self.text)
    }
}

#[cfg(test)]
fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}
