//! `cargo xtask bench NAME`: what datapath, proxy and health checks cost. Needs root.

mod health;
mod l4;
mod l7;
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
    /// What the proxy does in a second of CPU time, beside HAProxy and nginx
    L7(l7::Arguments),
    /// What health checks of many real servers cost, and how late probes start
    Health(health::Arguments),
    /// The servers of `health`, which starts them itself
    #[command(hide = true)]
    HealthServers,
    /// Servers and loads of `l7`, which starts them itself
    #[command(hide = true, subcommand)]
    L7Generator(l7::Generator),
}

fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::L4(arguments) => l4::run(&arguments),
        Bench::L4Live(arguments) => live::run(&arguments),
        Bench::L7(arguments) => l7::run(&arguments),
        Bench::L7Generator(generator) => l7::generate(&generator),
        Bench::Health(arguments) => health::run(&arguments),
        Bench::HealthServers => health::serve(),
    }
}

/// What is going on, on a terminal; nothing anywhere else.
pub(crate) fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
    }
}
