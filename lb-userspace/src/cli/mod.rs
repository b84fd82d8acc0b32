//! `lbctl`, the administrator's command: arguments in, requests to the daemon's API, text for a
//! person or JSON for a program out.
//!
//! Absent: any knowledge of the daemon that the API does not give. What a terminal shows is made by
//! the pure functions of [`render`].

mod cert;
mod config;
mod connections;
mod control;
mod doctor;
mod events;
mod exit;
mod explain;
mod filters;
mod health;
pub mod manual;
mod order;
mod output;
mod persistence;
pub mod render;
mod status;
mod trace;
mod upgrade;
mod watch;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use exit::Exit;
use exit::Failure;
use lb_core::view::Order;
pub use output::Terminal;

use crate::api::{Client, ClientError, DEFAULT_SOCKET};

/// Looks after the load balancer on this machine.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, arg_required_else_help = true, after_help = EXIT_STATUS)]
pub struct Cli {
    /// Where lbd listens.
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "PATH", env = "LB_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "\
Exit status: 0 fine, 1 failed, 2 wrong usage, 3 the configuration is not valid, 4 lbd cannot be reached.";

/// What `lbctl` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the virtual services, their real servers, and what is wrong.
    Status(status::Args),
    /// List the flows that lbd knows.
    Connections(connections::Args),
    /// List or forget which clients keep which real server.
    Persistence(persistence::Args),
    /// Say which real server a client would get, and why; nothing is changed by asking.
    Explain(explain::Args),
    /// Show every health check: what it found, how fast, and its last probes.
    Health(health::Args),
    /// Examine the live network: find what keeps clients from being served, and say what to type.
    Doctor(doctor::Args),
    /// List what happened, one sentence each.
    Events(events::Args),
    /// Show the frames of a client as they come, with what becomes of each and why. Until Ctrl-C.
    Trace(trace::Args),
    /// Take a real server out of service gently: no new clients, the old ones stay.
    Drain(order::Args),
    /// Take a real server out of service at once: its flows and persistent clients are cut.
    Halt(order::Args),
    /// Bring a drained or halted real server back into service.
    Online(order::Args),
    /// Give a real server another share of new flows than configured.
    Weight(order::WeightArgs),
    /// List the certificates that clients are shown, and make, request or import one.
    Cert(cert::Args),
    /// Say whether a configuration is valid, and everything that is wrong with it.
    Check(config::CheckArgs),
    /// Say what differs between two configurations, or between a file and what runs, and which flows
    /// that would touch.
    Diff(config::DiffArgs),
    /// Print the configuration.
    Config(config::ConfigArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Apply the configuration file as it is now; established connections stay.
    Reload(control::ReloadArgs),
    /// Keep the configuration that `reload --confirm` has put in force.
    Confirm(control::ConfirmArgs),
    /// Go back to the configuration before the one that waits to be confirmed.
    Rollback(control::ConfirmArgs),
    /// Start the lbd that is installed now in place of the running one: nothing is refused, connections go on.
    Upgrade(upgrade::Args),
    /// Stop lbd; without --detach the kernel goes on forwarding layer 4 traffic.
    Stop(control::StopArgs),
    /// Print the completions of a shell, to be sourced or installed.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages, for a package.
    #[command(hide = true)]
    Manual(manual::Args),
}

/// Carries out a command: results go to `out`, which is what `terminal` describes, errors and
/// warnings to `err`.
pub async fn run(cli: Cli, terminal: fn() -> Terminal, out: &mut impl Write, err: &mut impl Write) -> Exit {
    let client = Client::new(&cli.socket);
    let result = match cli.command {
        Command::Check(args) => return ended(config::check(&args, terminal().colour, out, err)),
        Command::Config(args) => return ended(config::config(&args, terminal().colour, out, err)),
        Command::Schema => return ended(config::schema(out)),
        Command::Diff(args) if !args.needs_running() => {
            return ended(config::compare(&args, None, terminal().colour, out, err));
        }
        Command::Diff(args) => match running(&client).await {
            Ok(running) => return ended(config::compare(&args, Some(&running), terminal().colour, out, err)),
            Err(error) => Err(error.into()),
        },
        Command::Status(args) => status::run(args, &client, terminal, out).await,
        Command::Connections(args) => connections::run(args, &client, terminal(), out).await,
        Command::Persistence(args) => persistence::run(args, &client, terminal(), out).await,
        Command::Explain(args) => explain::run(args, &client, terminal(), out).await,
        Command::Health(args) => health::run(args, &client, terminal(), out).await,
        Command::Doctor(args) => doctor::run(args, &client, terminal(), out, err).await,
        Command::Events(args) => events::run(args, &client, terminal(), out, err).await,
        Command::Trace(args) => trace::run(args, &client, out, err).await,
        Command::Cert(args) => cert::run(args, &client, terminal(), out).await,
        Command::Drain(args) => order::run(&args, Order::Drain, &client, terminal, out, err).await,
        Command::Halt(args) => order::run(&args, Order::Halt, &client, terminal, out, err).await,
        Command::Online(args) => order::run(&args, Order::Online, &client, terminal, out, err).await,
        Command::Weight(args) => order::weight(&args, &client, out, err).await,
        Command::Reload(args) => control::reload(args, &client, out, err).await,
        Command::Confirm(args) => control::confirm(args, client.confirm().await, out),
        Command::Rollback(args) => control::confirm(args, client.rollback().await, out),
        Command::Upgrade(args) => upgrade::run(args, &client, out, err).await,
        Command::Stop(args) => control::stop(args, &client, out).await,
        Command::Manual(args) => manual::run(&args, Cli::command()),
        Command::Completions { shell } => completions(shell, out),
    };
    let flushed = out.flush().map_err(Failure::Output);
    match result.and(flushed) {
        Ok(()) => Exit::Fine,
        Err(failure) => failure.report(err),
    }
}

/// What a file is compared with.
async fn running(client: &Client) -> Result<config::Running, ClientError> {
    let config = client.effective_config().await?;
    // What differs is worth telling also when nobody says whom it touches.
    Ok(config::Running { config, status: client.status().await.ok() })
}

/// The exit status of a command that needs no daemon.
fn ended(result: std::io::Result<config::Outcome>) -> Exit {
    match result {
        Ok(config::Outcome::Fine) => Exit::Fine,
        // As elsewhere: `lbctl schema | head` is not a mistake.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Fine,
        Ok(config::Outcome::Failed) | Err(_) => Exit::Failed,
        Ok(config::Outcome::Invalid) => Exit::InvalidConfiguration,
    }
}

fn completions(shell: Shell, out: &mut impl Write) -> Result<(), Failure> {
    // clap_complete panics on a closed pipe, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lbctl", &mut script);
    out.write_all(&script).map_err(Failure::Output)
}
