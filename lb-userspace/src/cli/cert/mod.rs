//! `lbctl cert`: what is shown to clients, and files for what is to be shown.
//!
//! Only the list asks the daemon; the rest makes files, and says what to write into the configuration.

mod files;
mod import;
mod make;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::exit::Failure;
use super::output::{self, Terminal};
use super::render;
use crate::api::Client;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// List the certificates of the configuration in force: names, dates, chain, and what is wrong with them.
    List(ListArgs),
    /// Make a key and a certificate that nobody else has signed: for a test, or for clients that are given it.
    SelfSigned(SelfSignedArgs),
    /// Make a key and a signing request for a certificate authority.
    Csr(CsrArgs),
    /// Make PEM files of a certificate, its key and those that signed it, from PEM, DER or PFX in any order.
    Import(ImportArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What the files are called.
#[derive(Clone, Debug, clap::Args)]
struct Out {
    /// The files are PREFIX.pem or PREFIX.csr, and PREFIX.key.
    #[arg(long = "out", value_name = "PREFIX")]
    prefix: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct SelfSignedArgs {
    /// Hosts and addresses that clients type; *.example.org is every host of that domain.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    out: Out,
    /// How long it is valid; there are clients that accept no more than 825.
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// What kind of key is made.
    #[arg(long, value_name = "KIND", default_value = "ecdsa")]
    key_type: KeyType,
}

#[derive(Clone, Debug, clap::Args)]
struct CsrArgs {
    /// Hosts and addresses that clients type; *.example.org is every host of that domain.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    out: Out,
    /// The organization, where the authority wants it.
    #[arg(long, value_name = "TEXT")]
    organization: Option<String>,
    /// Two letters, where the authority wants them.
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// What kind of key is made.
    #[arg(long, value_name = "KIND", default_value = "ecdsa")]
    key_type: KeyType,
    /// A key that is there already, in PEM, instead of a new one.
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    key: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
struct ImportArgs {
    /// Certificates and the key.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    out: Out,
    /// The password of a PFX archive is the first line of this file; - is standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyType {
    /// ECDSA with P-256: what every client of these days takes, and the fastest.
    Ecdsa,
    /// RSA with 2048 bits, for clients that take nothing else.
    Rsa,
}

pub(super) async fn run(args: Args, client: &Client, terminal: Terminal, out: &mut impl Write) -> Result<(), Failure> {
    match args.action {
        Action::List(args) => {
            let list = client.certificates().await?;
            if args.json {
                return output::json(out, &list);
            }
            output::text(out, &render::certificates(&list, terminal.width, terminal.colour))
        }
        Action::SelfSigned(args) => output::text(out, &make::self_signed(&args)?),
        Action::Csr(args) => output::text(out, &make::csr(&args)?),
        Action::Import(args) => output::text(out, &import::run(&args)?),
    }
}
