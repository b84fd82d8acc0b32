//! The programs that ship, and the programs of the tests crate that use them: demo, bench, lab.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::packages::Group;
use crate::setup::{self, Mode};
use crate::{ebpf, run, workspace};

/// `cargo xtask build`: BPF programs, lbd, lbctl.
///
/// # Errors
/// When one of them does not compile.
pub(crate) fn build() -> Result<()> {
    ebpf::build()?;
    userspace()
}

/// Compiles lbd and lbctl, for which the BPF programs must be there.
///
/// # Errors
/// When they do not compile.
pub(crate) fn userspace() -> Result<()> {
    run::run(run::cargo().args(["build", "--release", "--package", "lb-userspace", "--bins"]))
}

/// `cargo xtask demo`: from a bare machine to the product at work.
///
/// # Errors
/// When something is missing and cannot be installed, does not compile, or the demo fails.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    as_root("demo")?;
    setup::run(Group::DEMO, Mode::Install)?;
    build()?;
    dispatch("lb-tests", "demo", &[], arguments)
}

/// `cargo xtask bench`: the measurement `name`, compiled for speed.
///
/// # Errors
/// As for [`demo`].
pub(crate) fn bench(name: Option<&str>, arguments: &[String]) -> Result<()> {
    as_root("bench")?;
    build()?;
    let mut all: Vec<String> = name.map(str::to_owned).into_iter().collect();
    all.extend_from_slice(arguments);
    dispatch("lb-datapath-tests", "bench", &["--release"], &all)
}

/// `cargo xtask lab`: a laboratory to play in.
///
/// # Errors
/// As for [`demo`].
pub(crate) fn lab(arguments: &[String]) -> Result<()> {
    as_root("lab")?;
    build()?;
    dispatch("lb-tests", "lab", &[], arguments)
}

fn dispatch(package: &str, program: &str, profile: &[&str], arguments: &[String]) -> Result<()> {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "--package", package, "--bin", program]).args(profile).arg("--").args(arguments);
    run::run(with_products(&mut command))
}

/// Tells `command` where the programs under test lie: LBD, LBCTL and LB_BPF_DIR, absolute.
pub(crate) fn with_products(command: &mut Command) -> &mut Command {
    let release = workspace::target_dir().join("release");
    command.env("LBD", release.join("lbd")).env("LBCTL", release.join("lbctl")).env("LB_BPF_DIR", workspace::bpf_dir())
}

/// # Errors
/// When we are not root, with what to type instead.
pub(crate) fn as_root(what: &str) -> Result<()> {
    ensure!(
        run::is_root(),
        "network namespaces and XDP need root: run `sudo --preserve-env=HOME env PATH=\"$PATH\" cargo xtask {what}`"
    );
    Ok(())
}
