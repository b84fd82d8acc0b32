//! `cargo xtask build-ebpf`: compiles every program in lb-ebpf/ to `target/bpf/<program>.o`; for tests
//! of upgrades also to `target/bpf-next/`, where the datapath is another program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::toolchain::Road;
use crate::{run, toolchain, workspace};

/// Compiles; what is fresh costs a second. Prints the road taken and each object.
///
/// # Errors
/// When no toolchain is complete, the programs do not compile, or an object came out without types.
pub(crate) fn build() -> Result<()> {
    build_with(&[], &workspace::bpf_dir())
}

/// Compiles the programs of a release that does not exist: lb-ebpf with its feature `next`.
///
/// # Errors
/// As for [`build`].
pub(crate) fn build_next() -> Result<()> {
    build_with(&["next"], &workspace::next_bpf_dir())
}

fn build_with(features: &[&str], directory: &Path) -> Result<()> {
    let manifest = workspace::ebpf_manifest();
    ensure!(manifest.is_file(), "{} is missing: there are no BPF programs to compile", manifest.display());
    let road = toolchain::road()?;
    println!("{}", road.explanation);
    let built = compile(&road, &manifest, features)?;
    ensure!(!built.is_empty(), "{} has no programs ([[bin]])", manifest.display());
    publish(&built, directory)
}

/// The programs cargo made, by name.
fn compile(road: &Road, manifest: &Path, features: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut command = run::clean(Command::new(&road.compiler.cargo));
    command.args(["build", "--release", "--bins", "--target", TARGET, "-Zbuild-std=core"]);
    command.arg("--message-format=json-render-diagnostics");
    command.arg("--manifest-path").arg(manifest).arg("--features").arg(features.join(","));
    // A folder of its own: another compiler's artifacts would push the host's out, and the reverse.
    command.arg("--target-dir").arg(workspace::root().join("target/bpf-build"));
    command.env("RUSTC", &road.compiler.rustc).env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &road.linker);
    // -Z on a compiler that is not a nightly.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_ENCODED_RUSTFLAGS", flags().join("\u{1f}"));
    // No wrapper, whether from the environment or from a configuration file: it may not know this target.
    command.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    // These are meant for the host's programs.
    for name in ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    command.stderr(Stdio::inherit());
    let mut built = Vec::new();
    run::each_line(&mut command, |line| built.extend(program(line)))?;
    Ok(built)
}

const TARGET: &str = "bpfel-unknown-none";

fn flags() -> [String; 4] {
    [
        // Types for bpftool and the verifier's messages: debug information, which the linker turns into BTF.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // 32-bit instructions and the newer jumps; every kernel that this runs on has them.
        "-Ctarget-cpu=v3".to_owned(),
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
    ]
}

/// The name and path in one of cargo's messages, if it announces a program.
fn program(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}

/// Copies the programs to `<dir>/<name>.o` and removes objects whose program is no more.
fn publish(built: &[(String, PathBuf)], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut wanted = BTreeSet::new();
    for (name, path) in built {
        let object = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !contains(&object, b".BTF\0") {
            bail!("{name} has no BTF: the linker {} was not given --btf, or ignored it", path.display());
        }
        let copy = dir.join(format!("{name}.o"));
        // Only when it differs: the daemon embeds it, and is rebuilt whenever the file is touched.
        let fresh = fs::read(&copy).is_ok_and(|old| old == object);
        if !fresh {
            fs::write(&copy, &object).with_context(|| format!("cannot write {}", copy.display()))?;
        }
        println!("  {} ({} KiB{})", copy.display(), object.len() / 1024, if fresh { ", unchanged" } else { "" });
        wanted.insert(copy);
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !wanted.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_announces_a_program_with_its_path() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"lb-ebpf"},"executable":"/t/lb-ebpf"}"#;
        assert_eq!(program(line), Some(("lb-ebpf".to_owned(), "/t/lb-ebpf".into())));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"core"},"executable":null}"#;
        assert_eq!(program(library), None);
        assert_eq!(program("not json"), None);
    }

    #[test]
    fn an_object_without_types_is_refused_and_a_stale_one_removed() {
        let dir = std::env::temp_dir().join(format!("xtask-publish-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let (good, bad, stale) = (dir.join("good"), dir.join("bad"), dir.join("out/old.o"));
        fs::create_dir_all(dir.join("out")).expect("a folder");
        fs::write(&good, b"ELF .BTF\0 rest").expect("written");
        fs::write(&bad, b"ELF").expect("written");
        fs::write(&stale, b"x").expect("written");

        assert!(publish(&[("good".into(), good)], &dir.join("out")).is_ok());
        assert!(dir.join("out/good.o").is_file() && !stale.exists());
        assert!(publish(&[("bad".into(), bad)], &dir.join("out")).is_err());
        fs::remove_dir_all(&dir).expect("removed");
    }
}
