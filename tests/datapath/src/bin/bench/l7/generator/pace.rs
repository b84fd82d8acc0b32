//! Requests at a constant rate, and how long each takes from the moment when it was due: who is late makes the next
//! ones wait too, and they count.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{answer, in_threads};

const CONNECTIONS: u32 = 64;

/// Asks over all connections together so many times a second; 0: each connection asks again as soon as it is
/// answered. The rate that came about, and the 99th percentile.
pub(super) fn ask(target: SocketAddr, time: Duration, rate: f64) -> Result<(f64, Duration)> {
    let begin = Instant::now();
    let interval = (rate > 0.0).then(|| Duration::from_secs_f64(f64::from(CONNECTIONS) / rate));
    let times = in_threads(CONNECTIONS, |number| {
        let first = begin + interval.unwrap_or_default() * number / CONNECTIONS;
        one(target, first, interval, begin + time)
    })?;
    let mut times = times.concat();
    times.sort_unstable();
    let done = f64::from(u32::try_from(times.len())?);
    let place = times.len().saturating_sub(1 + times.len() / 100);
    let latency = times.get(place).context("nothing was answered")?;
    Ok((done / begin.elapsed().as_secs_f64(), *latency))
}

fn one(target: SocketAddr, first: Instant, interval: Option<Duration>, end: Instant) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(target).context("connecting")?;
    stream.set_nodelay(true)?;
    let (mut times, mut due) = (Vec::new(), first);
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        answer::ask(&mut stream)?;
        times.push(due.elapsed());
        due = interval.map_or_else(Instant::now, |interval| due + interval);
    }
    Ok(times)
}
