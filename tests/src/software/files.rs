//! Files that programs of the deployments carry: random, and known by their hash.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::lab::Host;

/// A file of random bytes in the lab's folder.
#[derive(Clone, Debug)]
pub struct RandomFile {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256.
    pub hash: String,
}

impl RandomFile {
    /// Writes one.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn write(host: &Host, name: &str, bytes: u64) -> Result<Self> {
        let path = host.folder().join(name);
        let mut random = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?.take(bytes);
        let copied = fs::File::create(&path).and_then(|mut file| std::io::copy(&mut random, &mut file));
        copied.with_context(|| format!("cannot write {}", path.display()))?;
        let hash = hash(host, &path)?;
        Ok(Self { path, hash })
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash(host: &Host, path: &Path) -> Result<String> {
    let output = host.run(&["sha256sum", &path.display().to_string()])?.success()?;
    Ok(output.stdout.split_whitespace().next().context("sha256sum said nothing")?.to_owned())
}

/// Reads a small text and removes its file.
///
/// # Errors
/// When there is none.
pub(super) fn take(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(text.trim().to_owned())
}
