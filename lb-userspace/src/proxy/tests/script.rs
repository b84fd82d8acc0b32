//! Real servers that follow a script: what they wait for, what they say, when they close.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::message::Message;
use super::site::{PATIENCE, eventually};
use crate::tls::provider;
use crate::tls::testing::Authority;

/// A request, with the number of its connection.
type Heard = (usize, Message);

type Word = Arc<Mutex<Receiver<()>>>;

/// Requests that a test need not look at.
const MOST_HEARD: usize = 1000;

/// A real server; it lives as long as this process.
pub(super) struct Script {
    pub(super) address: SocketAddr,
    requests: Receiver<Heard>,
    words: SyncSender<()>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Connections whose script has ended: closed by the real server, if they were not before.
    over: AtomicUsize,
    /// Connections that were seen closed by the other side.
    left: AtomicUsize,
}

impl Script {
    /// `serve` is called with each connection, which is closed when it returns.
    pub(super) fn new(serve: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        Self::start(None, serve)
    }

    /// The same over TLS.
    pub(super) fn encrypted(serve: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        let identity = Authority::new("Hospital CA").issue(&["localhost"], |_| {});
        let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = versions.expect("versions").with_no_client_auth();
        let config = config.with_single_cert(vec![identity.certificate], identity.key).expect("an identity");
        Self::start(Some(Arc::new(config)), serve)
    }

    fn start(tls: Option<Arc<ServerConfig>>, serve: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (heard, requests) = sync_channel(MOST_HEARD);
        // Whoever gives the word goes on when it is taken.
        let (words, word) = sync_channel(0);
        let word = Arc::new(Mutex::new(word));
        let (serve, counts) = (Arc::new(serve), Arc::<Counts>::default());
        let given = Arc::clone(&counts);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (serve, counts) = (Arc::clone(&serve), Arc::clone(&given));
                let mut talk = Talk::new(stream, tls.as_ref(), number, (heard.clone(), Arc::clone(&word)));
                std::thread::spawn(move || {
                    serve(&mut talk);
                    counts.left.fetch_add(usize::from(talk.is_left), Ordering::SeqCst);
                    drop(talk);
                    counts.over.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, requests, words, counts }
    }

    /// One that gives the same answer to every request over every connection, and closes none.
    pub(super) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |talk| while talk.request() && talk.say(&answer) {})
    }

    /// The next request that has come, with the number of its connection: 0 is the first.
    pub(super) fn heard(&self) -> Heard {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// Waits until the script waits for a word, and gives it.
    pub(super) fn goes_on(&self) {
        eventually("the script waits", || self.words.try_send(()).ok());
    }

    /// Waits until so many connections are over.
    pub(super) fn is_over(&self, connections: usize) {
        eventually("connections are over", || (self.counts.over.load(Ordering::SeqCst) == connections).then_some(()));
    }

    /// Waits until the other side has closed so many connections.
    pub(super) fn is_left(&self, connections: usize) {
        eventually("connections are closed by the balancer", || {
            (self.counts.left.load(Ordering::SeqCst) == connections).then_some(())
        });
    }
}

/// One connection, as its real server has it.
pub(super) struct Talk {
    stream: BufReader<Wire>,
    pub(super) number: usize,
    heard: SyncSender<Heard>,
    word: Word,
    /// The other side has closed.
    is_left: bool,
}

impl Talk {
    fn new(
        stream: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
        number: usize,
        (heard, word): (SyncSender<Heard>, Word),
    ) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let wire = match tls {
            None => Wire::Plain(stream),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).expect("a server");
                Wire::Encrypted(Box::new(StreamOwned::new(connection, stream)))
            }
        };
        Self { stream: BufReader::new(wire), number, heard, word, is_left: false }
    }

    /// Waits for a whole request, and tells of it. False: there is none, or not the whole of it.
    pub(super) fn request(&mut self) -> bool {
        let read = Message::read(&mut self.stream, true);
        self.tell(read)
    }

    /// As [`Self::request`], but only the head.
    pub(super) fn head(&mut self) -> bool {
        let read = Message::head(&mut self.stream);
        self.tell(read)
    }

    fn tell(&mut self, read: Option<Message>) -> bool {
        let is_whole = read.as_ref().is_some_and(|message| message.is_whole);
        self.is_left |= !is_whole;
        if let Some(message) = read {
            // Nobody may be interested.
            let _ = self.heard.send((self.number, message));
        }
        is_whole
    }

    /// Waits for a word of the test.
    pub(super) fn waits(&self) {
        self.word.lock().expect("one that waits").recv_timeout(3 * PATIENCE).expect("a word");
    }

    /// Whether it could be said.
    pub(super) fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let wire = self.stream.get_mut();
        wire.write_all(bytes.as_ref()).and_then(|()| wire.flush()).is_ok()
    }

    /// Waits for so many bytes.
    pub(super) fn hear(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// That nothing comes for so long.
    pub(super) fn hears_nothing(&mut self, during: Duration) -> bool {
        self.stream.get_ref().socket().set_read_timeout(Some(during)).expect("a timeout");
        let heard = self.stream.fill_buf().map(<[u8]>::len);
        self.stream.get_ref().socket().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Waits until the other side has closed, whatever it still says.
    pub(super) fn stays(&mut self) {
        let ended = self.stream.read_to_end(&mut Vec::new());
        self.is_left = !ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    }

    /// What is closed after this is reset.
    pub(super) fn resets(&self) {
        SockRef::from(self.stream.get_ref().socket()).set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Ends the TLS session as one does before closing.
    pub(super) fn says_good_bye(&mut self) {
        if let Wire::Encrypted(stream) = self.stream.get_mut() {
            stream.conn.send_close_notify();
            stream.flush().expect("it is heard");
        }
    }
}

enum Wire {
    Plain(TcpStream),
    Encrypted(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => &stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}
