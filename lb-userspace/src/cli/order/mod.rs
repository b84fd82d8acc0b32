//! `lbctl drain`, `halt`, `online` and `weight`.
//!
//! In: names as typed. Out: orders to the daemon, what each came to, and with `--wait` the end of it.
//! Nothing is ordered unless every name is known, so that a slip changes nothing.

mod target;
#[cfg(test)]
mod tests;
mod wait;

use std::io::Write;
use std::time::Duration;

use lb_core::view::{Order, OrderReport, OrderRequest, ServerState};
use serde::Serialize;

use self::target::Target;
pub(super) use self::wait::Pace;
use self::wait::{Goal, Waited};
use super::exit::Failure;
use super::output::{self, Terminal};
use super::{filters, render, watch};
use crate::api::{Client, ClientError};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The real servers, each as SERVICE/SERVER.
    #[arg(required = true, value_name = "SERVICE/SERVER")]
    servers: Vec<String>,
    /// Go on until a drained one has neither connections nor persistent clients, a halted one no
    /// connections, or until it is up. Ctrl-C ends the wait, not the order.
    #[arg(long)]
    wait: bool,
    /// End the wait after so long (10m, 2h), with status 1.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = filters::duration)]
    timeout: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct WeightArgs {
    /// The real servers, each as SERVICE/SERVER.
    #[arg(required = true, value_name = "SERVICE/SERVER")]
    servers: Vec<String>,
    /// The share of new flows from 0 to 65535, or `configured` for that of the configuration.
    #[arg(required = true, value_name = "WEIGHT", value_parser = share)]
    weight: Share,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `None`: the configured one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share(Option<u16>);

fn share(text: &str) -> Result<Share, String> {
    match text {
        "configured" => Ok(Share(None)),
        text => match text.parse() {
            Ok(weight) => Ok(Share(Some(weight))),
            Err(_) => Err("write a number from 0 to 65535, or configured".to_owned()),
        },
    }
}

/// What became of one order, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    service: String,
    server: String,
    /// What the daemon did; `None`: it refused.
    order: Option<OrderReport>,
    /// Why it refused.
    error: Option<String>,
    /// How the wait ended; `None`: it was not waited for.
    wait: Option<Waited>,
}

#[derive(Serialize)]
struct Outcomes<'o> {
    orders: &'o [Outcome],
}

pub(super) async fn run(
    args: &Args,
    order: Order,
    client: &Client,
    terminal: fn() -> Terminal,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let goal = args.wait.then(|| Goal::of(order)).flatten();
    let Some(goal) = goal else {
        let outcomes = give(&args.servers, order, client, args.json, out, err).await?.outcomes;
        return finish(&outcomes, args.json, out);
    };
    let interrupted = watch::interrupted()?;
    let pace = Pace { timeout: args.timeout, ..Pace::default() };
    let shown = if args.json { None } else { Some(terminal()) };
    order_and_wait(args, goal, order, client, shown, pace, interrupted, out, err).await
}

#[expect(clippy::too_many_arguments, reason = "a test chooses what the terminal and the clock are in a command")]
async fn order_and_wait(
    args: &Args,
    goal: Goal,
    order: Order,
    client: &Client,
    shown: Option<Terminal>,
    pace: Pace,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let Given { targets, mut outcomes } = give(&args.servers, order, client, args.json, out, err).await?;
    let taken: Vec<_> =
        targets.into_iter().zip(&outcomes).filter(|(_, one)| one.order.is_some()).map(|(target, _)| target).collect();
    let waited = wait::run(&taken, goal, client, shown, pace, stop, out, err).await?;
    for (outcome, waited) in outcomes.iter_mut().filter(|one| one.order.is_some()).zip(waited) {
        outcome.wait = Some(waited);
    }
    finish(&outcomes, args.json, out)
}

pub(super) async fn weight(
    args: &WeightArgs,
    client: &Client,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let order = Order::Weight { weight: args.weight.0 };
    let outcomes = give(&args.servers, order, client, args.json, out, err).await?.outcomes;
    finish(&outcomes, args.json, out)
}

struct Given {
    targets: Vec<Target>,
    /// One for each target.
    outcomes: Vec<Outcome>,
}

/// Gives the order to each, and says what it came to unless JSON is wanted.
async fn give(
    typed: &[String],
    order: Order,
    client: &Client,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<Given, Failure> {
    let targets = target::find(typed, &client.status().await?).map_err(Failure::Refused)?;
    let by = ordered_by();
    let mut outcomes = Vec::new();
    for Target { service, server, .. } in &targets {
        let request = OrderRequest { service: service.clone(), server: server.clone(), order, by: by.clone() };
        let (report, error) = match client.order(&request).await {
            Ok(report) => (Some(report), None),
            Err(ClientError::Refused(error)) => (None, Some(error)),
            // The others would fail the same way; what was done has been said.
            Err(error) => return Err(error.into()),
        };
        let outcome = Outcome { service: service.clone(), server: server.clone(), order: report, error, wait: None };
        if !json {
            say(&outcome, out, err)?;
        }
        outcomes.push(outcome);
    }
    Ok(Given { targets, outcomes })
}

fn say(outcome: &Outcome, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
    if let Some(report) = &outcome.order {
        // A warning that cannot be shown does not undo the order.
        let _ = err.write_all(render::order_warnings(report).as_bytes());
        output::text(out, &render::order(report))?;
    }
    if let Some(error) = &outcome.error {
        let _ = writeln!(err, "error: {}", render::clean_text(error));
    }
    out.flush().map_err(Failure::Output)
}

fn finish(outcomes: &[Outcome], json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        output::json(out, &Outcomes { orders: outcomes })?;
    }
    let missed = |outcome: &Outcome| outcome.error.is_some() || outcome.wait.as_ref().is_some_and(|wait| !wait.reached);
    if outcomes.iter().any(missed) { Err(Failure::Said) } else { Ok(()) }
}

/// The person behind `sudo`, else the login of this user. Without either the daemon knows the number.
pub(super) fn ordered_by() -> Option<String> {
    let behind = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    behind.or_else(|| Some(nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok()??.name))
}

/// Whether a real server was out of service before the order came.
const fn is_down(state: ServerState) -> bool {
    matches!(state, ServerState::Down)
}
