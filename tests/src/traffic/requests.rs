//! Requests of HTTP without a pause, over connections that stay, while a test disturbs the balancer.
//!
//! In: a client, services. Out: how many requests were answered, and every one that was not. A request fails when
//! its connection is refused, breaks or is closed before the answer is complete, or when the answer is not 200.
//! A connection whose answer said `connection: close` is opened anew.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::lab::Host;

/// For one answer; none takes long, so this is only met by a failure.
const ANSWER: Duration = Duration::from_secs(20);
/// Requests of one connection before the client closes it: new connections are made all the time, too.
const REQUESTS: usize = 50;
/// Failures that are kept; the others are counted.
const KEPT: usize = 5;

/// Requests that go on until they are ended.
#[derive(Debug)]
pub struct Requests {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

/// What became of them.
#[derive(Debug)]
pub struct Answered {
    /// With 200, wholly.
    pub answered: u64,
    /// One sentence for each that was not.
    pub failed: Vec<String>,
}

impl Requests {
    /// Begins: `each` clients for each service.
    ///
    /// # Errors
    /// When the host cannot be entered.
    pub fn start(client: &Host, services: &[SocketAddr], each: usize) -> Result<Self> {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for service in services.iter().flat_map(|service| std::iter::repeat_n(*service, each)) {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            // A thread that is made inside is of that network.
            threads.push(client.enter(|| std::thread::spawn(move || ask(service, &stop, &answered)))?);
        }
        Ok(Self { stop, answered, threads })
    }

    /// So far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends them.
    #[must_use]
    pub fn end(mut self) -> Answered {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads).into_iter();
        let failed = threads.flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Answered { failed: failed.collect(), answered: self.answered.load(Ordering::Relaxed) }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ask(service: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) -> Vec<String> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) && failed.len() < KEPT {
        if let Err(error) = connection(service, stop, answered) {
            failed.push(format!("{service}: {error:#}"));
        }
    }
    failed
}

/// One connection until the balancer says that it closes it, or it has had its requests.
fn connection(service: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) -> Result<()> {
    let stream = TcpStream::connect_timeout(&service, ANSWER).context("cannot connect")?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut reader = BufReader::new(stream);
    for number in 1..=REQUESTS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let asked = reader.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: www.example.test\r\n\r\n");
        asked.with_context(|| format!("request {number} cannot be sent"))?;
        let goes_on = answer(&mut reader).with_context(|| format!("request {number}"))?;
        answered.fetch_add(1, Ordering::Relaxed);
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Whether the connection goes on after the answer.
fn answer(reader: &mut BufReader<TcpStream>) -> Result<bool> {
    let mut line = String::new();
    ensure!(reader.read_line(&mut line)? > 0, "closed before an answer");
    ensure!(line.starts_with("HTTP/1.1 200"), "answered {line:?}");
    let (mut length, mut goes_on) = (None, true);
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "closed within the header");
        let field = line.trim_end().to_ascii_lowercase();
        match field.split_once(": ") {
            None if field.is_empty() => break,
            Some(("content-length", value)) => length = Some(value.parse::<usize>()?),
            Some(("connection", "close")) => goes_on = false,
            _ => {}
        }
    }
    let mut body = vec![0; length.context("no length")?];
    reader.read_exact(&mut body).context("the body broke off")?;
    Ok(goes_on)
}
