//! TLS towards real servers, which nobody here configured but the test.

use std::net::IpAddr;

use lb_core::config::model::{HttpVersion, ServerTls};
use rustls::pki_types::ServerName;

use super::{Bench, Connection, Listener, tickets};
use crate::proxy::tls::{client_config, server_failure, server_name};
use crate::tls::testing::Authority;

const ANYTHING: ServerTls = ServerTls { verify: false, server_name: None, ca_file: None };

#[tokio::test]
async fn a_real_server_is_verified_against_the_ca_file_and_its_name_or_address() {
    let bench = Bench::with_one();
    let listener = bench.serve().await;
    for name in ["localhost", "127.0.0.1"] {
        Connection::new(listener.address, &bench.client(HttpVersion::Http1), name).await;
    }
    let refused = Connection::try_new(listener.address, &bench.client(HttpVersion::Http1), "pacs.example").await;
    assert_eq!(
        server_failure(&refused.err().expect("another name")),
        "the certificate of the real server is not for pacs.example but for localhost, 127.0.0.1; write one of its names \
         as server_name"
    );
}

#[tokio::test]
async fn a_real_server_of_a_strange_authority_is_refused_unless_nothing_is_verified() {
    let mut bench = Bench::with_one();
    let listener = bench.serve().await;
    bench.authority = Authority::new("Another");
    bench.folder.write("ca.pem", &bench.authority.pem);
    for tls in [Bench::trusting(), ServerTls { ca_file: None, ..Bench::trusting() }] {
        let client = client_config(&tls, HttpVersion::Http1, bench.folder.path()).expect("a client");
        let refused = Connection::try_new(listener.address, &client, "localhost").await;
        assert_eq!(
            server_failure(&refused.err().expect("a stranger")),
            "the certificate of the real server comes from an authority that this machine does not trust; name its CA \
             certificate as ca_file"
        );
    }
    let client = client_config(&ANYTHING, HttpVersion::Http1, bench.folder.path()).expect("a client");
    Connection::new(listener.address, &client, "localhost").await;
}

#[tokio::test]
async fn http_2_is_asked_for_where_it_is_wanted_and_sessions_are_resumed() {
    let bench = Bench::with_one();
    let certificates = bench.certificates();
    for (http, agreed) in [(HttpVersion::Http1, "-"), (HttpVersion::Http2, "h2"), (HttpVersion::Auto, "h2")] {
        let listener = Listener::new(bench.server(&certificates, &tickets(), Some(true))).await;
        let client = bench.client(http);
        for kind in ["Full", "Resumed"] {
            let connection = Connection::new(listener.address, &client, "localhost").await;
            assert_eq!(connection.greeting, format!("TLSv1_3 {agreed} localhost {kind} client=0"));
        }
    }
    let listener = Listener::new(bench.server(&certificates, &tickets(), Some(false))).await;
    let connection = Connection::new(listener.address, &bench.client(HttpVersion::Auto), "localhost").await;
    assert_eq!(connection.greeting, "TLSv1_3 http/1.1 localhost Full client=0");
}

#[tokio::test]
async fn a_real_server_that_does_not_speak_tls_says_so() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = plain.local_addr().expect("an address");
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let client = client_config(&ANYTHING, HttpVersion::Http1, std::path::Path::new("/")).expect("a client");
    let refused = Connection::try_new(address, &client, "localhost").await.err().expect("no TLS");
    assert_eq!(server_failure(&refused), "the real server does not speak TLS: remove its `tls:`, or correct its port");
}

#[test]
fn the_name_is_the_one_that_is_written_else_the_address() {
    let address: IpAddr = "192.0.2.1".parse().expect("an address");
    let named = |name: &str| ServerTls { server_name: Some(name.to_owned()), ..ANYTHING };
    assert_eq!(server_name(&ANYTHING, address), Ok(ServerName::from(address)));
    assert_eq!(server_name(&named("pacs.example"), address), Ok(ServerName::try_from("pacs.example").expect("a name")));
    let said = server_name(&named("not a name"), address).expect_err("no name");
    assert_eq!(said, "TLS cannot carry the name not a name: write one that it can as server_name");
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let bench = Bench::new();
    let missing = ServerTls { ca_file: Some("missing.pem".into()), ..Bench::trusting() };
    let said = client_config(&missing, HttpVersion::Http1, bench.folder.path()).expect_err("a mistake");
    assert!(said.starts_with("its ca_file ") && said.contains("/missing.pem cannot be used: No such file"), "{said}");
}
