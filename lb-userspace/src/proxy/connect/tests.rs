use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

/// No test waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

async fn listener(address: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    (listener, server)
}

#[tokio::test]
async fn a_connection_sends_at_once_and_can_be_kept_alive() {
    for address in LOOPBACKS {
        let (listener, server) = listener(address).await;
        let stream = connect(server, Source::Kernel, First::Either, PATIENCE).await.unwrap();
        let (_, seen) = listener.accept().await.unwrap();
        assert_eq!(seen, stream.local_addr().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        keep_alive(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    }
}

#[tokio::test]
async fn who_speaks_first_completes_the_handshake_with_what_it_says() {
    let attempt = async |first| {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut stream = connect(listener.local_addr().unwrap(), Source::Kernel, first, PATIENCE).await.unwrap();
        let early = listener.accept();
        stream.write_all(b"m").await.unwrap();
        listener.set_nonblocking(false).unwrap();
        let is_early = early.is_ok();
        let (mut accepted, _) = early.unwrap_or_else(|_| listener.accept().unwrap());
        accepted.set_nonblocking(false).unwrap();
        accepted.read_exact(&mut [0]).unwrap();
        is_early
    };
    assert!(attempt(First::Either).await, "the real server knows before anything is said");
    // The kernel waits for a fifth of a second: a machine that was held up for so long has not seen it wait.
    for _ in 0..20 {
        if !attempt(First::Us).await {
            return;
        }
    }
    panic!("a packet completed the handshake before anything was said, each time");
}

#[tokio::test]
async fn the_real_server_sees_the_address_that_was_asked_for() {
    let (listener, server) = listener(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
    let _stream = connect(server, Source::Address(source), First::Either, PATIENCE).await.unwrap();
    let (_, seen) = listener.accept().await.unwrap();
    assert_eq!(seen.ip(), source);
}

#[tokio::test]
async fn a_mapped_address_is_an_ipv4_address() {
    let (listener, server) = listener(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let source = IpAddr::V6(Ipv4Addr::new(127, 0, 0, 78).to_ipv6_mapped());
    let _stream = connect(server, Source::Address(source), First::Either, PATIENCE).await.unwrap();
    let (_, seen) = listener.accept().await.unwrap();
    assert_eq!(seen.ip(), source.to_canonical());
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    for address in LOOPBACKS {
        let (listener, server) = listener(address).await;
        drop(listener);
        let error = connect(server, Source::Kernel, First::Either, PATIENCE).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }) && error.blames_server(), "{error}");
        assert!(error.to_string().starts_with(&format!("{server} refuses the connection: ")), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    // A listener whose queue is full ignores further SYNs.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::new(LOOPBACKS[0], 0).into()).unwrap();
    full.listen(0).unwrap();
    let server = full.local_addr().unwrap().as_socket().unwrap();
    let limit = Duration::from_millis(200);
    let mut queued = Vec::new();
    let error = loop {
        assert!(queued.len() < 16, "the queue of a listener takes no end");
        match connect(server, Source::Kernel, First::Either, limit).await {
            Ok(stream) => queued.push(stream),
            Err(error) => break error,
        }
    };
    assert!(!queued.is_empty());
    assert!(matches!(error, ConnectError::TimedOut { .. }) && error.blames_server(), "{error}");
    assert_eq!(error.to_string(), format!("{server} did not answer within 200 ms"));
}

#[tokio::test]
async fn a_source_that_is_not_here_or_of_the_other_family_is_named() {
    let (_listener, server) = listener(LOOPBACKS[0]).await;
    let foreign: IpAddr = "192.0.2.77".parse().unwrap();
    let error = connect(server, Source::Address(foreign), First::Either, PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "192.0.2.77 cannot be the source of connections: this machine does not have it");
    let client = SocketAddr::new("2001:db8::7".parse().unwrap(), 4711);
    let error = connect(server, Source::Client(client), First::Either, PATIENCE).await.unwrap_err();
    assert!(error.to_string().starts_with("2001:db8::7 cannot be the source of a connection to 127.0.0.1:"), "{error}");
    assert!(!error.blames_server());
}

#[test]
fn what_this_machine_lacks_is_not_blamed_on_the_real_server() {
    let server = SocketAddr::new(LOOPBACKS[0], 80);
    let cases = [
        (opening(server, io::Error::from_raw_os_error(libc::EMFILE)), "LimitNOFILE"),
        (opening(server, io::Error::from_raw_os_error(libc::ENFILE)), "fs.file-max"),
        (opening(server, io::Error::from_raw_os_error(libc::EPERM)), "CAP_NET_ADMIN"),
        (connecting(server, io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)), "ip_local_port_range"),
        (connecting(server, io::Error::from_raw_os_error(libc::ENOBUFS)), "cannot connect to 127.0.0.1:80: No buffer"),
    ];
    for (error, names) in cases {
        assert!(error.to_string().contains(names) && !error.blames_server(), "{error}");
    }
}
