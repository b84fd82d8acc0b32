//! `lbctl reload` and `lbctl stop`.

use std::io::Write;

use lb_core::view::{ReloadRequest, StopRequest};

use super::exit::Failure;
use super::{output, render};
use crate::api::{Client, ClientError};

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ReloadArgs {
    /// Print JSON, the mistakes of an invalid configuration included.
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
    let answer = client.reload(ReloadRequest::default()).await;
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

pub(super) async fn stop(args: StopArgs, client: &Client, out: &mut impl Write) -> Result<(), Failure> {
    let report = client.stop(StopRequest { detach: args.detach }).await?;
    output::text(out, render::stop(report))
}
