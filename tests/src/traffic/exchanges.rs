//! Short flows in great number: each one question and one answer, from a source port of its own.
//!
//! In: a client's addresses and a service. Out: who answered each, and as whom the real server saw the client.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::at;
use crate::lab::Host;
use crate::software::echo::{Answer, UdpClient};

/// For one answer; none is lost, so this is only met by a failure.
const ANSWER: Duration = Duration::from_secs(5);
/// Clients at a time: more than CPUs, so that answers can be confused.
const CLIENTS: usize = 8;
/// Below the kernel's own ephemeral ports, so that no socket of anyone else has one.
const FIRST_PORT: usize = 10_000;

/// An exchange that was completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The client's own address and port.
    pub client: SocketAddr,
    /// What it was told.
    pub answer: Answer,
}

/// Makes `count` exchanges from all of `sources` in turn, with as many source ports as that takes.
///
/// # Errors
/// When one question is not answered, or a client gets another's answer.
pub fn exchange(client: &Host, sources: &[IpAddr], service: SocketAddr, count: usize) -> Result<Vec<Exchange>> {
    ensure!(count / sources.len() < 20_000, "{count} exchanges need more source ports than there are");
    let one_client = |first: usize| -> Result<Vec<Exchange>> {
        let mut exchanges = Vec::new();
        for number in (first..count).step_by(CLIENTS) {
            let port = u16::try_from(FIRST_PORT + number / sources.len())?;
            let source = at(sources[number % sources.len()], port);
            let answer = UdpClient::open(source, service)?.ask_about(&source.to_string(), 100, ANSWER);
            let answer = answer.with_context(|| format!("exchange {number} of {count}, from {source}"))?;
            exchanges.push(Exchange { client: source, answer });
        }
        Ok(exchanges)
    };
    let all = client.enter(|| {
        std::thread::scope(|scope| {
            let one_client = &one_client;
            let clients: Vec<_> = (0..CLIENTS).map(|first| scope.spawn(move || one_client(first))).collect();
            let ended = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect::<Result<Vec<_>>>()
        })
    })??;
    Ok(all.into_iter().flatten().collect())
}
