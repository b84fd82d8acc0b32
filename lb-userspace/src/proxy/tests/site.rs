//! Services on loopback with real servers that say back what they hear, each with its number in front.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_core::config::model::{Config, PortRange};
use lb_core::config::{Source, load};
use lb_core::tables::{Health, ServerInput, ServerKey};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::message::Message;
use crate::proxy::Proxy;
use crate::tls::testing::{Authority, Folder};
use crate::tls::{provider, trusted};

/// The longest that a test waits for what is to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Site {
    /// What control said last.
    states: BTreeMap<ServerKey, ServerInput>,
    pub(super) proxy: Proxy,
    pub(super) config: Config,
    folder: Folder,
}

impl Site {
    /// `services`: as in a configuration; addresses and ports are replaced by some that are free on loopback. All real
    /// servers are up, and are numbered from 0 on. `one.pem` and `one.key` are a certificate for `localhost`.
    pub(super) fn new(services: &str) -> Self {
        Self::with(services, &[])
    }

    /// The same with real servers of the test's own: the first ones.
    pub(super) fn with(services: &str, servers: &[SocketAddr]) -> Self {
        let text = format!("version: 1\nnode: {{interfaces: [{{device: lo}}]}}\nvirtual_services:\n{services}");
        let source = Source { path: "lb.yaml".to_owned(), text };
        let mut config = load(&[source], &|_| None).expect("a configuration").config;
        let (mut number, mut servers) = (0, servers.iter().copied());
        for service in &mut config.virtual_services {
            let port = free_port();
            service.address = address().into();
            service.ports = vec![PortRange { first: port, last: port }];
            if let Some(tls) = &mut service.tls {
                tls.port = free_port();
            }
            for real in &mut service.real_servers {
                let server = servers.next().unwrap_or_else(|| real_server(number));
                number += 1;
                (real.address, real.port) = (server.ip(), Some(server.port()));
            }
        }
        let (folder, authority) = (Folder::new(), Authority::new("Hospital CA"));
        let identity = authority.issue(&["localhost"], |_| {});
        folder.write("ca.pem", &authority.pem);
        folder.write("one.pem", &identity.pem);
        folder.write("one.key", &identity.key_pem);
        let proxy = Proxy::start(2, folder.path()).expect("a proxy");
        let mut site = Self { proxy, config, states: BTreeMap::new(), folder };
        site.say(|_| ServerInput { health: Health::Up, ..ServerInput::default() });
        site.commit();
        site
    }

    /// Puts the configuration in force.
    pub(super) fn commit(&mut self) {
        let (prepared, problems) = self.proxy.prepare(&self.config, self.folder.path());
        assert_eq!(problems, Vec::<String>::new());
        self.proxy.commit(prepared, &self.states, PATIENCE, Instant::now()).expect("a configuration in force");
    }

    /// What control says of the real servers, by their names.
    pub(super) fn say(&mut self, state: impl Fn(&str) -> ServerInput) {
        let services = self.config.virtual_services.iter();
        let states = services.flat_map(|service| {
            let key = |name: &str| ServerKey { service: service.name.clone(), server: name.to_owned() };
            service.real_servers.iter().map(|real| (key(&real.name), state(&real.name))).collect::<Vec<_>>()
        });
        self.states = states.collect();
        self.proxy.tell(self.states.clone());
    }

    /// Where a service is.
    pub(super) fn vip(&self, service: &str) -> SocketAddr {
        let service = self.config.virtual_services.iter().find(|of| of.name == service).expect("that service");
        SocketAddr::new(service.address, service.ports[0].first)
    }

    /// What has ended badly at a service, and how often.
    pub(super) fn failures(&self, service: &str) -> Vec<(String, u64)> {
        let views = self.proxy.views();
        views[service].failures.iter().map(|failure| (failure.reason.clone(), failure.count)).collect()
    }

    pub(super) fn connect(&self, service: &str) -> Client {
        let stream = TcpStream::connect(self.vip(service)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client(BufReader::new(stream))
    }

    /// A connection to the TLS port. Its receive buffer is as small as the kernel has it.
    pub(super) fn connect_tls(&self, service: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let service = self.config.virtual_services.iter().find(|of| of.name == service).expect("that service");
        let port = service.tls.as_ref().expect("a TLS port").port;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1).expect("a small buffer");
        socket.connect(&SocketAddr::new(service.address, port).into()).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let roots = trusted(Some(&self.folder.path().join("ca.pem"))).expect("roots");
        let versions = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = versions.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), socket.into())
    }
}

/// A client's connection.
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    /// Says a line and gives what the real server makes of it.
    pub(super) fn ask(&mut self, line: &str) -> String {
        self.say(line.as_bytes());
        self.say(b"\n");
        self.line()
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("it is heard");
    }

    /// The same connection, for another thread to speak.
    pub(super) fn another(&self) -> Self {
        Self(BufReader::new(self.0.get_ref().try_clone().expect("a descriptor")))
    }

    /// That nothing is said, and the connection stays, for so long.
    pub(super) fn hears_nothing(&mut self, during: Duration) {
        self.0.get_ref().set_read_timeout(Some(during)).expect("a timeout");
        let heard = self.0.fill_buf().map(<[u8]>::to_vec);
        assert!(heard.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{heard:?}");
        self.0.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }

    /// Waits until the other side has closed, and nothing was said.
    pub(super) fn ends(mut self) {
        let mut heard = Vec::new();
        // With something unread a connection ends by a reset.
        let _ = self.0.read_to_end(&mut heard);
        assert_eq!(heard, b"");
    }

    /// An answer; `None`: the other side has closed before it.
    pub(super) fn message(&mut self, has_body: bool) -> Option<Message> {
        Message::read(&mut self.0, has_body)
    }

    pub(super) fn hear(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    pub(super) fn line(&mut self) -> String {
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer");
        answer
    }

    /// Closes, and waits until the other side has.
    pub(super) fn close(mut self) {
        let _ = self.0.get_mut().shutdown(Shutdown::Write);
        let _ = self.0.read_to_end(&mut Vec::new());
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.get_ref().local_addr().expect("an address")
    }
}

/// Waits until something has come about.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where the services of this process are. No connection begins here, and so none takes one of their ports.
fn address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((address(), 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A real server; it lives as long as this process.
fn real_server(number: u32) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream, number));
        }
    });
    address
}

/// An HTTP request gets an answer of HTTP, as long as its path says; any other line is said back.
fn echo(stream: TcpStream, number: u32) {
    let mut reader = BufReader::new(stream);
    let (mut bytes, mut is_http, mut body, mut wanted) = (Vec::new(), false, 0, 0);
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        let line = String::from_utf8_lossy(&bytes);
        is_http |= line.ends_with("HTTP/1.1\r\n");
        if let Some(path) = line.strip_prefix("GET /") {
            wanted = path.split(' ').next().and_then(|length| length.parse().ok()).unwrap_or(0);
        }
        if let Some(length) = line.strip_prefix("content-length: ") {
            body = length.trim().parse().expect("a length");
        }
        let answer = match (is_http, &*line) {
            (true, "\r\n") => {
                if reader.read_exact(&mut vec![0; std::mem::take(&mut body)]).is_err() {
                    return;
                }
                format!("HTTP/1.1 200 OK\r\ncontent-length: {wanted}\r\n\r\n{}", "x".repeat(wanted))
            }
            (true, _) => String::new(),
            (false, line) => format!("{number}: {line}"),
        };
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
        bytes.clear();
    }
}
