//! `lbctl health`.

use std::io::Write;

use super::exit::Failure;
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only of this virtual service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    let mut list = client.health().await?;
    if let Some(service) = &args.service {
        list.checks.retain(|check| check.service == *service);
    }
    if args.json {
        return output::json(out, &list);
    }
    output::text(out, &render::health(&list, terminal.width, terminal.colour))
}
