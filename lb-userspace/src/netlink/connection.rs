//! One netlink socket: requests and their answers, or a subscription.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};

/// The kernel makes no datagram larger than this (NLMSG_GOODSIZE for notifications, 32 KiB for dumps).
const DATAGRAM_LIMIT: usize = 64 * 1024;
/// What the kernel may hold for us: some thousand notifications.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// The kernel answers while it takes the request: this only guards against a lost answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A dump during which something changed is repeated this often.
const DUMP_ATTEMPTS: usize = 10;
/// `struct nlmsghdr` (RFC 3549 section 2.3.2).
const HEADER: usize = 16;

pub(super) struct Connection {
    socket: TokioSocket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens a socket in the current network namespace that receives these multicast groups.
    pub(super) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        // Above the system's limit where the privilege for it is there, else up to it.
        if setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(socket.socket_ref(), sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        for group in groups {
            socket.socket_mut().add_membership(*group)?;
        }
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_LIMIT) })
    }

    /// Asks for one thing, or has one thing done.
    pub(super) async fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags).await?;
        Ok(self.answers().await?.messages)
    }

    /// Asks for everything of a kind, as it was at one moment.
    pub(super) async fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await?;
            let answers = self.answers().await?;
            if !answers.interrupted {
                return Ok(answers.messages);
            }
        }
        Err(io::Error::other(format!("it changed during each of {DUMP_ATTEMPTS} attempts to read it")))
    }

    /// Waits for the next datagram from the kernel.
    pub(super) async fn receive(&mut self) -> io::Result<&[u8]> {
        let Self { socket, buffer, .. } = self;
        loop {
            buffer.clear();
            let from = poll_fn(|context| socket.poll_recv_from(context, buffer)).await?;
            // Port 0 is the kernel; other processes may write to this socket too.
            if from.port_number() == 0 {
                return Ok(buffer);
            }
        }
    }

    /// The next datagram, if there is one already.
    pub(super) fn receive_now(&mut self) -> Option<io::Result<&[u8]>> {
        self.receive().now_or_never()
    }

    async fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let kernel = SocketAddr::new(0, 0);
        poll_fn(|context| self.socket.poll_send_to(context, &bytes, &kernel)).await?;
        Ok(())
    }

    async fn answers(&mut self) -> io::Result<Answers> {
        let sequence = self.sequence;
        let collect = async {
            let mut answers = Answers::default();
            loop {
                let datagram = self.receive().await?;
                if answers.take(datagram, sequence)? {
                    return Ok(answers);
                }
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, collect).await?
    }
}

/// What came back for one request so far.
#[derive(Default)]
struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

impl Answers {
    /// Takes in a datagram; true when it was the last.
    fn take(&mut self, datagram: &[u8], sequence: u32) -> io::Result<bool> {
        for bytes in messages(datagram) {
            // What is left of a request that was given up.
            if NetlinkBuffer::new(bytes).sequence_number() != sequence {
                continue;
            }
            let message = NetlinkMessage::deserialize(bytes).map_err(io::Error::other)?;
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_abs()));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// The messages of a datagram, header included. Ends at the first length that cannot be.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))?;
        let length = usize::try_from(length).ok().filter(|length| (HEADER..=rest.len()).contains(length))?;
        let (message, _) = rest.split_at(length);
        // Each message begins at a multiple of four bytes (NLMSG_ALIGN).
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
