//! The programs that ship, and the programs of the tests crate that use them: demo, bench, lab.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

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
    lbd_and_lbctl(Profile::Release)
}

fn lbd_and_lbctl(profile: Profile) -> Result<()> {
    run::run(run::cargo().args(["build", "--package", "lb-userspace", "--bins"]).args(profile.arguments()))
}

/// How lbd is compiled.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// As it ships.
    Release,
    /// Quickly, for labs that are run by hand.
    Dev,
}

impl Profile {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Release => &["--release"],
            Self::Dev => &[],
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// `cargo xtask build-next`: the lbd that tests upgrade to, then again the one that is upgraded.
///
/// # Errors
/// When one of them does not compile.
pub(crate) fn build_next(profile: Profile) -> Result<()> {
    next(profile)?;
    ebpf::build()?;
    lbd_and_lbctl(profile)
}

/// Compiles lbd around another datapath and puts it aside, as target/next/lbd. What cargo left in its
/// place is of no use: lbd is to be compiled again, all that it depends on is not.
///
/// # Errors
/// When it does not compile.
pub(crate) fn next(profile: Profile) -> Result<()> {
    ebpf::build_next()?;
    let mut command = run::cargo();
    command.args(["build", "--package", "lb-userspace", "--bin", "lbd"]).args(profile.arguments());
    run::run(command.env("LB_BPF_DIR", workspace::next_bpf_dir()))?;
    let built = workspace::target_dir().join(profile.folder()).join("lbd");
    let kept = workspace::next_lbd();
    // Beside it first: one that still runs cannot be written to.
    let copy = kept.with_extension("new");
    fs::create_dir_all(kept.parent().unwrap_or(&kept))
        .and_then(|()| fs::copy(&built, &copy))
        .and_then(|_| fs::rename(&copy, &kept))
        .with_context(|| format!("cannot copy {} to {}", built.display(), kept.display()))
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
    if name == Some("l7") {
        setup::run(&[Group::Software, Group::Bench], Mode::Install)?;
    }
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

/// Tells `command` where the programs under test lie: LBD, LBCTL, LBD_NEXT and LB_BPF_DIR, absolute.
pub(crate) fn with_products(command: &mut Command) -> &mut Command {
    let release = workspace::target_dir().join("release");
    command.env("LBD", release.join("lbd")).env("LBCTL", release.join("lbctl"));
    command.env("LBD_NEXT", workspace::next_lbd()).env("LB_BPF_DIR", workspace::bpf_dir())
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
