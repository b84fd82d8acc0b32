//! The daemon; everything is in [`lb_userspace::daemon`].

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use lb_userspace::daemon::{self, Options};
use tracing_subscriber::EnvFilter;

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
    Run(Options),
}

fn main() -> ExitCode {
    let Command::Run(options) = Arguments::parse().command;
    let default = if options.log_verdicts { "info,lb_ebpf=debug" } else { "info" };
    let filter = EnvFilter::try_from_env("LB_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(daemon::run(options))
}
