//! One raw ICMP socket, and the pings that wait for what it receives.
//!
//! In: pings. Out: their answers. Absent: other people's ICMP, which a socket filter keeps away.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::health::{Detail, Failure};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::icmp::{self, Answer, Echo, Family};
use crate::health::failure::from_io;

/// The socket with its reader; closed when it is dropped and no ping waits any more.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

#[derive(Debug)]
pub(super) struct Shared {
    family: Family,
    socket: AsyncFd<Socket>,
    /// Ours among all pings of this machine.
    ident: u16,
    tokens: RandomState,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By sequence number.
    pings: HashMap<u16, Waiter>,
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    address: IpAddr,
    token: u64,
    answer: oneshot::Sender<Result<(), Failure>>,
}

/// A ping that waits; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Pending {
    line: Arc<Shared>,
    address: IpAddr,
    pub(super) echo: Echo,
    answer: oneshot::Receiver<Result<(), Failure>>,
}

impl Line {
    /// Opens the socket and starts its reader. Must be called within a tokio runtime.
    pub(super) fn open(family: Family) -> Result<Self, Failure> {
        let socket = raw_socket(family).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Failure::NoPrivilege("CAP_NET_RAW to send ICMP echo requests"),
            _ => Failure::Local(Detail::new(format!("no raw ICMP socket: {error}"))),
        })?;
        // SAFETY: the socket owns its descriptor, and is neither replaced nor closed before the `AsyncFd`.
        let registered = unsafe { AsyncFd::register(socket) };
        let socket = registered
            .map_err(io::Error::from)
            .map_err(|error| Failure::Local(Detail::new(format!("no raw ICMP socket: {error}"))))?;
        let tokens = RandomState::new();
        let [ident @ .., _, _, _, _, _, _] = tokens.hash_one("ident").to_be_bytes();
        let waiting = Mutex::default();
        let shared = Arc::new(Shared { family, socket, ident: u16::from_be_bytes(ident), tokens, waiting });
        let reader = tokio::spawn(Arc::clone(&shared).read()).abort_handle();
        Ok(Self { shared, reader })
    }

    pub(super) fn works(&self) -> bool {
        !self.reader.is_finished()
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    /// A place for the answer of one ping.
    pub(super) fn register(self: &Arc<Self>, address: IpAddr) -> Result<Pending, Failure> {
        let mut waiting = self.waiting();
        if waiting.pings.len() >= MOST_WAITING {
            return Err(Failure::Local(Detail::new(format!("{MOST_WAITING} pings wait for an answer already"))));
        }
        let sequence = loop {
            waiting.count += 1;
            let sequence = low_half(waiting.count);
            if !waiting.pings.contains_key(&sequence) {
                break sequence;
            }
        };
        let echo = Echo { ident: self.ident, sequence, token: self.tokens.hash_one(waiting.count) };
        let (answer, receiver) = oneshot::channel();
        waiting.pings.insert(sequence, Waiter { address, token: echo.token, answer });
        Ok(Pending { line: Arc::clone(self), address, echo, answer: receiver })
    }

    pub(super) async fn send(&self, pending: &Pending) -> Result<(), Failure> {
        let packet = icmp::request(self.family, pending.echo);
        let to = SocketAddr::new(pending.address, 0).into();
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| socket.send_to(&packet, &to)).await;
        sent.map(|_| ()).map_err(|error| from_io(&error))
    }

    async fn read(self: Arc<Self>) {
        let mut buffer = [0; 2048];
        loop {
            let received = self.socket.async_io(Interest::READABLE, |mut socket| socket.read(&mut buffer)).await;
            match received {
                Ok(len) => self.deliver(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// Gives what the socket received to the ping it belongs to, if any.
    pub(super) fn deliver(&self, packet: &[u8]) {
        let mut waiting = self.waiting();
        let (sequence, outcome) = match icmp::answer(self.family, packet) {
            Some(Answer::Reply(echo)) => {
                let ours = waiting.pings.get(&echo.sequence).is_some_and(|waiter| waiter.token == echo.token);
                if !ours || echo.ident != self.ident {
                    return;
                }
                (echo.sequence, Ok(()))
            }
            Some(Answer::Undelivered { ident, sequence, destination, why }) => {
                let ours = waiting.pings.get(&sequence).is_some_and(|waiter| waiter.address == destination);
                if !ours || ident != self.ident {
                    return;
                }
                (sequence, Err(Failure::Unreachable(Detail::new(why))))
            }
            None => return,
        };
        if let Some(waiter) = waiting.pings.remove(&sequence) {
            // Who gave up in this very moment does not want the answer.
            let _ = waiter.answer.send(outcome);
        }
    }

    /// Tells everyone that the socket is of no more use; the next ping opens a new one.
    fn fail(&self, error: &io::Error) {
        for (_, waiter) in self.waiting().pings.drain() {
            let _ = waiter.answer.send(Err(Failure::Local(Detail::new(format!("the ICMP socket failed: {error}")))));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count_waiting(&self) -> usize {
        self.waiting().pings.len()
    }
}

impl Pending {
    pub(super) async fn answer(mut self) -> Result<(), Failure> {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err(Failure::Local(Detail::new("the ICMP socket was closed"))))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting();
        if waiting.pings.get(&self.echo.sequence).is_some_and(|waiter| waiter.token == self.echo.token) {
            waiting.pings.remove(&self.echo.sequence);
        }
    }
}

pub(super) fn raw_socket(family: Family) -> io::Result<Socket> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter(family))?;
    Ok(socket)
}

/// Lets echo replies and delivery errors through, so that the ICMP of others costs no wake-up. Offset 0 is the IP
/// header on an IPv4 socket, the ICMPv6 header on an IPv6 one.
fn filter(family: Family) -> Vec<SockFilter> {
    let [unreachable, time_exceeded] = family.error_types();
    let mut program = match family {
        Family::V4 => {
            vec![SockFilter::new(LOAD_IPV4_HEADER_LEN, 0, 0, 0), SockFilter::new(LOAD_BYTE_AFTER_IT, 0, 0, 0)]
        }
        Family::V6 => vec![SockFilter::new(LOAD_BYTE, 0, 0, 0)],
    };
    program.extend([
        SockFilter::new(JUMP_IF_EQUAL, 3, 0, family.reply_type().into()),
        SockFilter::new(JUMP_IF_EQUAL, 2, 0, unreachable.into()),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, time_exceeded.into()),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]);
    program
}

// Classic BPF, linux/bpf_common.h: class | size | mode.
const LOAD_IPV4_HEADER_LEN: u16 = 0x01 | 0x10 | 0xa0; // X = 4 * (packet[0] & 15)
const LOAD_BYTE_AFTER_IT: u16 = 0x10 | 0x40; // A = packet[X]
const LOAD_BYTE: u16 = 0x10 | 0x20; // A = packet[0]
const JUMP_IF_EQUAL: u16 = 0x05 | 0x10;
const RETURN: u16 = 0x06;

fn low_half(count: u64) -> u16 {
    let [.., high, low] = count.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Far above the limit of probes under way, and far below the number of sequence numbers.
const MOST_WAITING: usize = 4096;
