//! `--wait`: the overview again and again, until every order has come to its end.
//!
//! In: overviews. Out: lines of progress, and for each real server how the wait ended. What an
//! overview means is a plain function ([`judge`]).

use std::io::Write;
use std::time::{Duration, Instant};

use lb_core::view::{AdministrativeState, Order, RealServer, ServerState, Status};
use serde::Serialize;

use super::is_down;
use super::target::Target;
use crate::api::Client;
use crate::cli::exit::Failure;
use crate::cli::output::{self, Terminal};
use crate::cli::render::{age, clean_text, left};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Nobody is left.
    Drained,
    /// No connection is left.
    Halted,
    /// It takes clients.
    Online,
}

impl Goal {
    pub(super) const fn of(order: Order) -> Option<Self> {
        match order {
            Order::Drain => Some(Self::Drained),
            Order::Halt => Some(Self::Halted),
            Order::Online => Some(Self::Online),
            Order::Weight { .. } => None,
        }
    }
}

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) timeout: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), timeout: None }
    }
}

/// How the wait for one real server ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Waited {
    /// Whether it came to what was waited for.
    pub(super) reached: bool,
    /// What it came to.
    pub(super) sentence: String,
}

/// What an overview says about one real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Not yet.
    Waiting(String),
    /// There is nothing more to wait for.
    Ended(Waited),
}

/// What `status` means for the one that waits.
pub(super) fn judge(goal: Goal, target: &Target, status: &Status) -> Judged {
    let name = target.name();
    let ended = |reached, rest: &str| Judged::Ended(Waited { reached, sentence: format!("{name} {rest}") });
    let Some(server) = server_of(status, target) else {
        return ended(false, "is not configured any more");
    };
    let (ordered, by) = match &server.administration {
        Some(administration) => (administration.state, format!(" by {}", administration.by)),
        None => (AdministrativeState::Online, " meanwhile".to_owned()),
    };
    let gone = || format!("went down, and its clients with it: {}", server.reason);
    match (goal, ordered) {
        (Goal::Drained, AdministrativeState::Drained) => match (nobody_left(server), is_down(server.state)) {
            // It had no client that could be lost.
            (true, true) if is_down(target.state) => ended(true, "was down already; nobody is left"),
            (_, true) => ended(false, &gone()),
            (true, false) => ended(true, "is drained: no connection and no persistent client is left"),
            (false, false) => {
                Judged::Waiting(format!("{name}: {}", left(server.connections, server.persistent_clients)))
            }
        },
        (Goal::Halted, AdministrativeState::Halted) => match server.connections {
            0 => ended(true, "is halted: no connection is left"),
            connections => Judged::Waiting(format!("{name}: {}", left(connections, 0))),
        },
        (Goal::Online, AdministrativeState::Online) => match server.state {
            ServerState::Up => ended(true, "is up"),
            state => Judged::Waiting(format!("{name} is {state}: {}", server.reason)),
        },
        (_, AdministrativeState::Online) => ended(false, &format!("was brought online{by}")),
        (_, AdministrativeState::Drained) => ended(false, &format!("was drained{by}")),
        (_, AdministrativeState::Halted) => ended(false, &format!("was halted{by}")),
    }
}

const fn nobody_left(server: &RealServer) -> bool {
    server.connections == 0 && server.persistent_clients == 0
}

fn server_of<'s>(status: &'s Status, target: &Target) -> Option<&'s RealServer> {
    let service = status.virtual_services.iter().find(|service| service.name == target.service)?;
    service.real_servers.iter().find(|server| server.name == target.server)
}

/// One whose end is still open: why the wait was given up, and what holds on.
fn given_up(goal: Goal, target: &Target, last: &str, why: &str) -> Waited {
    let name = target.name();
    let holds = match goal {
        Goal::Drained => format!("{name} stays drained; `lbctl online {name}` brings it back"),
        Goal::Halted => format!("{name} stays halted; `lbctl online {name}` brings it back"),
        Goal::Online => format!("{name} is online as soon as its check succeeds"),
    };
    let last = if last.is_empty() { String::new() } else { format!(" ({last})") };
    Waited { reached: false, sentence: format!("{why}{last}; {holds}") }
}

struct One<'t> {
    target: &'t Target,
    /// The progress that was last shown.
    last: String,
    ended: Option<Waited>,
}

