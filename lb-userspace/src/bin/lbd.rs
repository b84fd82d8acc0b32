//! The daemon; everything is in [`lb_userspace::daemon`].

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
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
    let Command::Run(Run { options, log_format }) = Arguments::parse().command;
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

fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(daemon::run(options))
}
