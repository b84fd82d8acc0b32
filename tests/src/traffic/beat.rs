//! A datagram every millisecond through a virtual service: who got each, and when; each is sent back.
//!
//! In: a client, real servers, the service's address. Out: losses, real servers, pauses. Times are of
//! one clock: all hosts are this machine.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::deployments::routed::same_family;
use crate::lab::{Host, wait_until};

const PERIOD: Duration = Duration::from_millis(1);
/// How often a receiver looks whether it is to stop.
const POLL: Duration = Duration::from_millis(50);
/// Datagrams are waited for this long once the last was sent.
const TAIL: Duration = Duration::from_secs(2);
/// Datagrams kept: half an hour.
const LIMIT: usize = 1_800_000;

/// One that arrived.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    number: u64,
    server: usize,
    sent: Duration,
    received: Duration,
}

/// A moment of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

/// A stream that runs until it is finished.
#[derive(Debug)]
pub struct Beat {
    begin: Instant,
    names: Vec<String>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    arrived: Arc<Mutex<Vec<Datagram>>>,
    /// Numbers of those that came back.
    answered: Arc<Mutex<BTreeSet<u64>>>,
    sender: Option<JoinHandle<Result<()>>>,
    receivers: Vec<JoinHandle<Result<()>>>,
    stop_receiving: Arc<AtomicBool>,
}

/// What arrived between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Datagrams sent.
    pub sent: u64,
    /// Of these, those that no server got.
    pub lost: u64,
    /// Those that a server got and the client did not get back.
    pub unanswered: u64,
    /// Datagrams that arrived more than once.
    pub twice: u64,
    /// The servers that got one.
    pub servers: Vec<String>,
    /// The longest time between two arrivals.
    pub longest_pause: Duration,
    /// The longest time between two sendings: as much of a pause was the sender's own.
    pub longest_silence: Duration,
    /// The longest time from client to server.
    pub longest_way: Duration,
}

impl Beat {
    /// Starts one flow from `source` to `service`, an address that all `servers` hold.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn start(client: &Host, source: SocketAddr, servers: &[Host], service: SocketAddr) -> Result<Self> {
        Self::between_hosts(client, source, servers, service, |_| service)
    }

    /// The same to servers that get it at addresses of their own, at the port of the service.
    ///
    /// # Errors
    /// As for [`Beat::start`].
    pub fn start_rewritten(client: &Host, source: SocketAddr, servers: &[Host], service: SocketAddr) -> Result<Self> {
        Self::between_hosts(client, source, servers, service, |host| {
            SocketAddr::new(same_family(host, service.ip()), service.port())
        })
    }

    fn between_hosts(
        client: &Host,
        source: SocketAddr,
        servers: &[Host],
        service: SocketAddr,
        listen: impl Fn(&Host) -> SocketAddr,
    ) -> Result<Self> {
        let begin = Instant::now();
        let mut beat = Self {
            begin,
            names: servers.iter().map(|server| server.name().to_owned()).collect(),
            stop: Arc::default(),
            sent: Arc::default(),
            arrived: Arc::default(),
            answered: Arc::default(),
            sender: None,
            receivers: Vec::new(),
            stop_receiving: Arc::default(),
        };
        for (server, host) in servers.iter().enumerate() {
            let address = listen(host);
            let socket = host.enter(|| UdpSocket::bind(address))?;
            let socket = socket.with_context(|| format!("cannot bind {address} on {}", host.name()))?;
            socket.set_read_timeout(Some(POLL))?;
            let (arrived, stop) = (Arc::clone(&beat.arrived), Arc::clone(&beat.stop_receiving));
            let receive = move || receive(&socket, server, begin, &arrived, &stop);
            beat.receivers.push(std::thread::Builder::new().name("beat-in".into()).spawn(receive)?);
        }
        let socket = client.enter(|| {
            let socket = UdpSocket::bind(source)?;
            socket.connect(service)?;
            std::io::Result::Ok(socket)
        })?;
        let socket = socket.with_context(|| format!("cannot send from {source} to {service}"))?;
        socket.set_read_timeout(Some(POLL))?;
        let (answers, answered, stop) =
            (socket.try_clone()?, Arc::clone(&beat.answered), Arc::clone(&beat.stop_receiving));
        let take_back = move || {
            take_back(&answers, &answered, &stop);
            Ok(())
        };
        beat.receivers.push(std::thread::Builder::new().name("beat-back".into()).spawn(take_back)?);
        let (sent, stop) = (Arc::clone(&beat.sent), Arc::clone(&beat.stop));
        let send = move || send(&socket, begin, &sent, &stop);
        beat.sender = Some(std::thread::Builder::new().name("beat-out".into()).spawn(send)?);
        wait_until("the first datagram arrives", TAIL, || {
            ensure!(!beat.datagrams().is_empty(), "none of {} has", beat.sent.load(Ordering::Relaxed));
            Ok(())
        })?;
        Ok(beat)
    }

    /// This moment.
    pub fn now(&self) -> Moment {
        Moment(self.begin.elapsed())
    }

    /// The moment before the first datagram.
    pub fn beginning(&self) -> Moment {
        Moment(Duration::ZERO)
    }

    /// What became of the datagrams that were sent since `from`. The last ones may still be under way:
    /// waits for them.
    ///
    /// # Errors
    /// When the sender could not send.
    pub fn since(&self, from: Moment) -> Result<Arrived> {
        let until = self.now();
        let last = self.sent.load(Ordering::Relaxed);
        // Whether it comes or not: it is counted below.
        let _ = wait_until("all have arrived", TAIL, || {
            let arrived = self.datagrams().last().map_or(0, |datagram| datagram.number);
            let answered = self.answers().last().copied().unwrap_or_default();
            ensure!(arrived >= last && answered >= last, "{arrived} of {last}, {answered} answered");
            Ok(())
        });
        if let Some(sender) = &self.sender {
            ensure!(!sender.is_finished(), "the client cannot send any more");
        }
        Ok(self.between(from, until, last))
    }

    /// Ends the stream: what became of all of it.
    ///
    /// # Errors
    /// When the client could not send or a server could not receive.
    pub fn finish(mut self) -> Result<Arrived> {
        let all = self.since(Moment(Duration::ZERO));
        self.join()?;
        all
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.stop_receiving.store(true, Ordering::Relaxed);
        for thread in self.sender.take().into_iter().chain(self.receivers.drain(..)) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    }

    fn datagrams(&self) -> std::sync::MutexGuard<'_, Vec<Datagram>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn between(&self, from: Moment, until: Moment, last: u64) -> Arrived {
        let all = self.datagrams();
        let mut window: Vec<Datagram> = all.iter().copied().filter(|d| d.sent >= from.0 && d.number <= last).collect();
        drop(all);
        window.sort_by_key(|datagram| datagram.number);
        let first = window.first().map_or(last + 1, |datagram| datagram.number);
        let before = window.len();
        window.dedup_by_key(|datagram| datagram.number);
        let sent = last + 1 - first;
        let answers = self.answers();
        let unanswered = window.iter().filter(|datagram| !answers.contains(&datagram.number)).count() as u64;
        drop(answers);
        let mut servers: Vec<&String> = window.iter().filter_map(|datagram| self.names.get(datagram.server)).collect();
        servers.sort_unstable();
        servers.dedup();
        let mut received: Vec<Duration> = window.iter().map(|datagram| datagram.received).collect();
        received.sort_unstable();
        // Nothing arriving until the end is a pause as well.
        received.push(received.last().copied().unwrap_or(from.0).max(until.0));
        let gaps = |times: &[Duration]| times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let out: Vec<Duration> = window.iter().map(|datagram| datagram.sent).collect();
        Arrived {
            sent,
            lost: sent - window.len() as u64,
            unanswered,
            twice: (before - window.len()) as u64,
            servers: servers.into_iter().cloned().collect(),
            longest_pause: gaps(&received),
            longest_silence: gaps(&out),
            longest_way: window.iter().map(|d| d.received.saturating_sub(d.sent)).max().unwrap_or_default(),
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            eprintln!("a stream ended early: {error:#}");
        }
    }
}

