//! The administrator's command; everything is in [`lb_userspace::cli`].

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use lb_userspace::cli::{Cli, Terminal, run};

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let exit = runtime.block_on(run(cli, Terminal::detect, &mut std::io::stdout(), &mut std::io::stderr()));
    Ok(exit.into())
}
