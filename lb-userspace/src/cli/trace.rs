//! `lbctl trace`.
//!
//! In: a client. Out: a line for each of its frames, until the trace ends or the administrator does. The
//! daemon learns of the latter by the answer being dropped.

use std::io::Write;

use chrono::Local;
use lb_core::view::{MAX_TRACE_SECONDS, Network, TraceEnd, TraceLine, TraceRequest};

use super::exit::Failure;
use super::output;
use super::render::{self, counted};
use super::{filters, order, watch};
use crate::api::{Client, ClientError};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The client, or a network of clients (192.0.2.0/24).
    client: Network,
    /// End after so many frames.
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long, an hour at most.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = length)]
    length: Length,
    /// Print JSON, one line each.
    #[arg(long)]
    json: bool,
}

/// Seconds of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length(u32);

fn length(text: &str) -> Result<Length, String> {
    let seconds = filters::duration(text)?.as_secs();
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=MAX_TRACE_SECONDS) => Ok(Length(seconds)),
        _ => Err(format!("a trace lasts from 1s to {}m", MAX_TRACE_SECONDS / 60)),
    }
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let interrupted = watch::interrupted()?;
    let Args { client: traced, count, length, json } = args;
    let request = TraceRequest { client: traced, seconds: length.0, count, by: order::ordered_by() };
    follow(client, &request, json, out, err, interrupted).await
}

/// Prints what comes until `stop` completes.
pub(super) async fn follow(
    client: &Client,
    request: &TraceRequest,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(stop);
    let mut lines = tokio::select! {
        () = &mut stop => return Ok(()),
        lines = client.trace(request) => lines?,
    };
    loop {
        let line = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            line = lines.next::<TraceLine>() => line?,
        };
        let Some(line) = line else {
            let broken = "the lines of the trace ended without a last one";
            return Err(ClientError::Broken(broken.into()).into());
        };
        if json {
            output::json_line(out, &line)?;
        } else {
            text(&line, out, err)?;
        }
        out.flush().map_err(Failure::Output)?;
        if let TraceLine::End { why, .. } = line {
            return ended(why);
        }
    }
}

fn text(line: &TraceLine, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
    match line {
        TraceLine::Begin { client, interfaces, seconds } => {
            note(err, &format!("tracing {client} on {} for {seconds} s; Ctrl-C ends it", interfaces.join(", ")));
        }
        TraceLine::Frame(traced) => return output::text(out, &render::traced(traced, &Local)),
        TraceLine::NotShown { frames } => {
            note(err, &format!("{} not shown: too many at once", counted(*frames, "frame")));
        }
        TraceLine::End { frames, not_shown: 0, .. } => note(err, &format!("{} shown", counted(*frames, "frame"))),
        TraceLine::End { frames, not_shown, .. } => {
            note(err, &format!("{} shown, {not_shown} not", counted(*frames, "frame")));
        }
    }
    Ok(())
}

fn ended(why: TraceEnd) -> Result<(), Failure> {
    match why {
        TraceEnd::Time | TraceEnd::Count | TraceEnd::Reader => Ok(()),
        TraceEnd::Stopping => Err(Failure::Refused("the trace ended early: lbd is stopping".to_owned())),
        TraceEnd::Failed => Err(Failure::Refused("the trace ended early; `journalctl -u lbd` says why".to_owned())),
    }
}

/// A remark must not end what it is about.
fn note(err: &mut impl Write, text: &str) {
    let _ = writeln!(err, "note: {}", render::clean_text(text));
    let _ = err.flush();
}
