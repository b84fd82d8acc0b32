use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use lb_core::config::model::{BodyExpectation, HttpProbe, Probe};
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::{Trust, name, without_port};
use crate::health::http::tests::{get, head};
use crate::health::tests::{Bench, listener};
use crate::tls::testing::{Authority, File, Identity, named, self_signed};

fn acceptor(identity: &Identity, versions: &[&'static SupportedProtocolVersion]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let config = builder
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .expect("a key that fits");
    TlsAcceptor::from(Arc::new(config))
}

/// A TLS server that answers every request with `Healthy`, and the SNI it saw as a header.
pub(in crate::health) async fn healthy(identity: &Identity) -> SocketAddr {
    healthy_with(identity, rustls::ALL_VERSIONS).await
}

async fn healthy_with(identity: &Identity, versions: &[&'static SupportedProtocolVersion]) -> SocketAddr {
    let (listener, address) = listener().await;
    let acceptor = acceptor(identity, versions);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                head(&mut stream).await;
                let sni = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                let page = format!("Healthy {sni}");
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

/// What the check of a page with `Healthy` and the server's name in SNI is.
struct Asked<'a> {
    verify: bool,
    host: Option<&'a str>,
    server_name: Option<&'a str>,
    ca_file: Option<&'a Path>,
    sni: &'a str,
}

const PLAIN: Asked<'_> = Asked { verify: false, host: None, server_name: None, ca_file: None, sni: "none" };

fn https(asked: &Asked<'_>) -> Probe {
    let body = BodyExpectation::Equals(format!("Healthy {}", asked.sni));
    Probe::Https {
        http: HttpProbe { host: asked.host.map(str::to_owned), ..get(body) },
        verify: asked.verify,
        server_name: asked.server_name.map(str::to_owned),
        ca_file: asked.ca_file.map(Path::to_owned),
    }
}

#[tokio::test]
async fn without_verification_any_certificate_will_do_in_both_versions() {
    let authority = Authority::new("Nobody");
    for identity in [
        self_signed(|_| {}),
        self_signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        authority.issue(&["elsewhere.example"], |_| {}),
        authority.issue(&["localhost"], |params| params.not_after = date_time_ymd(2001, 1, 1)),
    ] {
        for version in rustls::ALL_VERSIONS {
            Bench::succeeds(https(&PLAIN), healthy_with(&identity, &[*version]).await).await;
        }
    }
}

#[tokio::test]
async fn sni_is_the_server_name_else_the_host_else_nothing() {
    let address = healthy(&self_signed(|_| {})).await;
    for asked in [
        Asked { host: Some("pacs.example:8443"), sni: "pacs.example", ..PLAIN },
        Asked { host: Some("pacs.example"), server_name: Some("inner.example"), sni: "inner.example", ..PLAIN },
        Asked { host: Some("[::1]:8443"), ..PLAIN },
        PLAIN,
    ] {
        Bench::succeeds(https(&asked), address).await;
    }
}

#[tokio::test]
async fn a_certificate_of_the_ca_file_is_trusted_for_its_names_and_addresses() {
    let authority = Authority::new("Hospital CA");
    let ca = File::new("trusted.pem", &authority.pem);
    let verified = Asked { verify: true, ca_file: Some(ca.path()), ..PLAIN };
    let address = healthy(&authority.issue(&["pacs.example", "127.0.0.1"], |_| {})).await;
    Bench::succeeds(https(&verified), address).await;
    Bench::succeeds(https(&Asked { host: Some("pacs.example"), sni: "pacs.example", ..verified }), address).await;
    let named =
        Asked { host: Some("other.example"), server_name: Some("pacs.example"), sni: "pacs.example", ..verified };
    Bench::succeeds(https(&named), address).await;
}

#[tokio::test]
async fn the_path_of_a_ca_file_begins_at_the_folder_of_the_configuration() {
    let authority = Authority::new("Hospital CA");
    let ca = File::new("relative.pem", &authority.pem);
    let name = Path::new(ca.path().file_name().expect("a name"));
    let address = healthy(&authority.issue(&["127.0.0.1"], |_| {})).await;
    Bench::succeeds(https(&Asked { verify: true, ca_file: Some(name), ..PLAIN }), address).await;
}

#[tokio::test]
async fn a_certificate_that_does_not_stand_up_says_why_and_what_to_do() {
    let authority = Authority::new("Hospital CA");
    let ca = File::new("judged.pem", &authority.pem);
    let verified = Asked { verify: true, ca_file: Some(ca.path()), host: Some("pacs.example"), ..PLAIN };
    for (identity, sentence) in [
        (authority.issue(&["pacs.example"], |params| params.not_after = date_time_ymd(2001, 1, 1)), "has expired "),
        (authority.issue(&["pacs.example"], |params| params.not_before = date_time_ymd(4000, 1, 1)), "is valid in "),
        (
            authority.issue(&["other.example", "192.0.2.1"], |_| {}),
            "is not for pacs.example but for other.example, 192.0.2.1; write one of its names as server_name",
        ),
        (
            Authority::new("Stranger").issue(&["pacs.example"], |_| {}),
            "comes from an authority that this machine does not trust; name its CA certificate as ca_file",
        ),
        (
            self_signed(|params| *params = named(&["pacs.example"])),
            "comes from an authority that this machine does not trust; name its CA certificate as ca_file",
        ),
    ] {
        let said = Bench::fails(https(&verified), healthy(&identity).await).await;
        assert!(said.starts_with(&format!("the certificate of the real server {sentence}")), "{said}");
        // The sentence may be cut, the advice not.
        assert!(said.chars().count() < 200, "{said}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_ca_file_unless_it_claims_to_be_an_authority() {
    let plain = self_signed(|params| *params = named(&["pacs.example"]));
    let own = File::new("own.pem", &plain.pem);
    let verified = Asked { verify: true, host: Some("pacs.example"), sni: "pacs.example", ..PLAIN };
    let address = healthy(&plain).await;
    Bench::succeeds(https(&Asked { ca_file: Some(own.path()), ..verified }), address).await;

    // What `openssl req -x509` makes.
    let authority = self_signed(|params| {
        *params = named(&["pacs.example"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let own = File::new("own-authority.pem", &authority.pem);
    let said = Bench::fails(https(&Asked { ca_file: Some(own.path()), ..verified }), healthy(&authority).await).await;
    assert!(said.contains("is one of an authority (CA:TRUE)") && said.ends_with("verify: none"), "{said}");
}

#[tokio::test]
async fn a_ca_file_that_is_of_no_use_is_named() {
    let address = healthy(&self_signed(|_| {})).await;
    let empty = File::new("empty.pem", "# nothing\n");
    let broken = File::new("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    for (file, why) in [
        (Path::new("/nonexistent/ca.pem"), "No such file or directory"),
        (empty.path(), "there is no certificate in it"),
        (broken.path(), "it is no PEM file"),
    ] {
        let asked = Asked { verify: true, ca_file: Some(file), ..PLAIN };
        let said = Bench::fails(https(&asked), address).await;
        let begin = format!("the real server was not checked: its ca_file {} cannot be used: {why}", file.display());
        assert!(said.starts_with(&begin), "{said}");
    }
}

#[tokio::test]
async fn a_ca_file_that_is_replaced_is_read_again_and_one_that_is_not_is_read_once() {
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let ca = File::new("replaced.pem", &old.pem);
    let trust = Trust::default();
    let first = trust.verifying(Some(ca.path())).expect("a configuration");
    assert!(Arc::ptr_eq(&first, &trust.verifying(Some(ca.path())).expect("a configuration")));

    let next = File::new("replacement.pem", &new.pem);
    fs::rename(next.path(), ca.path()).expect("the file in its place");

    assert!(!Arc::ptr_eq(&first, &trust.verifying(Some(ca.path())).expect("a configuration")));
    let address = healthy(&new.issue(&["127.0.0.1"], |_| {})).await;
    Bench::succeeds(https(&Asked { verify: true, ca_file: Some(ca.path()), ..PLAIN }), address).await;
}

#[tokio::test]
async fn what_is_not_tls_says_so() {
    let (plain, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            // As nginx does with what it cannot read as a request.
            let _ = stream.read(&mut [0; 512]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    assert_eq!(
        Bench::fails(https(&PLAIN), address).await,
        "TLS with the real server failed: it does not speak TLS; if it speaks HTTP, check it with type: http"
    );
    let (closing, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = closing.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    assert_eq!(
        Bench::fails(https(&PLAIN), address).await,
        "the real server closed the connection before the TLS handshake was complete"
    );
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_to_use_https() {
    let address = healthy(&self_signed(|_| {})).await;
    let sentence = Bench::fails(Probe::Http(get(BodyExpectation::Any)), address).await;
    assert!(sentence.ends_with("it speaks TLS; check it with type: https"), "{sentence}");
}

#[test]
fn a_name_is_taken_out_of_a_host() {
    for (host, expected) in [
        ("pacs.example", "pacs.example"),
        ("pacs.example:8443", "pacs.example"),
        ("192.0.2.1:8443", "192.0.2.1"),
        ("[2001:db8::1]:8443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        assert_eq!(without_port(host), expected);
    }
    let address = "192.0.2.1".parse().expect("an address");
    let failure = name(Some("not a name"), None, address).expect_err("no name");
    assert!(failure.to_string().contains("TLS cannot carry the name not a name"), "{failure}");
}
