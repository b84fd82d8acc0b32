//! A UDP server and a TCP server that answer with their name and the client's address, and clients that
//! ask them: small enough to send from any address and port, and to keep a flow open for as long
//! as a test wants.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::Host;
use crate::proxied::{Conversation, Heard};

/// How often a server looks whether it is to stop.
const POLL: Duration = Duration::from_millis(50);
/// Longest datagram.
const LONGEST: usize = 65_535;
/// An answer is as long as the question and has room for its beginning: as much as tells it from others.
const BEGINNING: usize = 64;

/// What a server said: `NAME PEER LENGTH`, and the question again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub server: String,
    /// The client as the server sees it.
    pub peer: SocketAddr,
    /// Bytes that the server got.
    pub length: usize,
    /// The first word of the question as the server got it.
    pub word: String,
}

impl Answer {
    fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let mut next = || words.next().with_context(|| format!("{text:?} is no answer of an echo server"));
        let (server, peer, length) = (next()?.to_owned(), next()?.parse()?, next()?.parse()?);
        Ok(Self { server, peer, length, word: next()?.to_owned() })
    }
}

/// A server on a thread; stops when dropped.
#[derive(Debug)]
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Answers datagrams at `address`, a local one of `host`: the answer then leaves from it, which
    /// a socket at the wildcard address does not do for an address on `lo`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn udp(host: &Host, address: SocketAddr) -> Result<Self> {
        let socket = host.enter(|| UdpSocket::bind(address))?;
        let socket = socket.with_context(|| format!("cannot bind {address} on {}", host.name()))?;
        socket.set_read_timeout(Some(POLL))?;
        Self::start(host, move |name| {
            let mut buffer = vec![0; LONGEST];
            if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                // The answer is as long as the question, so that fragments come back as well.
                let mut answer = format!("{name} {peer} {length} ").into_bytes();
                let whole = length.max(answer.len() + length.min(BEGINNING));
                answer.extend(&buffer[..length]);
                answer.truncate(whole);
                let _ = socket.send_to(&answer, peer);
            }
        })
    }

    /// Answers every line on TCP connections to `address`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn tcp(host: &Host, address: SocketAddr) -> Result<Self> {
        Self::accept(host, address, |connection, name, peer| answer_lines(&connection, name, peer))
    }

    /// Has each TCP connection to `address` served on a thread of its own, which is told its name and the client.
    pub(super) fn accept(
        host: &Host,
        address: SocketAddr,
        serve: impl Fn(TcpStream, &str, SocketAddr) -> std::io::Result<()> + Clone + Send + 'static,
    ) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind(address))?;
        let listener = listener.with_context(|| format!("cannot bind {address} on {}", host.name()))?;
        listener.set_nonblocking(true)?;
        Self::start(host, move |name| {
            let Ok((connection, peer)) = listener.accept() else {
                std::thread::park_timeout(POLL);
                return;
            };
            let (name, serve) = (name.to_owned(), serve.clone());
            std::thread::spawn(move || {
                // Accepted sockets do not inherit the listener's mode everywhere, so say it.
                connection.set_nonblocking(false)?;
                connection.set_nodelay(true)?;
                serve(connection, &name, peer)
            });
        })
    }

    /// Both, at the port of each of these hosts' own addresses.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub fn everywhere(hosts: &[Host], port: u16) -> Result<Vec<Self>> {
        let mut servers = Vec::new();
        for host in hosts {
            for address in [host.v4(), host.v6()] {
                servers.push(Self::udp(host, SocketAddr::new(address, port))?);
                servers.push(Self::tcp(host, SocketAddr::new(address, port))?);
            }
        }
        Ok(servers)
    }

    fn start(host: &Host, serve: impl Fn(&str) + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (host.name().to_owned(), Arc::clone(&stop));
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                serve(&name);
            }
        };
        let thread = std::thread::Builder::new().name("echo".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_lines(mut connection: &TcpStream, name: &str, peer: SocketAddr) -> std::io::Result<()> {
    for line in BufReader::new(connection).lines() {
        let line = line?;
        connection.write_all(format!("{name} {peer} {} {line}\n", line.len()).as_bytes())?;
    }
    Ok(())
}

/// A UDP client with one flow to one server address.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
}

impl UdpClient {
    /// Binds `source` (port 0: any) on `host`.
    ///
    /// # Errors
    /// When the address is not one of the host's.
    pub fn new(host: &Host, source: SocketAddr, server: SocketAddr) -> Result<Self> {
        host.enter(|| Self::open(source, server))?
    }

