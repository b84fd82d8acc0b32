//! Python packages of the labs: in a virtual environment below target/, so that the machine's own stay as they are.
//!
//! In: `tests/requirements.txt`, which names every package with its version. Out: `target/venv`, made from it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{run, workspace};

/// What the setup calls it.
pub(crate) const NAME: &str = "target/venv";
/// The environment is made with Debian's Python, whatever other is first in the path.
const PYTHON: &str = "/usr/bin/python3";

/// Whether the environment holds what the list says.
pub(crate) fn is_current() -> bool {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let wanted = read(list());
    wanted.is_some() && wanted == read(stamp())
}

/// The programs that make it, in order.
fn commands() -> [Command; 2] {
    let mut create = run::clean(Command::new(PYTHON));
    create.args(["-m", "venv", "--clear"]).arg(folder());
    let mut install = run::clean(Command::new(folder().join("bin/pip")));
    // The list is complete: what pip would add by itself would be another version tomorrow.
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]).arg(list());
    [create, install]
}

/// Makes it anew, whatever is there.
///
/// # Errors
/// When Python's venv is missing, or a package cannot be had.
pub(crate) fn install() -> Result<()> {
    for mut command in commands() {
        println!("python: {}", run::show(&command));
        run::run(&mut command)?;
    }
    // Last, so that one that was left half made is made again.
    fs::copy(list(), stamp()).map(|_| ()).with_context(|| format!("cannot write {}", stamp().display()))
}

fn folder() -> PathBuf {
    workspace::root().join(NAME)
}

fn list() -> PathBuf {
    workspace::root().join("tests/requirements.txt")
}

fn stamp() -> PathBuf {
    folder().join("requirements.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_python_package_is_at_one_version() {
        let text = fs::read_to_string(list()).expect("the list is in the tree");
        let packages: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(packages.contains(&"moto==5.2.5"), "{packages:?}");
        for package in packages {
            let (name, version) = package.split_once("==").expect(package);
            assert!(!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()), "{package}");
        }
    }
}
