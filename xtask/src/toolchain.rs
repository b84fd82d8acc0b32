//! Which compiler builds the BPF programs.
//!
//! In: the compilers and the bpf-linker found on this machine. Out: the first complete road, or what
//! each lacks. Two roads lead to the target `bpfel-unknown-none`, for which nobody ships a `core`:
//!
//! 1. a rustup toolchain with the `rust-src` component;
//! 2. Debian's `rustc-web` with `rust-web-src`.
//!
//! Both need the library's source at exactly the compiler's version, and a bpf-linker whose LLVM is not
//! older than the compiler's: bitcode of a newer LLVM cannot be read by an older one. Absent: installing.

mod find;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// The oldest compiler that builds aya-ebpf (its Cargo.toml says so).
const OLDEST: (u32, u32) = (1, 87);

/// The bpf-linker that is installed where none is, and the LLVM Debian has for it.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// Major version of the LLVM that the installed bpf-linker is linked with.
pub(crate) const LINKER_LLVM: u32 = 22;

/// A compiler that might build the BPF programs.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    /// Where it comes from, for people: `rustup nightly`, `Debian rustc-web`.
    pub(crate) origin: String,
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) version: Version,
    /// Version of the library source beside it, if there is any.
    pub(crate) source: Option<String>,
}

/// What `rustc --version --verbose` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// For example `1.97.0-nightly`.
    pub(crate) release: String,
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

/// The bpf-linker found.
#[derive(Debug, Clone)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    /// Major version of its LLVM; `None` when that is linked in and cannot be seen from outside.
    pub(crate) llvm: Option<u32>,
}

/// Why a compiler cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gap {
    TooOld { release: String },
    NoSource,
    SourceOfOther { release: String, source: String },
    NoLinker,
    LinkerTooOld { linker: u32, compiler: u32 },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld { release } => write!(f, "{release} is older than {}.{}", OLDEST.0, OLDEST.1),
            Self::NoSource => write!(f, "the library source, rust-src, is missing"),
            Self::SourceOfOther { release, source } => {
                write!(f, "the library source is {source}, the compiler {release}")
            }
            Self::NoLinker => write!(f, "bpf-linker is missing"),
            Self::LinkerTooOld { linker, compiler } => {
                write!(
                    f,
                    "bpf-linker has LLVM {linker}, which cannot read the output of the compiler's LLVM {compiler}"
                )
            }
        }
    }
}

/// A complete road: what compiles and what links.
pub(crate) struct Road {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
    /// One line for people: which road, and why no earlier one.
    pub(crate) explanation: String,
}

/// What has to be installed to complete a road.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) packages: Vec<&'static str>,
    pub(crate) linker: bool,
}

/// Looks at this machine and takes the first complete road.
///
/// # Errors
/// When no road is complete; the message says what each lacks.
pub(crate) fn road() -> Result<Road> {
    match choose(&find::compilers(), find::linker().as_ref()) {
        Ok(road) => Ok(road),
        Err(gaps) => bail!("nothing here compiles BPF programs ({}); run `cargo xtask setup`", list(&gaps)),
    }
}

/// What this machine lacks to build BPF programs.
pub(crate) fn wanted() -> Wanted {
    wanted_by(&find::compilers(), find::linker().as_ref())
}

/// The first compiler that lacks nothing, or what each lacks.
fn choose(compilers: &[Compiler], linker: Option<&Linker>) -> Result<Road, Vec<(String, Gap)>> {
    let mut gaps = Vec::new();
    for compiler in compilers {
        match (gap(compiler, linker), linker) {
            (None, Some(linker)) => return Ok(describe(compiler, linker, &gaps)),
            (gap, _) => gaps.push((compiler.origin.clone(), gap.unwrap_or(Gap::NoLinker))),
        }
    }
    Err(gaps)
}

fn describe(compiler: &Compiler, linker: &Linker, passed_over: &[(String, Gap)]) -> Road {
    let llvm = linker.llvm.map_or_else(|| "its own LLVM".to_owned(), |major| format!("LLVM {major}"));
    let mut explanation = format!(
        "BPF toolchain: {} {} (LLVM {}), bpf-linker with {llvm}",
        compiler.origin, compiler.version.release, compiler.version.llvm
    );
    if !passed_over.is_empty() {
        explanation = format!("{explanation} (not {})", list(passed_over));
    }
    Road { compiler: compiler.clone(), linker: linker.path.clone(), explanation }
}

fn list(gaps: &[(String, Gap)]) -> String {
    if gaps.is_empty() {
        return "no compiler with library source was found".to_owned();
    }
    // Neighbours that lack the same share one mention of it.
    let groups = gaps.chunk_by(|(_, one), (_, other)| one == other);
    let described = groups.map(|group| {
        let origins: Vec<&str> = group.iter().map(|(origin, _)| origin.as_str()).collect();
        format!("{}: {}", origins.join(", "), group[0].1)
    });
    described.collect::<Vec<_>>().join("; ")
}

fn gap(compiler: &Compiler, linker: Option<&Linker>) -> Option<Gap> {
    compiler_gap(compiler).or_else(|| linker_gap(compiler, linker))
}

fn compiler_gap(compiler: &Compiler) -> Option<Gap> {
    let release = &compiler.version.release;
    if number(release) < OLDEST {
        return Some(Gap::TooOld { release: release.clone() });
    }
    match &compiler.source {
        None => Some(Gap::NoSource),
        Some(source) if source != release => {
            Some(Gap::SourceOfOther { release: release.clone(), source: source.clone() })
        }
        Some(_) => None,
    }
}

fn linker_gap(compiler: &Compiler, linker: Option<&Linker>) -> Option<Gap> {
    let Some(linker) = linker else { return Some(Gap::NoLinker) };
    match linker.llvm {
        Some(major) if major < compiler.version.llvm => {
            Some(Gap::LinkerTooOld { linker: major, compiler: compiler.version.llvm })
        }
        // LLVM that is linked in comes with the linker's own releases, which follow nightly.
        Some(_) | None => None,
    }
}

/// A compiler that only lacks a linker we can build is completed; otherwise Debian's is installed.
fn wanted_by(compilers: &[Compiler], linker: Option<&Linker>) -> Wanted {
    if choose(compilers, linker).is_ok() {
        return Wanted::default();
    }
    let almost = |compiler: &&Compiler| compiler_gap(compiler).is_none() && compiler.version.llvm <= LINKER_LLVM;
    if compilers.iter().any(|compiler| almost(&compiler)) {
        return Wanted { packages: LINKER_PACKAGES.to_vec(), linker: true };
    }
    let linker_serves = linker.is_some_and(|linker| linker.llvm.is_none_or(|major| major >= LINKER_LLVM));
    let mut packages = DEBIANS_COMPILER.to_vec();
    if !linker_serves {
        packages.extend(LINKER_PACKAGES);
    }
    Wanted { packages, linker: !linker_serves }
}

/// A compiler and the source of its library, at one version.
pub(crate) const DEBIANS_COMPILER: &[&str] = &["rustc-web", "rust-web-src"];

/// What bpf-linker is compiled with: LLVM, and the C++ library that LLVM needs.
const LINKER_PACKAGES: &[&str] = &["llvm-22-dev", "g++"];

/// `(1, 97)` of `1.97.0-nightly`; `(0, 0)` of anything else.
fn number(release: &str) -> (u32, u32) {
    let mut parts = release.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
