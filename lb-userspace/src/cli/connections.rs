//! `lbctl connections`.

use std::io::Write;

use lb_core::view::{ConnectionsQuery, ConnectionsSort, DEFAULT_LIMIT, FlowState};

use super::exit::Failure;
use super::filters::{self, Filters};
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Only in this state.
    #[arg(long, value_parser = filters::state())]
    state: Option<FlowState>,
    /// At most so many.
    #[arg(long, value_name = "ROWS", default_value_t = DEFAULT_LIMIT, value_parser = filters::limit())]
    limit: u32,
    /// In this order: active last, newest, or by client.
    #[arg(long, default_value_t = ConnectionsSort::Idle, value_parser = filters::sort())]
    sort: ConnectionsSort,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    let Filters { service, server, client: address } = args.filters;
    let query =
        ConnectionsQuery { service, server, client: address, state: args.state, limit: args.limit, sort: args.sort };
    let connections = client.connections(&query).await?;
    if args.json {
        return output::json(out, &connections);
    }
    output::text(out, &render::connections(&connections, terminal.width, terminal.colour))
}
