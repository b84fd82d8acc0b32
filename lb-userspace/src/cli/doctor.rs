//! `lbctl doctor`.

use std::io::Write;

use lb_core::view::DoctorQuery;

use super::exit::Failure;
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

/// Goes to the start of the line and empties it (ECMA-48 §8.3.41).
const LINE_START: &str = "\r\x1b[K";

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this virtual service, and this machine itself.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Findings are told by the exit status too, so that a script can ask.
pub(super) async fn run(
    args: Args,
    client: &Client,
    terminal: Terminal,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let is_watched = terminal.height.is_some() && !args.json;
    let query = DoctorQuery { service: args.service };
    let examined = client.doctor(&query, |progress| {
        if is_watched {
            // A line of progress that cannot be shown is no reason to stop.
            let _ = write!(err, "{LINE_START}{}", render::progress(progress, terminal.width));
            let _ = err.flush();
        }
    });
    let examined = examined.await;
    if is_watched {
        let _ = write!(err, "{LINE_START}");
    }
    let examination = examined?;
    if args.json {
        output::json(out, &examination)?;
    } else {
        output::text(out, &render::examination(&examination, terminal.width, terminal.colour))?;
    }
    if examination.findings.is_empty() { Ok(()) } else { Err(Failure::Said) }
}
