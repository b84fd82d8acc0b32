//! `lbctl explain`.

use std::io::Write;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lb_core::view::{ClientEnd, ExplainQuery, Transport, VipEnd};

use super::exit::Failure;
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The client's address, with a port if it matters: 10.1.2.3, 10.1.2.3:40000, [2001:db8::7]:40000.
    #[arg(value_name = "CLIENT[:PORT]")]
    client: ClientEnd,
    /// Address and port that the client would connect to: 10.0.0.100:443, [2001:db8::100]:443.
    #[arg(value_name = "VIP:PORT")]
    vip: VipEnd,
    /// Over this protocol. Default: the one that the virtual service has, tcp if it has both.
    #[arg(long, value_parser = protocol())]
    protocol: Option<Transport>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A transport protocol.
fn protocol() -> impl TypedValueParser<Value = Transport> {
    PossibleValuesParser::new(["tcp", "udp"])
        .try_map(|word| Transport::from_word(&word.to_uppercase()).ok_or("not a transport protocol"))
}

pub(super) async fn run(args: Args, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    let query = ExplainQuery::new(args.client, args.vip, args.protocol);
    let query = query.map_err(|error| Failure::Refused(error.to_string()))?;
    let told = client.explain(&query).await?;
    if args.json {
        return output::json(out, &told);
    }
    output::text(out, &render::explained(&told, terminal.width, terminal.colour))
}
