//! `lbctl persistence`.

use std::io::Write;

use clap::Subcommand;
use lb_core::view::{DEFAULT_LIMIT, PersistenceQuery, PersistentClient};

use super::exit::Failure;
use super::filters;
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// List persistence records (the default).
    List(ListArgs),
    /// Forget persistence records: the clients are scheduled anew with their next connection.
    Clear(ClearArgs),
}

/// Which records.
#[derive(Clone, Debug, Default, clap::Args)]
struct Filters {
    /// Only of this virtual service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only of this real server.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Only of this client, of the clients in this network (172.26.11.0/24), or of this RDP user as listed
    /// (rdp:5bf1a0c2d3e4f607).
    #[arg(long, value_name = "CLIENT")]
    client: Option<PersistentClient>,
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    filters: Filters,
    /// At most so many.
    #[arg(long, value_name = "ROWS", default_value_t = DEFAULT_LIMIT, value_parser = filters::limit())]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").args(["service", "server", "client", "all"]).required(true).multiple(true))]
struct ClearArgs {
    #[command(flatten)]
    filters: Filters,
    /// All records of all virtual services.
    #[arg(long, conflicts_with_all = ["service", "server", "client"])]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    match args.action {
        None => list(args.list, client, terminal, out).await,
        Some(Action::List(args)) => list(args, client, terminal, out).await,
        Some(Action::Clear(args)) => clear(args, client, out).await,
    }
}

async fn list(args: ListArgs, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    let records = client.persistence(&query(args.filters, args.limit)).await?;
    if args.json {
        return output::json(out, &records);
    }
    output::text(out, &render::persistence(&records, terminal.width, terminal.colour))
}

async fn clear(args: ClearArgs, client: &Client, out: &mut impl Write) -> Result<(), Failure> {
    let answer = client.clear_persistence(&query(args.filters, DEFAULT_LIMIT)).await?;
    if args.json {
        return output::json(out, &answer);
    }
    let mut sentence = match answer.cleared {
        0 => "No persistence record matches; nothing was forgotten.\n".to_owned(),
        1 => "1 persistence record was forgotten.\n".to_owned(),
        cleared => format!("{} persistence records were forgotten.\n", render::count(cleared)),
    };
    sentence.push_str(&render::kept_by_cookie(&answer.by_cookie));
    output::text(out, &sentence)
}

fn query(filters: Filters, limit: u32) -> PersistenceQuery {
    let Filters { service, server, client } = filters;
    PersistenceQuery { service, server, client, limit }
}
