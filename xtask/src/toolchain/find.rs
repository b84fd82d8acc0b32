//! The compilers and the linker on this machine: asks rustup, the compilers and the dynamic loader.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Compiler, Linker, Version};
use crate::run::{capture, clean, find_program};

/// All candidates, the preferred first: rustup's nightlies, rustup's others, Debian's.
pub(super) fn compilers() -> Vec<Compiler> {
    let mut found: Vec<Compiler> = rustup_toolchains().iter().filter_map(|name| rustup(name)).collect();
    found.extend(debian());
    found
}

/// The bpf-linker in the search path.
pub(super) fn linker() -> Option<Linker> {
    let path = find_program("bpf-linker")?;
    let libraries = capture(clean(Command::new("ldd")).arg(&path)).unwrap_or_default();
    Some(Linker { llvm: llvm_of_libraries(&libraries), path })
}

fn rustup_toolchains() -> Vec<String> {
    if find_program("rustup").is_none() {
        return Vec::new();
    }
    let listed = capture(clean(Command::new("rustup")).args(["toolchain", "list"])).unwrap_or_default();
    nightlies_first(&listed)
}

/// The names in `rustup toolchain list`, nightlies first.
fn nightlies_first(listed: &str) -> Vec<String> {
    let mut names: Vec<String> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort_by_key(|name| !name.starts_with("nightly"));
    names
}

fn rustup(toolchain: &str) -> Option<Compiler> {
    let sysroot =
        capture(clean(Command::new("rustup")).args(["run", toolchain, "rustc", "--print", "sysroot"])).ok()?;
    // `nightly-x86_64-unknown-linux-gnu` is `nightly` to its user.
    let name = toolchain.split("-x86_64-").next().and_then(|name| name.split("-aarch64-").next()).unwrap_or(toolchain);
    let sysroot = PathBuf::from(sysroot.trim());
    let cargo = Some(sysroot.join("bin/cargo")).filter(|cargo| cargo.is_file()).unwrap_or_else(own_cargo);
    inspect(format!("rustup {name}"), &sysroot.join("bin/rustc"), &sysroot, &cargo)
}

fn debian() -> Option<Compiler> {
    let rustc = Path::new("/usr/bin/rustc");
    rustc.exists().then(|| inspect("Debian rustc-web".to_owned(), rustc, Path::new("/usr"), &own_cargo()))?
}

/// The cargo that runs us, for compilers that bring none.
fn own_cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn inspect(origin: String, rustc: &Path, sysroot: &Path, cargo: &Path) -> Option<Compiler> {
    let said = capture(clean(Command::new(rustc)).args(["--version", "--verbose"])).ok()?;
    let version = parse_version(&said)?;
    let source = source_version(&sysroot.join("lib/rustlib/src/rust"), &version.release);
    Some(Compiler { origin, rustc: rustc.to_path_buf(), cargo: cargo.to_path_buf(), version, source })
}

/// The version of the library source in `dir`, `None` if there is none.
///
/// Debian's is a link to `rustc-1.96.0`; rustup's component carries no version of its own and is always
/// installed and updated together with the compiler.
fn source_version(dir: &Path, release: &str) -> Option<String> {
    if !dir.join("library/core/src/lib.rs").is_file() {
        return None;
    }
    let real = dir.canonicalize().ok()?;
    let name = real.file_name()?.to_string_lossy().into_owned();
    Some(name.strip_prefix("rustc-").unwrap_or(release).to_owned())
}

/// Reads `rustc --version --verbose`.
fn parse_version(said: &str) -> Option<Version> {
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some(Version { release: field("release:")?.to_owned(), llvm })
}

/// `22` of `libLLVM.so.22.1 => /usr/lib/...` or `libLLVM-22.so.1`.
fn llvm_of_libraries(listed: &str) -> Option<u32> {
    let name = listed.lines().map(str::trim).find_map(|line| line.strip_prefix("libLLVM"))?;
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_says_its_release_and_its_llvm() {
        let said = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(parse_version(said), Some(Version { release: "1.97.0-nightly".into(), llvm: 22 }));
        assert_eq!(parse_version("rustc 1.97.0\n"), None);
    }

    #[test]
    fn the_linkers_llvm_is_read_from_its_libraries() {
        assert_eq!(llvm_of_libraries("\tlibc.so.6 => /lib\n\tlibLLVM.so.22.1 => /usr/lib/x (0x7)\n"), Some(22));
        assert_eq!(llvm_of_libraries("\tlibLLVM-21.so.1 => /usr/lib/x (0x7)\n"), Some(21));
        assert_eq!(llvm_of_libraries("\tstatically linked\n"), None);
    }

    #[test]
    fn nightlies_are_tried_first() {
        let listed = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-x86_64-unknown-linux-gnu\n";
        assert_eq!(nightlies_first(listed), ["nightly-x86_64-unknown-linux-gnu", "stable-x86_64-unknown-linux-gnu"]);
    }

    #[test]
    fn a_folder_without_the_library_is_no_source() {
        assert_eq!(source_version(Path::new("/proc"), "1.96.0"), None);
    }
}
