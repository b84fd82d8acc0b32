//! The daemon; everything is in [`lb_userspace::daemon`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use lb_userspace::cli;
use lb_userspace::daemon::{self, Options};
use lb_userspace::telemetry::{LogFormat, Telemetry};

/// Load balancer: forwards layer 4 traffic in XDP and looks after the real servers.
#[derive(Parser)]
#[command(name = "lbd", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until told to stop.
    Run(Run),
    /// Write the manual pages of lbd, for packages.
    #[command(hide = true)]
    Manual {
        /// Where.
        #[arg(long)]
        directory: PathBuf,
    },
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    options: Options,
    /// Form of the log.
    #[arg(long, value_enum, value_name = "FORM", env = "LB_LOG_FORMAT", default_value = "auto")]
    log_format: LogFormat,
}

fn main() -> ExitCode {
    let Run { options, log_format } = match Arguments::parse().command {
        Command::Run(run) => run,
        Command::Manual { directory } => return manual(&directory),
    };
    let default = if options.log_verdicts { "info,lb_ebpf=debug" } else { "info" };
    let telemetry = match Telemetry::start(log_format, default) {
        Ok(telemetry) => telemetry,
        Err(sentence) => {
            eprintln!("lbd: {sentence}");
            return ExitCode::FAILURE;
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => telemetry.end(&error),
    }
}

fn manual(directory: &Path) -> ExitCode {
    match cli::manual::write(Arguments::command(), "8", directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: cannot write the manual: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(daemon::run(options))
}
