use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use lb_core::tables::ServerIdentity;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::super::body::Progress;
use super::*;
use crate::proxy::open::Opened;
use crate::proxy::real_server::RealServer;

/// No test waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// A real server, and connections to it that lead here.
struct Server {
    entry: Arc<Entry>,
    listener: TcpListener,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = ServerIdentity {
            service: "shop".into(),
            server: "a".into(),
            address: address.ip(),
            port: Some(address.port()),
        };
        let text = format!(
            "version: 1\nnode: {{interfaces: [{{device: lo}}]}}\nvirtual_services: [{{name: shop, address: 192.0.2.80, \
             ports: [80], mode: l7-http, real_servers: [{{name: a, address: {}, port: {}}}]}}]",
            address.ip(),
            address.port()
        );
        let source = lb_core::config::Source { path: "lb.yaml".to_owned(), text };
        let config = lb_core::config::load(&[source], &|_| None).unwrap().config;
        let entry = Entry {
            live: RealServer::new(identity, 1, None),
            config: config.virtual_services[0].real_servers[0].clone(),
            tls: None,
            token: "a".into(),
            set_cookie: None,
        };
        Self { entry: Arc::new(entry), listener }
    }

    fn key(&self, whose: Whose) -> Key {
        Key { entry: Arc::as_ptr(&self.entry) as usize, whose }
    }

    /// A connection, and the real server's end of it.
    async fn connect(&self) -> (ServerStream, TcpStream) {
        let address = self.listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), self.listener.accept());
        (ServerStream::new(Opened::Plain(near.unwrap()), Arc::clone(&self.entry.live)), far.unwrap().0)
    }

    /// One that is kept for the next request; its end.
    async fn keeps(&self, idle: &Idle, whose: Whose) -> TcpStream {
        let (near, far) = self.connect().await;
        let upstream = Upstream {
            http: Conversation::new(near),
            _entry: Arc::clone(&self.entry),
            key: self.key(whose),
            used: Instant::now(),
            is_reused: false,
        };
        idle.give_back(Box::new(upstream), Alarm::new(&self.entry.live, self.entry.live.cut.number()));
        far
    }

    /// The same of HTTP/2.
    async fn shares(&self, idle: &Idle, whose: Whose) -> (http2::SendRequest<RequestBody>, TcpStream) {
        let (near, far) = self.connect().await;
        let number = self.entry.live.cut.number();
        (idle.share(self.key(whose), &self.entry, number, near).await.unwrap(), far)
    }

    fn has(&self, idle: &Idle, whose: Whose) -> [bool; 2] {
        let key = self.key(whose);
        [idle.waiting.borrow().contains_key(&key), idle.shared.borrow().contains_key(&key)]
    }
}

async fn is_closed(mut far: TcpStream) {
    let closed = tokio::time::timeout(PATIENCE, far.read_to_end(&mut Vec::new())).await;
    closed.expect("it is closed in time").expect("it is closed in order");
}

#[test]
fn what_nobody_uses_is_closed_after_a_while() {
    run(async {
        let (server, idle) = (Server::new().await, Idle::default());
        let whose = Whose::Connection(CLIENT);
        let far = server.keeps(&idle, whose).await;
        let (sender, other) = server.shares(&idle, whose).await;
        drop(sender);
        idle.sweep(Instant::now() + IDLE / 2);
        assert_eq!((server.has(&idle, whose), idle.own.borrow().len()), ([true, true], 1));
        idle.sweep(Instant::now() + IDLE);
        assert_eq!((server.has(&idle, whose), idle.own.borrow().len()), ([false, false], 0));
        is_closed(far).await;
        is_closed(other).await;
    });
}

#[test]
fn what_was_opened_for_one_client_is_closed_when_it_goes_and_nothing_else_is() {
    run(async {
        let (server, idle) = (Server::new().await, Idle::default());
        let others = [
            Whose::Anybody,
            Whose::Address(CLIENT.ip()),
            Whose::Connection(SocketAddr::new(CLIENT.ip(), CLIENT.port() + 1)),
        ];
        let mut stay = Vec::new();
        for whose in others {
            stay.push((server.keeps(&idle, whose).await, server.shares(&idle, whose).await));
        }
        let own = Whose::Connection(CLIENT);
        let ends = [server.keeps(&idle, own).await, server.keeps(&idle, own).await];
        let (sender, shared) = server.shares(&idle, own).await;
        drop(sender);
        idle.leaves(CLIENT);
        for end in ends.into_iter().chain([shared]) {
            is_closed(end).await;
        }
        assert_eq!(server.has(&idle, own), [false, false]);
        assert_eq!(others.map(|whose| server.has(&idle, whose)), [[true, true]; 3]);
        // Where files are short nobody's stay.
        idle.clear();
        assert_eq!(others.map(|whose| server.has(&idle, whose)), [[false, false]; 3]);
        for (far, (sender, shared)) in stay {
            drop(sender);
            is_closed(far).await;
            is_closed(shared).await;
        }
    });
}

#[test]
fn an_answer_over_http2_that_takes_long_is_not_cut_short() {
    run(async {
        let (server, idle) = (Server::new().await, Idle::default());
        let (sender, far) = server.shares(&idle, Whose::Anybody).await;
        let (asked, word) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (asks, waits) = (Rc::clone(&asked), Rc::clone(&word));
        let answers = service_fn(move |_| {
            let (asks, waits) = (Rc::clone(&asks), Rc::clone(&waits));
            async move {
                asks.notify_one();
                waits.notified().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
            }
        });
        let serving = hyper::server::conn::http2::Builder::new(Local).serve_connection(TokioIo::new(far), answers);
        let served = spawn_local(serving);
        let body = RequestBody::empty(Rc::new(Progress::default()));
        let request = Request::get("http://shop/").body(body).unwrap();
        let answer = spawn_local(send_shared(sender, request));
        asked.notified().await;
        idle.sweep(Instant::now() + IDLE);
        assert_eq!(server.has(&idle, Whose::Anybody), [false, false]);
        word.notify_one();
        let answer = answer.await.unwrap().unwrap_or_else(|error| panic!("{}", error.into_error()));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        tokio::time::timeout(PATIENCE, served).await.expect("it is closed after the answer").unwrap().unwrap();
    });
}
