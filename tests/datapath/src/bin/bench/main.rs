//! `cargo xtask bench NAME`: what the datapath costs, and how it compares. Needs root.

mod l4;
mod live;

use std::io::{IsTerminal, Write};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures the load balancer.
#[derive(Parser)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// What a packet costs in the layer 4 datapath, beside a floor and bare tables
    L4(l4::Arguments),
    /// Frames a second over virtual links, beside nftables and a bridge
    L4Live(live::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::L4(arguments) => l4::run(&arguments),
        Bench::L4Live(arguments) => live::run(&arguments),
    }
}

/// What is going on, on a terminal; nothing anywhere else.
pub(crate) fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
    }
}
