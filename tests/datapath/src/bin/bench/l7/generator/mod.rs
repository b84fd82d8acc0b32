//! The parts of the bench that are processes of their own: servers and loads for what wrk and h2load cannot do.
//!
//! In: where to, how long. Out: one number, or a few, on standard output.

mod answer;
mod idle;
mod pace;
mod tcp;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::{Subcommand, ValueEnum};

/// What such a process does.
#[derive(Subcommand)]
pub(crate) enum Generator {
    /// Sends back what it gets
    Echo { address: SocketAddr },
    /// Sends as fast as it can
    Source { address: SocketAddr },
    /// Opens a connection, has a few bytes echoed and closes it, again and again
    Connections { target: SocketAddr, seconds: u64 },
    /// Has small messages echoed on connections that stay
    Messages { target: SocketAddr, seconds: u64 },
    /// Takes what comes; counts bytes
    Bulk { target: SocketAddr, seconds: u64 },
    /// Full TLS handshakes
    Handshakes { target: SocketAddr, seconds: u64 },
    /// Opens connections, uses each once, says `ready` and waits
    Idle { target: SocketAddr, protocol: Protocol, count: usize },
    /// Asks so many times a second, 0: one after the other; says the rate and 99th percentile of the time in ms
    Pace { target: SocketAddr, seconds: u64, rate: f64 },
}

/// What is spoken on connections that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Http,
    Tls,
    Tcp,
}

impl Generator {
    pub(super) fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let time = Duration::from_secs;
        match *self {
            Self::Echo { address } => runtime.block_on(tcp::echo(address))?,
            Self::Source { address } => tcp::source(address)?,
            Self::Connections { target, seconds } => {
                println!("{}", runtime.block_on(tcp::connections(target, time(seconds)))?);
            }
            Self::Messages { target, seconds } => {
                println!("{}", runtime.block_on(tcp::messages(target, time(seconds)))?);
            }
            Self::Bulk { target, seconds } => println!("{}", tcp::bulk(target, time(seconds))?),
            Self::Handshakes { target, seconds } => println!("{}", tls::handshakes(target, time(seconds))?),
            Self::Idle { target, protocol, count } => idle::wait(target, protocol, count)?,
            Self::Pace { target, seconds, rate } => {
                let (rate, latency) = pace::ask(target, time(seconds), rate)?;
                println!("{rate:.0} {:.3}", latency.as_secs_f64() * 1000.0);
            }
        }
        Ok(())
    }
}

/// Does the same in so many threads; what came of each.
fn in_threads<T: Send>(threads: u32, one: impl Fn(u32) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread has panicked"))?).collect()
    })
}