/// Waits for all of them; how it ended, in the same order. Shows progress and ends on `shown`.
#[expect(clippy::too_many_arguments, reason = "a test chooses what the terminal and the clock are in a command")]
pub(super) async fn run(
    targets: &[Target],
    goal: Goal,
    client: &Client,
    shown: Option<Terminal>,
    pace: Pace,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<Vec<Waited>, Failure> {
    let mut all: Vec<One<'_>> = targets.iter().map(|target| One { target, last: String::new(), ended: None }).collect();
    let mut progress = Progress { shown, drawn: false };
    let started = Instant::now();
    let mut silent = false;
    tokio::pin!(stop);
    while all.iter().any(|one| one.ended.is_none()) {
        let asked = tokio::select! {
            biased;
            () = &mut stop => {
                end(&mut all, goal, "interrupted", &mut progress, out)?;
                break;
            }
            asked = client.status() => asked,
        };
        match asked {
            Ok(status) => {
                silent = false;
                look(&mut all, goal, &status, &mut progress, out)?;
            }
            // The order outlives the daemon, and so does the wait.
            Err(error) if error.may_pass() => {
                if !silent {
                    progress.clear(out)?;
                    let _ = writeln!(err, "{}; the wait goes on", clean_text(&error.to_string()));
                }
                silent = true;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(timeout) = pace.timeout.filter(|timeout| started.elapsed() >= *timeout) {
            let why = format!("still waiting after {}", age(timeout.as_secs()));
            end(&mut all, goal, &why, &mut progress, out)?;
            break;
        }
        if all.iter().any(|one| one.ended.is_none()) {
            tokio::select! {
                () = &mut stop => {
                    end(&mut all, goal, "interrupted", &mut progress, out)?;
                    break;
                }
                () = tokio::time::sleep(pace.interval) => {}
            }
        }
    }
    Ok(all.into_iter().filter_map(|one| one.ended).collect())
}

fn look(
    all: &mut [One<'_>],
    goal: Goal,
    status: &Status,
    progress: &mut Progress,
    out: &mut impl Write,
) -> Result<(), Failure> {
    for one in all.iter_mut().filter(|one| one.ended.is_none()) {
        match judge(goal, one.target, status) {
            Judged::Waiting(text) => {
                if one.last != text {
                    progress.line(&text, out)?;
                }
                one.last = text;
            }
            Judged::Ended(waited) => {
                progress.end(&waited, out)?;
                one.ended = Some(waited);
            }
        }
    }
    let waiting: Vec<_> = all.iter().filter(|one| one.ended.is_none()).map(|one| one.last.as_str()).collect();
    progress.draw(&waiting.join("; "), out)
}

/// Ends the wait for all that are left.
fn end(
    all: &mut [One<'_>],
    goal: Goal,
    why: &str,
    progress: &mut Progress,
    out: &mut impl Write,
) -> Result<(), Failure> {
    for one in all.iter_mut().filter(|one| one.ended.is_none()) {
        let waited = given_up(goal, one.target, &one.last, why);
        progress.end(&waited, out)?;
        one.ended = Some(waited);
    }
    Ok(())
}

/// On a terminal one line, drawn over the one before; elsewhere a line for each change.
struct Progress {
    shown: Option<Terminal>,
    drawn: bool,
}

impl Progress {
    fn in_place(&self) -> Option<usize> {
        self.shown.filter(|terminal| terminal.height.is_some()).map(|terminal| terminal.width)
    }

    /// A change of one of them.
    fn line(&self, text: &str, out: &mut impl Write) -> Result<(), Failure> {
        if self.shown.is_none() || self.in_place().is_some() {
            return Ok(());
        }
        output::text(out, &format!("{}\n", clean_text(text)))?;
        out.flush().map_err(Failure::Output)
    }

    /// All of them.
    fn draw(&mut self, text: &str, out: &mut impl Write) -> Result<(), Failure> {
        let Some(width) = self.in_place() else { return Ok(()) };
        if text.is_empty() {
            return Ok(());
        }
        // A line that wraps could not be drawn over.
        let text: String = clean_text(text).chars().take(width.saturating_sub(1)).collect();
        self.drawn = true;
        output::text(out, &format!("\r{text}\x1b[K"))?;
        out.flush().map_err(Failure::Output)
    }

    fn clear(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        if !std::mem::take(&mut self.drawn) {
            return Ok(());
        }
        output::text(out, "\r\x1b[K")?;
        out.flush().map_err(Failure::Output)
    }

    fn end(&mut self, waited: &Waited, out: &mut impl Write) -> Result<(), Failure> {
        self.clear(out)?;
        if self.shown.is_some() {
            output::text(out, &format!("{}.\n", clean_text(&waited.sentence)))?;
        }
        out.flush().map_err(Failure::Output)
    }
}
