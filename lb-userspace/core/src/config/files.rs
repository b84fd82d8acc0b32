//! Files that a configuration names and that cannot be used.
//!
//! In: sentences about them, each with the path of the setting that names the file. Out: mistakes with their places.
//! Absent: reading files, which is the shell's.

use super::code::Code;
use super::diagnostic::Diagnostic;
use super::places::{Place, Places, Problems};

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableFile {
    /// What names it: `certificates.www`, `virtual_services[0].tls`.
    pub path: String,
    /// What is wrong with it.
    pub sentence: String,
}

/// Mistakes in the order of the sources. `places` are those that were loaded with the configuration.
pub fn check_files(places: &Places, files: &[UnusableFile]) -> Vec<Diagnostic> {
    let by_path = places.by_path();
    let mut problems = Problems::new();
    for UnusableFile { path, sentence } in files {
        // What a default has named is shown at what it is a default of.
        let place = parents(path).find_map(|path| by_path.get(path)).copied().unwrap_or(Place::ROOT);
        problems.add(Code::UnusableFile, place, places.span(place), sentence.as_str());
    }
    problems.into_diagnostics(places)
}

/// A path, what it is in, and so on.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind(['.', '[']).map(|end| &path[..end]))
}
