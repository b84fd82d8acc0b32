//! `lbctl events`.

use std::io::Write;
use std::time::Duration;

use chrono::Local;
use lb_core::view::{Event, EventsQuery, MAX_LIMIT, MAX_WAIT_SECONDS};
use tokio::time::Instant;

use super::exit::Failure;
use super::output::{self, Terminal};
use super::{filters, render, watch};
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Go on until Ctrl-C, also while lbd is restarted.
    #[arg(long)]
    follow: bool,
    /// Only of this virtual service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only of this real server.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// At most so many, the latest; with --follow so many of the past.
    #[arg(long, value_name = "ROWS", default_value_t = EventsQuery::default().limit, value_parser = filters::limit())]
    limit: u32,
    /// Print JSON; with --follow one event a line.
    #[arg(long)]
    json: bool,
}

/// After an answer that came at once and brought nothing, and while lbd does not answer.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(
    args: Args,
    client: &Client,
    terminal: Terminal,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let Args { follow, service, server, limit, json } = args;
    let query = EventsQuery { after: None, service, server, limit, wait_seconds: 0 };
    if follow {
        let interrupted = watch::interrupted()?;
        let mut printer = Printer { json, colour: terminal.colour, out };
        return self::follow(client, query, &mut printer, err, PAUSE, interrupted).await;
    }
    let events = client.events(&query).await?;
    if json {
        return output::json(out, &events);
    }
    if events.events.is_empty() {
        return output::text(out, "No event matches.\n");
    }
    Printer { json, colour: terminal.colour, out }.print(&events.events)
}

/// Where events go.
pub(super) struct Printer<'o, W: Write> {
    pub(super) json: bool,
    pub(super) colour: bool,
    pub(super) out: &'o mut W,
}

impl<W: Write> Printer<'_, W> {
    fn print(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            match self.json {
                true => output::json_line(self.out, event)?,
                false => output::text(self.out, &render::event(event, &Local, self.colour))?,
            }
        }
        self.out.flush().map_err(Failure::Output)
    }
}

/// Prints what `query` means, and then whatever happens until `stop` completes. lbd may be away for a
/// while; it has to be there in the beginning.
pub(super) async fn follow<W: Write>(
    client: &Client,
    query: EventsQuery,
    printer: &mut Printer<'_, W>,
    err: &mut impl Write,
    pause: Duration,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(stop);
    let first = client.events(&query).await?;
    printer.print(&first.events)?;
    let mut query = EventsQuery { limit: MAX_LIMIT, wait_seconds: MAX_WAIT_SECONDS, ..query };
    let mut after = seen(&first.events, first.last);
    let mut silent = false;
    loop {
        query.after = Some(after);
        let asked_at = Instant::now();
        let asked = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            asked = client.events(&query) => asked,
        };
        let is_idle = match asked {
            Ok(answer) if answer.last < after => {
                note(err, "the events were numbered anew; all that are kept follow");
                after = 0;
                false
            }
            Ok(answer) => {
                if std::mem::take(&mut silent) {
                    note(err, "lbd answers again");
                }
                let lost = answer.oldest.saturating_sub(after.saturating_add(1));
                if lost > 0 && after > 0 {
                    note(
                        err,
                        &format!("{} made room for later ones and cannot be shown", render::counted(lost, "event")),
                    );
                }
                printer.print(&answer.events)?;
                after = seen(&answer.events, answer.last).max(after);
                answer.events.is_empty() && asked_at.elapsed() < pause
            }
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut silent, true) {
                    note(err, "lbd does not answer; waiting for it");
                }
                true
            }
            Err(error) => return Err(error.into()),
        };
        if is_idle {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// The latest event that needs not be asked for again.
fn seen(events: &[Event], last: u64) -> u64 {
    events.last().map_or(last, |event| event.id.max(last))
}

/// A remark must not end what it is about.
fn note(err: &mut impl Write, text: &str) {
    let _ = writeln!(err, "note: {text}");
    let _ = err.flush();
}
