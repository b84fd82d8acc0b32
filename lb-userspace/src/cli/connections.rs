//! `lbctl connections`.

use std::io::Write;
use std::time::Duration;

use lb_core::view::{ConnectionsQuery, ConnectionsSort, DEFAULT_LIMIT, FlowState, Network, Span, Transport};

use super::exit::Failure;
use super::filters::{self, Filters};
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Only to this VIP, or to the VIPs in this network.
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<Network>,
    /// Only to this port of the VIP.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Only of this transport.
    #[arg(long, value_parser = filters::transport(), ignore_case = true)]
    protocol: Option<Transport>,
    /// Only in this state.
    #[arg(long, value_parser = filters::state())]
    state: Option<FlowState>,
    /// Only flows whose first packet came at least so long ago (90s, 10m, 2h).
    #[arg(long, value_name = "TIME", value_parser = filters::duration)]
    min_age: Option<Duration>,
    /// Only flows whose first packet came at most so long ago.
    #[arg(long, value_name = "TIME", value_parser = filters::duration)]
    max_age: Option<Duration>,
    /// Only flows whose client has been silent for at least so long.
    #[arg(long, value_name = "TIME", value_parser = filters::duration)]
    min_idle: Option<Duration>,
    /// Only flows whose client has been silent for at most so long.
    #[arg(long, value_name = "TIME", value_parser = filters::duration)]
    max_idle: Option<Duration>,
    /// At most so many; the others are counted.
    #[arg(long, value_name = "ROWS", default_value_t = DEFAULT_LIMIT, value_parser = filters::limit())]
    limit: u32,
    /// In this order: active last, newest, by client, by name of the virtual service or real server, or
    /// forgotten next.
    #[arg(long, default_value_t = ConnectionsSort::Idle, value_parser = filters::sort())]
    sort: ConnectionsSort,
    /// In the opposite order: idle longest, oldest, and so on.
    #[arg(long)]
    reverse: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl From<Args> for ConnectionsQuery {
    fn from(args: Args) -> Self {
        let Filters { service, server, client } = args.filters;
        Self {
            service,
            server,
            client,
            vip: args.vip,
            port: args.port,
            protocol: args.protocol,
            state: args.state,
            age: span(args.min_age, args.max_age),
            idle: span(args.min_idle, args.max_idle),
            limit: args.limit,
            sort: args.sort,
            reverse: args.reverse,
        }
    }
}

/// Flows have whole seconds of age: at least 1500 ms is at least 2 of them, at most 1500 ms is at most 1.
fn span(least: Option<Duration>, most: Option<Duration>) -> Span {
    let up = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    Span { least: least.map(up), most: most.map(|time| time.as_secs()) }
}

pub(super) async fn run(args: Args, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    let (json, query) = (args.json, ConnectionsQuery::from(args));
    let connections = client.connections(&query).await?;
    if json {
        return output::json(out, &connections);
    }
    output::text(out, &render::connections(&connections, terminal.width, terminal.colour))
}
