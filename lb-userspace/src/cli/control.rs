//! `lbctl reload`, `confirm`, `rollback` and `stop`.

use std::io::Write;

use lb_core::config::parse_duration;
use lb_core::view::{ConfirmReport, ReloadRequest, StopRequest};

use super::exit::Failure;
use super::{output, render};
use crate::api::{CONFIRM_WITHIN_SECONDS, Client, ClientError};

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ReloadArgs {
    /// Go back to the configuration before, unless `lbctl confirm` comes within this time (5s to 1h).
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", value_parser = seconds)]
    confirm: Option<u64>,
    /// Print JSON, the mistakes of an invalid configuration included.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<u64, String> {
    let time = parse_duration(text).filter(|time| time.subsec_millis() == 0).map(|time| time.as_secs());
    time.filter(|seconds| CONFIRM_WITHIN_SECONDS.contains(seconds))
        .ok_or_else(|| "write a time from 5s to 1h, like 60s or 5m".to_owned())
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ConfirmArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct StopArgs {
    /// Take the datapath down as well: virtual services are then no longer answered.
    #[arg(long)]
    detach: bool,
}

pub(super) async fn reload(
    args: ReloadArgs,
    client: &Client,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let answer = client.reload(ReloadRequest { confirm_within_seconds: args.confirm }).await;
    if args.json {
        match &answer {
            Ok(report) => output::json(out, report)?,
            Err(ClientError::InvalidConfiguration(mistakes)) => output::json(out, mistakes)?,
            Err(_) => {}
        }
    }
    let report = answer?;
    if args.json {
        return Ok(());
    }
    // A warning that cannot be shown does not undo the reload.
    let _ = err.write_all(render::warnings(&report).as_bytes());
    output::text(out, &render::reload(&report))
}

/// What the daemon answered to `confirm` or `rollback`.
pub(super) fn confirm(
    args: ConfirmArgs,
    answer: Result<ConfirmReport, ClientError>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let report = answer?;
    if args.json {
        return output::json(out, &report);
    }
    output::text(out, &render::confirmed(&report))
}

pub(super) async fn stop(args: StopArgs, client: &Client, out: &mut impl Write) -> Result<(), Failure> {
    let report = client.stop(StopRequest { detach: args.detach }).await?;
    output::text(out, render::stop(report))
}
