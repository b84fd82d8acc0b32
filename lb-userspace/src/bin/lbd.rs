//! The daemon; everything is in [`lb_userspace::daemon`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use lb_userspace::allocator::Allocator;
use lb_userspace::cli;
use lb_userspace::daemon::{self, Options};
use lb_userspace::dataplane::program;
use lb_userspace::telemetry::{LogFormat, Telemetry};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

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
    /// Put the kernel tables aside, so that lbd makes new ones when it is started the next time.
    ///
    /// For tables of another layout or size. Forwarding goes on; established flows are placed anew by that start.
    ReplaceTables {
        /// Where tables, program and links are pinned.
        #[arg(long, value_name = "DIRECTORY", default_value = "/sys/fs/bpf/lb")]
        pin_dir: PathBuf,
    },
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
        Command::ReplaceTables { pin_dir } => return replace_tables(&pin_dir),
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

fn replace_tables(pins: &Path) -> ExitCode {
    match program::put_tables_aside(pins) {
        Ok(0) => {
            println!("There are no tables in {}; the next lbd makes them.", pins.display());
            ExitCode::SUCCESS
        }
        Ok(tables) => {
            println!(
                "{tables} tables are put aside; start or restart lbd now: it makes new ones, and replaces the program."
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lbd: {error}");
            ExitCode::FAILURE
        }
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
