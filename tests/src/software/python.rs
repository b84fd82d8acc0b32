//! Python programs of the labs. Those of PyPI are in the environment that `cargo xtask setup` makes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::lab::Host;

/// Debian's own: what comes in Debian packages is not installed for any other.
pub const DEBIAN: &str = "/usr/bin/python3";
const REQUIREMENTS: &str = include_str!("../../requirements.txt");

/// A program of the environment, such as `python` itself.
///
/// # Errors
/// When the environment is missing, or was made from another list of packages.
pub fn in_environment(program: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("venv");
    let made_from = fs::read_to_string(folder.join("requirements.txt")).unwrap_or_default();
    let found = folder.join("bin").join(program);
    ensure!(
        made_from == REQUIREMENTS && found.is_file(),
        "{} does not hold the Python packages of tests/requirements.txt: run `cargo xtask setup`",
        folder.display()
    );
    Ok(found.display().to_string())
}

/// Writes a script where the host's programs have their files.
///
/// # Errors
/// When it cannot be written.
pub fn script(host: &Host, name: &str, text: &str) -> Result<PathBuf> {
    let path = host.folder().join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
