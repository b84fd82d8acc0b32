//! `cargo xtask`: set the machine up, build, show, test and measure the project.
//!
//! In: one subcommand. Out: what it ran, line by line, and an exit status. Absent: any of our own
//! crates (this one has to work when none of them compiles) and any opinion about load balancing.

mod apt;
mod ci;
mod count;
mod ebpf;
mod packages;
mod programs;
mod python;
mod run;
mod setup;
mod steps;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use packages::Group;
use setup::Mode;

/// Sets up, builds, shows, tests and measures the load balancer.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the project needs and this machine lacks (Debian, as root; elsewhere it says what to run)
    Setup {
        /// Only say what is missing; exit status 1 if anything is
        #[arg(long)]
        check: bool,
    },
    /// Compile the programs the kernel runs into target/bpf/
    BuildEbpf,
    /// Compile everything that ships: the BPF programs, lbd and lbctl
    Build,
    /// Compile the lbd that tests upgrade to, target/next/lbd, and lbd and lbctl as they are (in dev profile)
    BuildNext {
        /// In release profile
        #[arg(long)]
        release: bool,
    },
    /// Show the product working in network namespaces on this machine (needs root)
    Demo {
        /// Passed on to the demo
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Set up what is missing, then run everything that `ci` runs
    Test,
    /// Run every check: format, tidy, clippy, builds, tests, documentation, licenses, labs (needs root)
    Ci,
    /// Check the house rules that no compiler checks
    Tidy,
    /// Measure, in release profile: `bench NAME -- arguments` (needs root)
    Bench {
        /// Which measurement; without it the bench program lists them
        name: Option<String>,
        /// Passed on to the measurement
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// A laboratory of network namespaces to play in: `lab up NAME`, `lab shell NAME`, `lab down NAME` (needs root)
    Lab {
        /// up, shell or down, the laboratory's name, and whatever else the laboratory takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup { check } => setup::run(Group::ALL, if check { Mode::Check } else { Mode::Install })?,
        Task::BuildEbpf => ebpf::build()?,
        Task::Build => programs::build()?,
        Task::BuildNext { release } => {
            programs::build_next(if release { programs::Profile::Release } else { programs::Profile::Dev })?;
        }
        Task::Demo { arguments } => programs::demo(&arguments)?,
        Task::Test => return Ok(ci::test()),
        Task::Ci => return Ok(ci::ci()),
        Task::Tidy => tidy::run()?,
        Task::Bench { name, arguments } => programs::bench(name.as_deref(), &arguments)?,
        Task::Lab { arguments } => programs::lab(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_definition_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
