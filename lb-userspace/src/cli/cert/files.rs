//! Files that `lbctl cert` makes: whole or not at all, keys for root alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Out;
use crate::cli::exit::Failure;

impl Out {
    /// `PREFIX.ENDING`.
    pub(super) fn file(&self, ending: &str) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }

    /// Refuses when one of the files is there and may not be replaced: before anything is written.
    pub(super) fn check(&self, endings: &[&str]) -> Result<(), Failure> {
        let there = endings.iter().map(|ending| self.file(ending)).find(|file| !self.force && file.exists());
        there.map_or(Ok(()), |file| {
            Err(Failure::Refused(format!("{} is there already; --force replaces it", file.display())))
        })
    }

    /// Writes a file that everybody may read.
    pub(super) fn public(&self, ending: &str, text: &str) -> Result<(), Failure> {
        self.write(ending, text, 0o644)
    }

    /// Writes a file that only its owner may read.
    pub(super) fn secret(&self, ending: &str, text: &str) -> Result<(), Failure> {
        self.write(ending, text, 0o600)
    }

    fn write(&self, ending: &str, text: &str, mode: u32) -> Result<(), Failure> {
        let file = self.file(ending);
        let aside = self.file(&format!("{ending}.new"));
        let written = write(&aside, text, mode).and_then(|()| {
            if self.force {
                return fs::rename(&aside, &file);
            }
            // Unlike a rename it fails where something is there by now.
            fs::hard_link(&aside, &file)?;
            fs::remove_file(&aside)
        });
        written.map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_file(&aside);
            }
            Failure::Refused(format!("cannot write {}: {error}", file.display()))
        })
    }

    /// What to write into the configuration.
    pub(super) fn advice(&self) -> String {
        let label = self.prefix.file_name().map_or_else(|| "web".into(), |name| name.to_string_lossy());
        let absolute = |ending| {
            let file = self.file(ending);
            std::path::absolute(&file).unwrap_or(file).display().to_string()
        };
        format!(
            "To use it, write into the configuration, then run `lbctl reload`:\n\ncertificates:\n  {label}: {{pem: {}, key: \
             {}}}\n",
            absolute("pem"),
            absolute("key")
        )
    }
}

fn write(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    // What an attempt that broke off has left.
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
