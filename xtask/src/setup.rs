//! `cargo xtask setup`: finds what is missing, and installs it where it may.
//!
//! In: groups of things the project needs. Out: the same things on the machine, or the one command that
//! puts them there. Absent: anything that is there already; it is left alone, whatever its version.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{Group, Package, Tool};
use crate::toolchain::{self, DEBIANS_COMPILER, LINKER_LLVM, LINKER_VERSION};
use crate::{apt, python, run};

/// What to do about what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Say it.
    Check,
    /// Install it.
    Install,
}

/// What one or several groups lack.
#[derive(Default)]
struct Missing {
    packages: Vec<&'static str>,
    services: Vec<&'static str>,
    tools: Vec<&'static Tool>,
    /// bpf-linker, which is built against the LLVM of the packages.
    linker: bool,
    /// rustup components of the compiler in use.
    components: Vec<&'static str>,
    /// The Python packages of the labs.
    python: bool,
}

/// Sees to it that the groups' needs are met, and says so line by line.
///
/// # Errors
/// When something is missing and may not be installed here, or could not be.
pub(crate) fn run(groups: &[Group], mode: Mode) -> Result<()> {
    let missing = look(groups, true);
    if missing.is_empty() {
        println!("setup: everything is there");
        return Ok(());
    }
    // Packages take root and apt; what cargo builds goes to the user's own folder.
    let may_install = missing.packages.is_empty() || (run::is_root() && apt::is_debian());
    if mode == Mode::Check || !may_install {
        println!("\nthis installs what is missing:\n\n    {}\n", missing.command_line(run::is_root()));
        bail!("{}", why_not(mode, may_install));
    }
    missing.install()?;
    let left = look(groups, false);
    if !left.is_empty() {
        bail!("still missing after the installation: {}", left.names().join(" "));
    }
    println!("setup: everything is there now");
    Ok(())
}

fn why_not(mode: Mode, may_install: bool) -> &'static str {
    match (mode, may_install) {
        (Mode::Check, true) => "some things are missing; `cargo xtask setup` installs them",
        (_, false) if !apt::is_debian() => {
            "some things are missing, and this is not Debian: install the same programs with your package manager"
        }
        _ => "some things are missing, and only root may install them",
    }
}

fn look(groups: &[Group], speak: bool) -> Missing {
    let mut all = Missing::default();
    for group in groups {
        let missing = look_at(*group);
        if speak {
            let state =
                if missing.is_empty() { "ok".to_owned() } else { format!("missing: {}", missing.names().join(" ")) };
            println!("{}: {state}", group.title());
        }
        all.add(missing);
    }
    all
}

fn look_at(group: Group) -> Missing {
    let lacks_program = |package: &&Package| package.program.is_none_or(|name| run::find_program(name).is_none());
    // Libraries are known to dpkg alone; elsewhere they cannot be looked for, and the labs tell.
    let debian = apt::is_debian();
    let known = |package: &&Package| debian || package.program.is_some();
    let candidates: Vec<&Package> = group.packages().iter().filter(lacks_program).filter(known).collect();
    let names: Vec<&'static str> = candidates.iter().map(|package| package.name).collect();
    let packages = if names.is_empty() { names } else { apt::absent(&names) };
    let services =
        candidates.iter().filter(|package| packages.contains(&package.name)).flat_map(|package| package.services);
    let mut missing = Missing {
        services: services.copied().collect(),
        tools: group.tools().iter().filter(|tool| run::find_program(tool.name).is_none()).collect(),
        packages,
        ..Missing::default()
    };
    match group {
        Group::Toolchain => {
            let wanted = toolchain::wanted();
            missing.packages = if wanted.packages.is_empty() { Vec::new() } else { apt::absent(&wanted.packages) };
            missing.linker = wanted.linker;
        }
        Group::TestTools => {
            missing.components = absent_components();
            missing.python = !python::is_current();
        }
        Group::Lab | Group::Software | Group::Bench => {}
    }
    missing
}

fn absent_components() -> Vec<&'static str> {
    let works = |name: &str| run::capture(run::cargo().args([name, "--version"])).is_ok();
    [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(name, _)| !works(name))
        .map(|(_, name)| name)
        .collect()
}

impl Missing {
    fn add(&mut self, other: Self) {
        self.packages.extend(other.packages);
        self.services.extend(other.services);
        self.tools.extend(other.tools);
        self.linker |= other.linker;
        self.components.extend(other.components);
        self.python |= other.python;
    }

    fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    fn names(&self) -> Vec<&'static str> {
        let mut names = self.packages.clone();
        names.extend(self.linker.then_some("bpf-linker"));
        names.extend(&self.components);
        names.extend(self.python.then_some(python::NAME));
        names.extend(self.tools.iter().map(|tool| tool.name));
        names
    }

    fn install(&self) -> Result<()> {
        if !self.packages.is_empty() {
            let installed = apt::install(&self.packages);
            if self.debians_compiler() {
                installed.context("where apt has no rustc-web, `rustup component add rust-src` serves instead")?;
            } else {
                installed?;
            }
            self.services.iter().for_each(|service| apt::disable_service(service));
        }
        for mut step in self.cargo_steps() {
            println!("{}: {}", step.what, run::show(&step.command));
            run::run(&mut step.command)?;
        }
        if self.python { python::install() } else { Ok(()) }
    }

    fn debians_compiler(&self) -> bool {
        self.packages.iter().any(|name| DEBIANS_COMPILER.contains(name))
    }

    fn cargo_steps(&self) -> Vec<CargoStep> {
        let mut steps = Vec::new();
        if !self.components.is_empty() {
            let mut command = run::clean(Command::new("rustup"));
            command.args(["component", "add"]).args(&self.components);
            steps.push(CargoStep { what: "rustup: adding components".to_owned(), command });
        }
        if self.linker {
            steps.push(linker_step());
        }
        steps.extend(self.tools.iter().map(|tool| tool_step(tool)));
        steps
    }

    fn command_line(&self, root: bool) -> String {
        let mut parts = Vec::new();
        let mut packages = self.packages.clone();
        if self.debians_compiler() && !apt::is_debian() {
            packages.retain(|name| !DEBIANS_COMPILER.contains(name));
            parts.push("rustup component add rust-src".to_owned());
        }
        if !packages.is_empty() {
            let apt = apt::command_line(&packages);
            parts.push(if root { apt } else { format!("sudo sh -c {}", run::quote(&apt)) });
        }
        parts.extend(self.cargo_steps().iter().map(CargoStep::command_line));
        // It is made by this program alone, which then knows what it was made from.
        parts.extend(self.python.then(|| "cargo xtask setup".to_owned()));
        parts.join(" && ")
    }
}

/// One program that cargo or rustup installs.
struct CargoStep {
    what: String,
    command: Command,
}

impl CargoStep {
    /// As a person would type it, with the variables that matter.
    fn command_line(&self) -> String {
        let variables = self.command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        let variables =
            variables.filter(|(name, _)| *name != "PATH").map(|(name, value)| format!("{name}={} ", run::quote(value)));
        variables.collect::<String>() + &run::show(&self.command)
    }
}

fn linker_step() -> CargoStep {
    let prefix = format!("/usr/lib/llvm-{LINKER_LLVM}");
    let mut command = cargo_install("bpf-linker", LINKER_VERSION);
    command.args(["--no-default-features", "--features", &format!("llvm-{LINKER_LLVM}")]);
    // One that is there and was found unfit is replaced.
    command.arg("--force");
    command.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{LINKER_LLVM}1_PREFIX"), &prefix);
    CargoStep { what: "cargo: building bpf-linker, about 1 minute on two cores".to_owned(), command }
}

fn tool_step(tool: &Tool) -> CargoStep {
    let mut command = cargo_install(tool.name, tool.version);
    command.args(tool.arguments);
    // These run for seconds and are compiled once: a quick build serves better than a fast program.
    for (name, value) in [("LTO", "off"), ("OPT_LEVEL", "1"), ("DEBUG", "0"), ("CODEGEN_UNITS", "16")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    CargoStep { what: format!("cargo: building {}, about {} minutes on two cores", tool.name, tool.minutes), command }
}

fn cargo_install(name: &str, version: &str) -> Command {
    let mut command = run::cargo();
    // Away from the workspace, whose settings are not meant for other people's programs.
    command.current_dir(Path::new("/"));
    command.args(["install", "--locked", name, "--version", version]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_installs_everything_that_is_missing() {
        let missing =
            Missing { packages: vec!["socat", "g++"], components: vec!["clippy"], linker: true, ..Missing::default() };
        let line = missing.command_line(false);
        let steps: Vec<&str> = line.split(" && ").collect();
        assert_eq!(steps[0], "sudo sh -c 'apt-get update");
        assert!(steps[1].ends_with("--no-remove socat g++'"), "{line}");
        assert_eq!(steps[2], "rustup component add clippy");
        assert!(
            steps[3].starts_with("LLVM_PREFIX=/usr/lib/llvm-22 LLVM_SYS_221_PREFIX=/usr/lib/llvm-22 cargo install")
        );
        assert_eq!(steps.len(), 4);
        assert!(missing.command_line(true).starts_with("apt-get update"));
    }

    #[test]
    fn what_lacks_only_a_linker_is_not_complete() {
        assert!(Missing::default().is_empty());
        assert_eq!(Missing { linker: true, ..Missing::default() }.names(), ["bpf-linker"]);
    }
}
