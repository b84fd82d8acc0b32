//! Words that must not be left in the tree: promises, paths of one machine, hosts of registries.

use super::source::has_word;
use super::{Finding, Tree, has_extension};

// Each is put together here so that this file does not contain it.
const PROMISES: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimple", "mented!")];
const PATHS: &[&str] = &[concat!("/wo", "rk"), concat!("/tmp/", "wt")];
const HOSTS: &[&str] = &[
    concat!("arti", "factory"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
    concat!("proxy.", "golang.org"),
    concat!("files.", "pythonhosted.org"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let source = has_extension(&file.path, &["rs", "py", "sh", "js"]);
        for (index, line) in file.text.lines().enumerate() {
            let number = index + 1;
            if let Some(word) = PROMISES.iter().find(|word| source && promises(line, word)) {
                findings
                    .push(file.error(number, format!("{word}: finish it, or write down elsewhere that it is absent")));
            }
            if let Some(path) = PATHS.iter().find(|path| has_path(line, path)) {
                findings.push(file.error(number, format!("{path} is a path of one machine")));
            }
            if let Some(host) = HOSTS.iter().find(|host| line.contains(*host)) {
                findings
                    .push(file.error(number, format!("{host}: which registry is used is each machine's own setting")));
            }
        }
    }
    findings
}

/// A macro's name ends with its mark; the other words end where a name ends.
fn promises(line: &str, word: &str) -> bool {
    match word.strip_suffix('!') {
        Some(name) => {
            line.match_indices(word).any(|(at, _)| has_word(&line[at..at + name.len()], name)) && has_word(line, name)
        }
        None => has_word(line, word),
    }
}

/// `path` at the beginning of an absolute path, not as a part of another one.
fn has_path(line: &str, path: &str) -> bool {
    let of_path = |c: char| c.is_alphanumeric() || "._-/~*".contains(c);
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(of_path) && !after.is_some_and(|c| c.is_alphanumeric() || "_-.".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn promises_are_found_in_sources_and_not_inside_other_words() {
        let text = format!(
            "// {}: later\nmatch x {{ _ => {}() }}\nfn mastodon() {{}}\nlet {}S = 1;\n",
            PROMISES[0], PROMISES[2], PROMISES[0]
        );
        assert_eq!(lines(&check(&Tree::of(&[("a.rs", &text)]))), [1, 2]);
        assert_eq!(check(&Tree::of(&[("a.md", &text)])), []);
    }

    #[test]
    fn paths_of_one_machine_and_hosts_of_registries_are_found_everywhere() {
        let text = format!(
            "cd {}/x\nsee docs{}/x and {}space\n\"{}\"\nhttps://{}/x\n",
            PATHS[0], PATHS[0], PATHS[0], PATHS[1], HOSTS[1]
        );
        assert_eq!(lines(&check(&Tree::of(&[("README.md", &text)]))), [1, 3, 4]);
    }
}
