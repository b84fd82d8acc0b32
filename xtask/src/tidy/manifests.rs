//! Which of our crates may import which; every arrow that is not drawn here is forbidden.

use super::{File, Finding, Tree};

/// Manifest, and our crates it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("lb-common/Cargo.toml", &[]),
    ("lb-ebpf/Cargo.toml", &["lb-common"]),
    ("lb-userspace/core/Cargo.toml", &["lb-common"]),
    ("lb-userspace/Cargo.toml", &["lb-common", "lb-core"]),
    ("tests/Cargo.toml", &["lb-common", "lb-core", "lb-userspace"]),
    ("xtask/Cargo.toml", &[]),
];

const OURS: &[&str] = &["lb-common", "lb-ebpf", "lb-core", "lb-userspace", "lb-tests", "xtask"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let allowed = |file: &File| ARROWS.iter().find(|(path, _)| *path == file.path).map(|(_, crates)| *crates);
    let manifests = tree.files.iter().filter_map(|file| Some((file, allowed(file)?)));
    manifests.flat_map(|(file, allowed)| unwanted(file, allowed)).collect()
}

fn unwanted(file: &File, allowed: &[&str]) -> Vec<Finding> {
    let imports = dependencies(&file.text).into_iter();
    let unwanted = imports.filter(|(_, name)| OURS.contains(&name.as_str()) && !allowed.contains(&name.as_str()));
    unwanted.map(|(line, name)| file.error(line, format!("this crate must not import {name}"))).collect()
}

/// Line and name of everything in the tables of dependencies, of whatever kind and target.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().map(str::trim).enumerate() {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies");
            // [dependencies.lb-core] is a table of its own.
            if let Some((kind, name)) = table.rsplit_once('.')
                && kind.ends_with("dependencies")
            {
                found.push((index + 1, name.trim_matches('"').to_owned()));
            }
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            found.push((index + 1, name.trim().trim_matches('"').to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn an_import_against_the_arrows_is_found_however_it_is_written() {
        let text = "[package]\nname = \"xtask\"\n[dependencies]\nanyhow = \"1\"\nlb-core.workspace = true\n\
            [dev-dependencies.lb-common]\npath = \"../lb-common\"\n[target.'cfg(unix)'.dependencies]\n\
            lb-userspace = { path = \"..\" }\n[lints]\nworkspace = true\n";
        assert_eq!(lines(&check(&Tree::of(&[("xtask/Cargo.toml", text)]))), [5, 6, 9]);
        assert_eq!(check(&Tree::of(&[("tests/Cargo.toml", text)])), []);
    }
}
