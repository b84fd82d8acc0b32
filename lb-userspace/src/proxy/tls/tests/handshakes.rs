//! What rustls agrees on with a listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_core::config::model::{HttpVersion, ServerTls};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::{Bench, Connection, Listener, label_of, tickets};
use crate::proxy::tls::client_config;
use crate::tls::{provider, trusted};

/// A client of one version, with these ALPN names.
fn of_version(bench: &Bench, version: &'static SupportedProtocolVersion, alpn: &[&str]) -> Arc<ClientConfig> {
    let roots = trusted(Some(&bench.path("ca.pem"))).expect("roots");
    let builder =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).expect("a version");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn both_versions_are_spoken_and_alpn_follows_the_service() {
    let bench = Bench::with_one();
    let certificates = bench.certificates();
    for (http, offered, agreed) in [
        (Some(true), &["h2", "http/1.1"][..], "h2"),
        (Some(true), &["http/1.1"], "http/1.1"),
        (Some(true), &[], "-"),
        (Some(false), &["h2", "http/1.1"], "http/1.1"),
        // What is spoken behind a proxy of TCP is not for the proxy to say.
        (None, &["h2", "http/1.1"], "-"),
    ] {
        let listener = Listener::new(bench.server(&certificates, &tickets(), http)).await;
        for (version, name) in [(&TLS12, "TLSv1_2"), (&TLS13, "TLSv1_3")] {
            let client = of_version(&bench, version, offered);
            let connection = Connection::new(listener.address, &client, "localhost").await;
            assert_eq!(connection.greeting, format!("{name} {agreed} localhost Full client=0"), "{http:?} {offered:?}");
        }
    }
}

#[tokio::test]
async fn a_client_of_http_2_only_is_told_when_it_is_switched_off() {
    let bench = Bench::with_one();
    let mut listener = Listener::new(bench.server(&bench.certificates(), &tickets(), Some(false))).await;
    let refused = Connection::try_new(listener.address, &bench.client(HttpVersion::Http2), "localhost").await;
    assert!(refused.is_err());
    assert_eq!(
        listener.failure().await,
        "the client speaks neither HTTP/1.1 nor HTTP/2, or HTTP/2 only and it is switched off (ALPN)"
    );
}

#[tokio::test]
async fn the_name_that_a_client_sends_chooses_the_certificate() {
    let mut bench = Bench::new();
    let mut all = BTreeMap::new();
    for (label, names) in [
        ("first", &["first.example"][..]),
        ("exact", &["www.pacs.example", "192.0.2.7"]),
        ("wildcard", &["*.pacs.example", "pacs.example"]),
        ("upper", &["UPPER.example"]),
    ] {
        let identity = bench.authority.issue(names, |_| {});
        bench.add(label, &identity);
        all.insert(label, identity);
    }
    let listener = bench.serve().await;
    let anything = ServerTls { verify: false, server_name: None, ca_file: None };
    let client = client_config(&anything, HttpVersion::Http1, bench.folder.path()).expect("a client");
    for (name, expected) in [
        ("first.example", "first"),
        ("www.pacs.example", "exact"),
        ("WWW.Pacs.Example", "exact"),
        ("images.pacs.example", "wildcard"),
        ("pacs.example", "wildcard"),
        // A * stands for one label (RFC 9525 section 6.3).
        ("a.b.pacs.example", "first"),
        ("upper.example", "upper"),
        ("unknown.example", "first"),
        // SNI carries no addresses.
        ("192.0.2.7", "first"),
    ] {
        let connection = Connection::new(listener.address, &client, name).await;
        assert_eq!(label_of(&connection.shown(), &all), expected, "{name}");
    }
}

#[tokio::test]
async fn certificates_are_swapped_while_a_connection_is_open() {
    let bench = Bench::with_one();
    let certificates = bench.certificates();
    let listener = Listener::new(bench.server(&certificates, &tickets(), Some(true))).await;
    let mut open = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
    assert!(!certificates.changed());

    let renewed = bench.authority.issue(&["localhost"], |_| {});
    bench.put("one", &renewed);

    assert!(certificates.changed());
    assert_eq!(open.echo("before").await, "before");
    let renewal = certificates.renew();
    assert_eq!((renewal.taken, renewal.refused), (vec!["one".to_owned()], Vec::new()));
    assert!(!certificates.changed());
    assert_eq!(open.echo("after").await, "after");
    let next = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
    assert_eq!(next.shown(), renewed.certificate);
    assert_ne!(open.shown(), renewed.certificate);
}

#[tokio::test]
async fn a_renewal_that_is_half_there_leaves_what_is_shown() {
    let bench = Bench::with_one();
    let certificates = bench.certificates();
    let listener = Listener::new(bench.server(&certificates, &tickets(), Some(true))).await;
    let before = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await.shown();
    let renewed = bench.authority.issue(&["localhost"], |_| {});

    bench.folder.write("one.pem", &renewed.pem);

    let renewal = certificates.renew();
    assert!(renewal.taken.is_empty());
    assert!(
        renewal.refused[0].starts_with("certificate one: its key does not belong to its certificate"),
        "{renewal:?}"
    );
    let next = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
    assert_eq!(next.shown(), before);

    bench.folder.write("one.key", &renewed.key_pem);

    assert_eq!(certificates.renew().taken, ["one"]);
    let next = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
    assert_eq!(next.shown(), renewed.certificate);
}

#[tokio::test]
async fn a_file_that_is_written_with_the_same_content_has_not_changed() {
    let bench = Bench::with_one();
    let certificates = bench.certificates();
    let same = std::fs::read(bench.path("one.pem")).expect("the file");
    bench.folder.write("one.pem", same);
    assert!(!certificates.changed());
    assert_eq!(certificates.renew(), super::super::Renewal::default());
    std::fs::remove_file(bench.path("one.pem")).expect("removed");
    assert!(certificates.changed());
    assert!(certificates.renew().refused[0].contains("No such file"));
}