impl std::fmt::Display for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} datagrams, {} lost, {} unanswered, to {}; longest pause {:.1} ms (the client's own {:.1} ms), longest way {:.1} ms",
            self.sent,
            self.lost,
            self.unanswered,
            self.servers.join(" and "),
            self.longest_pause.as_secs_f64() * 1e3,
            self.longest_silence.as_secs_f64() * 1e3,
            self.longest_way.as_secs_f64() * 1e3,
        )
    }
}

fn send(socket: &UdpSocket, begin: Instant, sent: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    for number in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let now = u64::try_from(begin.elapsed().as_nanos())?;
        let datagram = [number.to_be_bytes(), now.to_be_bytes()].concat();
        // An answer of ICMP about an earlier one is reported here; the next attempt sends.
        if socket.send(&datagram).is_err() {
            socket.send(&datagram).context("cannot send")?;
        }
        sent.store(number, Ordering::Relaxed);
        // A metronome, not a wait: late by what sending took, never early.
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

fn receive(
    socket: &UdpSocket,
    server: usize,
    begin: Instant,
    arrived: &Mutex<Vec<Datagram>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        // A timeout, or an error of ICMP, which says nothing about datagrams that come in.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let received = begin.elapsed();
        let numbers = buffer[..length].as_chunks::<8>().0;
        let [number, sent] = numbers else { continue };
        let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
        let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(arrived.len() < LIMIT, "the stream has run for too long to be kept");
        arrived.push(Datagram { number: u64::from_be_bytes(*number), server, sent, received });
        drop(arrived);
        // One that cannot be sent is missed by the client.
        let _ = socket.send_to(&buffer[..length], client);
    }
    Ok(())
}

fn take_back(socket: &UdpSocket, answered: &Mutex<BTreeSet<u64>>, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        // A timeout, or an error of ICMP about a datagram, which is then missed by a server.
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        if let [number, _] = buffer[..length].as_chunks::<8>().0 {
            answered.lock().unwrap_or_else(PoisonError::into_inner).insert(u64::from_be_bytes(*number));
        }
    }
}
