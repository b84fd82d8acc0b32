//! Ends that speak TLS: the same order, with the alerts that TLS closes by.

use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{Counts, PATIENT, Pattern, connection};
use crate::proxy::relay::{End, Ended, How, relay};

/// Both ends of a TLS connection: the client's, and the server's.
async fn tls_connection(version: &'static SupportedProtocolVersion) -> (TlsStream<TcpStream>, TlsStream<TcpStream>) {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();

    let (opened, accepted) = connection().await;
    let name = "localhost".try_into().unwrap();
    let (connector, acceptor) = (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server)));
    let (client, server) = tokio::join!(connector.connect(name, opened), acceptor.accept(accepted));
    (client.unwrap().into(), server.unwrap().into())
}

async fn relay_between(client: impl End, server: impl End) -> Ended {
    relay(client, server, Bytes::new(), PATIENT, &Counts::default()).await
}

/// A question, its end, then an answer and its end: many records each.
async fn converse(mut client: impl End, mut server: impl End, relay: impl Future<Output = Ended>) {
    const BYTES: usize = 5_000_001;
    let (up, down) = (Pattern::new(10), Pattern::new(11));
    let asks = async {
        up.send(&mut client, BYTES).await;
        client.shutdown().await.unwrap();
        down.receive(&mut client).await
    };
    let answers = async {
        let received = up.receive(&mut server).await;
        down.send(&mut server, BYTES).await;
        server.shutdown().await.unwrap();
        received
    };
    let (answer, question, ended) = tokio::join!(asks, answers, relay);
    assert_eq!((question, answer), (BYTES, BYTES));
    assert_eq!((ended.to_server, ended.to_client), (BYTES as u64, BYTES as u64));
    assert!(matches!(ended.how, How::Done), "{ended:?}");
}

#[tokio::test]
async fn tls_of_clients_is_taken_off() {
    for version in rustls::ALL_VERSIONS {
        let (client, from_client) = tls_connection(version).await;
        let (to_server, server) = connection().await;
        converse(client, server, relay_between(from_client, to_server)).await;
    }
}

#[tokio::test]
async fn tls_is_put_on_towards_real_servers() {
    for version in rustls::ALL_VERSIONS {
        let (client, from_client) = connection().await;
        let (to_server, server) = tls_connection(version).await;
        converse(client, server, relay_between(from_client, to_server)).await;
    }
}

#[tokio::test]
async fn tls_on_both_sides_is_relayed() {
    for version in rustls::ALL_VERSIONS {
        let (client, from_client) = tls_connection(version).await;
        let (to_server, server) = tls_connection(version).await;
        converse(client, server, relay_between(from_client, to_server)).await;
    }
}

#[tokio::test]
async fn small_messages_are_not_held_back() {
    let (mut client, from_client) = tls_connection(&rustls::version::TLS13).await;
    let (to_server, mut server) = tls_connection(&rustls::version::TLS13).await;
    let play = async {
        for turn in 0..50_u8 {
            client.write_all(&[turn; 10]).await.unwrap();
            client.flush().await.unwrap();
            let mut ball = [0; 10];
            server.read_exact(&mut ball).await.unwrap();
            server.write_all(&ball).await.unwrap();
            server.flush().await.unwrap();
            client.read_exact(&mut ball).await.unwrap();
            assert_eq!(ball, [turn; 10]);
        }
        drop((client, server));
    };
    let ((), ended) = tokio::join!(play, relay_between(from_client, to_server));
    assert_eq!((ended.to_server, ended.to_client), (500, 500));
}

#[tokio::test]
async fn a_client_that_closes_without_the_alert_has_closed() {
    let (mut client, from_client) = tls_connection(&rustls::version::TLS13).await;
    let (to_server, mut server) = connection().await;
    let client = async move {
        client.write_all(b"all there is").await.unwrap();
        client.flush().await.unwrap();
        let TlsStream::Client(client) = client else { panic!("the client is the server") };
        let (mut socket, _) = client.into_inner();
        socket.shutdown().await.unwrap();
        socket
    };
    let server = async move {
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        all
    };
    let (_socket, all, ended) = tokio::join!(client, server, relay_between(from_client, to_server));
    assert_eq!(all, b"all there is");
    assert!(matches!(ended.how, How::Done), "{ended:?}");
}

#[tokio::test]
async fn a_client_that_resets_under_tls_resets_the_real_server() {
    let (client, from_client) = tls_connection(&rustls::version::TLS13).await;
    let (to_server, mut server) = connection().await;
    client.socket().set_zero_linger().unwrap();
    drop(client);
    let server = async move { server.read(&mut [0; 1]).await.map_err(|error| error.kind()) };
    let (read, ended) = tokio::join!(server, relay_between(from_client, to_server));
    assert_eq!(read, Err(std::io::ErrorKind::ConnectionReset));
    assert!(matches!(ended.how, How::ClientFailed(_)), "{ended:?}");
}
