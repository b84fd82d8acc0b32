//! `cargo xtask ci` and `cargo xtask test`: every check, in an order that shows everything wrong in one run.
//!
//! Two builds are shared by all steps: the dev profile (clippy's metadata, unit tests, doc tests, the
//! labs' own code) and the release profile (lbd and lbctl as they ship, which the labs run).

use std::process::{Command, ExitCode};

use anyhow::{Result, bail, ensure};

use crate::count::{self, Tally};
use crate::packages::Group;
use crate::programs::{Profile, as_root, next, userspace, with_products};
use crate::setup::{self, Mode};
use crate::steps::Report;
use crate::{ebpf, run, tidy, workspace};

/// Sets up what is missing, then checks everything.
pub(crate) fn test() -> ExitCode {
    let mut report = Report::default();
    report.step("setup", "cargo xtask setup", || passed(setup::run(Group::ALL, Mode::Install)));
    check(report)
}

/// Checks everything with what is there.
pub(crate) fn ci() -> ExitCode {
    check(Report::default())
}

fn check(mut report: Report) -> ExitCode {
    report.step("fmt", "cargo fmt --all && cargo fmt --manifest-path lb-ebpf/Cargo.toml", || passed(format()));
    report.step("tidy", "cargo xtask tidy", || passed(tidy::run()));
    let bpf = report.step("build-ebpf", "cargo xtask build-ebpf", || passed(ebpf::build()));
    // The daemon embeds the BPF object: without it the rest can still be judged.
    let scope: &[&str] = if bpf { &[] } else { &["--exclude", "lb-userspace", "--exclude", "lb-tests"] };
    report.step("clippy", "cargo clippy --workspace --all-targets -- -D warnings", || {
        passed(run::run(
            run::cargo()
                .args(["clippy", "--workspace", "--all-targets", "--keep-going"])
                .args(scope)
                .args(["--", "-Dwarnings"]),
        ))
    });
    // Before the one that ships, which takes its place in target/release.
    let next = report.step("build-next", "cargo xtask build-next --release", || passed(next(Profile::Release)));
    let built = report.step("build", "cargo xtask build", || {
        ensure!(bpf, "not tried, because the BPF programs did not build");
        passed(userspace())
    });
    report.step("unit", "cargo nextest run --workspace --exclude lb-tests", || {
        let without_daemon: &[&str] = if bpf { &[] } else { &["--exclude", "lb-userspace"] };
        nextest(run::cargo().args(["nextest", "run", "--workspace", "--exclude", "lb-tests"]).args(without_daemon))
    });
    report.step("doctest", "cargo test --doc --workspace", || doc_tests(scope));
    report.step("doc", "RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps", || {
        let mut command = run::cargo();
        passed(run::run(
            command
                .env("RUSTDOCFLAGS", "-Dwarnings")
                .args(["doc", "--workspace", "--no-deps", "--keep-going"])
                .args(scope),
        ))
    });
    report.step("deny", "cargo deny check bans licenses sources", || passed(deny(&["check"], DENY_ALWAYS)));
    advisories(&mut report);
    report.step("lab", LAB_BY_HAND, || {
        ensure!(built && next, "not run, because the build failed");
        as_root("ci")?;
        nextest(with_products(run::cargo().args(["nextest", "run", "--package", "lb-tests"])))
    });
    report.finish()
}

const LAB_BY_HAND: &str = "LBD=$PWD/target/release/lbd LBCTL=$PWD/target/release/lbctl \
                           LBD_NEXT=$PWD/target/next/lbd LB_BPF_DIR=$PWD/target/bpf cargo nextest run --package lb-tests";

fn passed(result: Result<()>) -> Result<Tally> {
    result.map(|()| Tally::PASSED)
}

fn format() -> Result<()> {
    let workspace = run::run(run::cargo().args(["fmt", "--all", "--check"]));
    let ebpf = workspace::ebpf_manifest();
    ensure!(ebpf.is_file(), "{} is missing", ebpf.display());
    run::run(run::cargo().args(["fmt", "--check", "--manifest-path"]).arg(ebpf)).and(workspace)
}

/// Runs nextest to the end. A run without tests is a failure, and so is one that ends badly with none failed.
fn nextest(command: &mut Command) -> Result<Tally> {
    let (status, output) = run::tee(command.arg("--no-fail-fast"))?;
    let Some(mut tally) = count::nextest(&output) else { bail!("no test ran ({status})") };
    ensure!(tally.passed + tally.failed > 0, "there are no tests");
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

fn doc_tests(scope: &[&str]) -> Result<Tally> {
    let (status, output) = run::tee(run::cargo().args(["test", "--doc", "--workspace", "--no-fail-fast"]).args(scope))?;
    let mut tally = count::doc_tests(&output);
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

const DENY_ALWAYS: &[&str] = &["bans", "licenses", "sources"];

fn deny(command: &[&str], checks: &[&str]) -> Result<()> {
    // What brings a crate in is told by `cargo tree`; here it would bury the finding.
    run::run(run::cargo().arg("deny").args(command).arg("--hide-inclusion-graph").args(checks))
}

/// Known vulnerabilities, if their database can be had; where it cannot, that is said and not counted.
fn advisories(report: &mut Report) {
    println!("\nfetching the database of advisories");
    // It is a git repository on the Internet; a minute is enough to know that there is none.
    let mut fetch = run::clean(Command::new("timeout"));
    match run::capture(fetch.args(["60", "cargo", "deny", "fetch", "db"])) {
        Ok(_) => {
            report.step("advisories", "cargo deny check advisories", || {
                passed(deny(&["--offline", "check"], &["advisories"]))
            });
        }
        Err(error) => report.note(format!("advisories were NOT checked, no database: {}", last_line(&error))),
    }
}

fn last_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
