//! `lbctl status`.

use std::io::Write;
use std::time::Duration;

use super::exit::Failure;
use super::output::{self, Terminal};
use super::{render, watch};
use crate::api::Client;

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Go on until Ctrl-C, every so many seconds, with packets per second.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
    /// Print JSON; with --watch one line each time.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    terminal: fn() -> Terminal,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match args.watch {
        Some(seconds) => {
            let interrupted = watch::interrupted()?;
            watch::run(client, out, Duration::from_secs(seconds), args.json, terminal, interrupted).await
        }
        None if args.json => output::json(out, &client.status().await?),
        None => {
            let terminal = terminal();
            output::text(
                out,
                &render::status(&client.status().await?, output::unix_now(), terminal.width, terminal.colour),
            )
        }
    }
}