    /// The same on the host that this thread is in.
    ///
    /// # Errors
    /// As for [`UdpClient::new`].
    pub fn open(source: SocketAddr, server: SocketAddr) -> Result<Self> {
        let open = || {
            let socket = UdpSocket::bind(source)?;
            // Connected: only answers that come from the very address that was asked are received.
            socket.connect(server)?;
            std::io::Result::Ok(socket)
        };
        Ok(Self { socket: open().with_context(|| format!("cannot ask {server} from {source}"))? })
    }

    /// The client's own address and port.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.socket.local_addr().context("the socket has no address")
    }

    /// Sends `length` bytes and waits for the answer.
    ///
    /// # Errors
    /// When none comes in time, or it is the answer to another question.
    pub fn ask(&self, length: usize, deadline: Duration) -> Result<Answer> {
        self.ask_about("?", length, deadline)
    }

    /// The same with a word of one's own at the beginning.
    ///
    /// # Errors
    /// As for [`UdpClient::ask`].
    pub fn ask_about(&self, word: &str, length: usize, deadline: Duration) -> Result<Answer> {
        let question: Vec<u8> = word.bytes().chain([b' ']).chain((b'!'..=b'~').cycle()).take(length).collect();
        self.socket.set_read_timeout(Some(deadline))?;
        self.socket.send(&question).context("cannot send")?;
        let mut buffer = vec![0; LONGEST];
        let received = self.socket.recv(&mut buffer).with_context(|| format!("no answer to {length} bytes"))?;
        let text = String::from_utf8_lossy(&buffer[..received]);
        let answer = Answer::parse(&text)?;
        let again = text.splitn(4, ' ').nth(3).unwrap_or_default();
        ensure!(question.starts_with(again.as_bytes()), "the answer to another question than {word:?}: {text}");
        Ok(answer)
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tell(&self, length: usize) -> Result<()> {
        self.socket.send(&vec![b'!'; length]).context("cannot send")?;
        Ok(())
    }
}

/// A TCP client that keeps its connection.
#[derive(Debug)]
pub struct TcpClient {
    connection: BufReader<TcpStream>,
}

impl TcpClient {
    /// Connects from `host`.
    ///
    /// # Errors
    /// When the connection is refused or takes longer than `deadline`.
    pub fn connect(host: &Host, server: SocketAddr, deadline: Duration) -> Result<Self> {
        let connection = host.enter(|| TcpStream::connect_timeout(&server, deadline))?;
        let connection = connection.with_context(|| format!("{} cannot connect to {server}", host.name()))?;
        connection.set_nodelay(true)?;
        Ok(Self { connection: BufReader::new(connection) })
    }

    /// Connects from one of the host's addresses.
    ///
    /// # Errors
    /// As for [`TcpClient::connect`].
    pub fn connect_from(host: &Host, source: IpAddr, server: SocketAddr, deadline: Duration) -> Result<Self> {
        Ok(Self { connection: BufReader::new(host.connect(source, server, deadline)?) })
    }

    /// The client's own address and port.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.connection.get_ref().local_addr().context("the socket has no address")
    }

    /// Sends a line and waits for the answer.
    ///
    /// # Errors
    /// When the connection ends or no answer comes in time.
    pub fn ask(&mut self, deadline: Duration) -> Result<Answer> {
        self.connection.get_ref().set_read_timeout(Some(deadline))?;
        self.connection.get_ref().write_all(b"who are you?\n").context("cannot send")?;
        let mut line = String::new();
        let length = self.connection.read_line(&mut line).context("no answer")?;
        ensure!(length > 0, "the server closed the connection");
        Answer::parse(&line)
    }
}

/// Through a proxy: with its own patience.
impl Conversation for TcpClient {
    fn ask(&mut self) -> Result<Heard> {
        let answer = Self::ask(self, PATIENCE)?;
        Ok(Heard { server: answer.server, client: answer.peer.ip() })
    }

    fn wait_cut(&mut self) -> Result<()> {
        self.connection.get_ref().set_read_timeout(Some(PATIENCE))?;
        match self.connection.read(&mut [0; 64]) {
            Ok(0) => Ok(()),
            Ok(length) => bail!("{length} bytes came that nobody asked for"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error).context("the connection was not cut"),
        }
    }
}

/// For one answer, or the end of a connection.
const PATIENCE: Duration = Duration::from_secs(5);
