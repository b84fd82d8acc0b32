//! Files that make a certificate, and files that do not.

use std::time::SystemTime;

use lb_core::config::model::{Certificate, HttpVersion, Secret};
use lb_core::view::CertificateChain;

use super::{Bench, Connection, Listener, tickets};
use crate::proxy::tls::{Certificates, server_config};
use crate::tls::testing::{Authority, self_signed};

fn pem(chain: &str, key: &str) -> Certificate {
    Certificate::Pem { pem: chain.into(), key: key.into(), ocsp: None }
}

fn pfx(archive: &str, password: Option<&str>) -> Certificate {
    Certificate::Pfx {
        pfx: archive.into(),
        password: password.map(|password| Secret::Value(password.to_owned())),
        ocsp: None,
    }
}

/// What is wrong with one certificate.
fn mistake(bench: &mut Bench, certificate: Certificate) -> String {
    bench.config.certificates.clear();
    bench.config.certificates.insert("a".to_owned(), certificate);
    let mut mistakes = bench.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    let mistake = mistakes.remove(0);
    let folder = format!("{}/", bench.folder.path().display());
    mistake.replace(&folder, "").strip_prefix("certificate a: ").expect("the label").to_owned()
}

#[tokio::test]
async fn archives_of_both_ages_are_opened_with_their_password() {
    let mut bench = Bench::with_one();
    for (name, options) in [
        ("modern", ""),
        ("legacy", " -legacy"),
        ("sha1", " -legacy -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1"),
    ] {
        bench.openssl(&format!(
            "pkcs12 -export -in one.pem -inkey one.key -certfile ca.pem -out {name}.pfx -passout pass:Sesam4!{options}"
        ));
        bench.folder.write("password", "Sesam4!\r\n");
        bench.config.certificates.clear();
        bench.listener().certificates.clear();
        let archive = format!("{name}.pfx");
        bench.configure("typed", pfx(&archive, Some("Sesam4!")));
        let password = Some(Secret::File("password".into()));
        bench.configure("in-a-file", Certificate::Pfx { pfx: archive.clone().into(), password, ocsp: None });
        let listener = bench.serve().await;
        let connection = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
        assert!(connection.greeting.starts_with("TLSv1_3"), "{name}");

        assert_eq!(
            mistake(&mut bench, pfx(&archive, Some("sesam4!"))),
            format!("the password of the archive {archive} is wrong")
        );
        assert_eq!(
            mistake(&mut bench, pfx(&archive, None)),
            format!("the archive {archive} has a password: write it into a file, and name that as password_file")
        );
    }
}

#[test]
fn an_archive_without_password_needs_none() {
    let mut bench = Bench::with_one();
    bench.openssl("pkcs12 -export -in one.pem -inkey one.key -out empty.pfx -passout pass:");
    bench.openssl("pkcs12 -export -in one.pem -inkey one.key -keypbe NONE -certpbe NONE -out open.pfx -passout pass:");
    bench.config.certificates.clear();
    bench.configure("empty", pfx("empty.pfx", None));
    bench.configure("open", pfx("open.pfx", None));
    for view in bench.certificates().views(SystemTime::now()) {
        assert_eq!(view.names, ["localhost", "127.0.0.1"]);
    }
}

#[test]
fn archives_that_are_of_no_use_say_why() {
    let mut bench = Bench::with_one();
    bench.openssl("pkcs12 -export -in one.pem -inkey one.key -nokeys -out nokeys.pfx -passout pass:x");
    bench.openssl("pkcs12 -export -inkey one.key -nocerts -out nocerts.pfx -passout pass:x");
    bench.openssl("pkcs12 -export -in one.pem -inkey one.key -nomac -out nomac.pfx -passout pass:x");
    bench
        .openssl("pkcs12 -export -in one.pem -inkey one.key -keypbe NONE -certpbe NONE -out plain.pfx -passout pass:x");
    bench.folder.write("rubbish.pfx", [0x30, 0x82, 1, 1, 2, 3]);
    for (file, password, begin) in [
        ("nokeys.pfx", "x", "there is no private key in the archive nokeys.pfx; export it again with the key"),
        ("nocerts.pfx", "x", "there is no certificate in the archive nocerts.pfx"),
        ("nomac.pfx", "y", "the password of the archive nomac.pfx is wrong, or the archive is damaged"),
        ("one.pem", "x", "one.pem is no archive but PEM: write it as `pem:`"),
        ("rubbish.pfx", "x", "rubbish.pfx is no PKCS #12 archive, or is damaged"),
        ("missing.pfx", "x", "missing.pfx cannot be read: No such file"),
    ] {
        let said = mistake(&mut bench, pfx(file, Some(password)));
        assert!(said.starts_with(begin), "{said}");
    }
    let password = Some(Secret::File("missing.pw".into()));
    let said = mistake(&mut bench, Certificate::Pfx { pfx: "nomac.pfx".into(), password, ocsp: None });
    assert!(said.starts_with("missing.pw cannot be read: No such file"), "{said}");
}

#[test]
fn files_that_are_of_no_use_say_why_and_what_to_do() {
    let mut bench = Bench::with_one();
    bench.openssl("x509 -in one.pem -outform der -out one.der");
    bench.openssl("pkey -in one.key -outform der -out key.der");
    bench.openssl("pkey -in one.key -aes256 -passout pass:x -out encrypted.key");
    bench.openssl("pkey -in one.key -traditional -aes256 -passout pass:x -out proctype.key");
    bench.openssl("x509 -in one.pem -trustout -out trusted.pem");
    bench.openssl("crl2pkcs7 -nocrl -certfile one.pem -out one.p7b");
    bench.openssl("req -new -key one.key -subj /CN=localhost -out one.csr");
    bench.openssl("genrsa -out short.key 1024");
    bench.openssl("req -x509 -key short.key -subj /CN=short -out short.pem");
    bench.openssl("ecparam -name secp256k1 -genkey -noout -out koblitz.key");
    bench.openssl("req -x509 -key koblitz.key -subj /CN=koblitz -out koblitz.pem");
    bench.folder.write("empty.pem", "");
    bench.folder.write("cut.pem", &std::fs::read(bench.path("one.pem")).expect("the file")[..200]);
    bench.folder.write("typo.pem", "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n");
    bench.folder.write("nonsense.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    bench.folder.write("big.pem", vec![b'a'; 2 << 20]);
    for (chain, key, begin) in [
        ("missing.pem", "one.key", "missing.pem cannot be read: No such file"),
        (".", "one.key", ". cannot be read: it is no file"),
        ("big.pem", "one.key", "big.pem cannot be read: it has more than 1048576 bytes"),
        ("one.der", "one.key", "one.der is not PEM but DER or PKCS #12: write it as `pfx:` if"),
        ("trusted.pem", "one.key", "trusted.pem is of a kind that only OpenSSL knows; convert it with `openssl x509"),
        ("one.p7b", "one.key", "one.p7b is PKCS #7; convert it with `openssl pkcs7 -print_certs"),
        ("one.csr", "one.key", "one.csr is a signing request; put there the certificate"),
        ("empty.pem", "one.key", "there is no certificate in empty.pem: a PEM file has a line BEGIN CERTIFICATE"),
        ("one.key", "one.key", "there is no certificate in one.key"),
        ("cut.pem", "one.key", "cut.pem ends in the middle of a certificate or key"),
        ("typo.pem", "one.key", "typo.pem has characters that do not belong into a PEM file"),
        ("nonsense.pem", "one.key", "one of its certificates cannot be read"),
        ("one.pem", "key.der", "key.der is not PEM but DER; convert it with `openssl pkey -inform der"),
        (
            "one.pem",
            "encrypted.key",
            "the key in encrypted.key is encrypted, and nobody is there to type its passphrase",
        ),
        ("one.pem", "proctype.key", "the key in proctype.key is encrypted"),
        ("one.pem", "one.pem", "there is no private key in one.pem, but something public"),
        ("one.pem", "empty.pem", "there is no private key in empty.pem: a PEM file has a line BEGIN PRIVATE KEY"),
        ("one.pem", "ca.key", "its key does not belong to its certificate (rcgen self signed cert)"),
        ("short.pem", "short.key", "its key is of a kind that cannot be used: RSA with 2048 to 8192 bits"),
        ("koblitz.pem", "koblitz.key", "its key is of a kind that cannot be used"),
    ] {
        let said = mistake(&mut bench, pem(chain, key));
        assert!(said.starts_with(begin), "{chain} {key}: {said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_the_rest_can_be_shown_all_the_same() {
    let mut bench = Bench::with_one();
    bench.configure("two", pem("missing.pem", "missing.key"));
    bench.configure("three", pfx("missing.pfx", None));
    let mistakes = bench.mistakes();
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    assert!(mistakes[0].starts_with("certificate three: ") && mistakes[2].starts_with("certificate two: "));

    let (certificates, told) = Certificates::read(&bench.config, bench.folder.path());
    assert_eq!(told, mistakes);
    bench.server(&certificates, &tickets(), None);
    assert!(certificates.changed(), "what was missing may come");
    let identity = bench.authority.issue(&["two"], |_| {});
    bench.folder.write("missing.pem", &identity.pem);
    bench.folder.write("missing.key", &identity.key_pem);
    assert_eq!(certificates.renew().taken, ["two"]);

    bench.listener().certificates = vec!["three".to_owned()];
    let listener = bench.listener().clone();
    let said = server_config(&listener, &certificates, &tickets(), None, bench.folder.path()).expect_err("a mistake");
    assert!(said.starts_with("none of the certificates of its TLS listener could be read (three)"), "{said}");
}

#[test]
fn keys_of_every_kind_are_found_in_every_wrapping() {
    let mut bench = Bench::new();
    for (label, command, key) in [
        ("rsa", "genrsa -out KEY 2048", "RSA 2048"),
        ("rsa-pkcs1", "genrsa -traditional -out KEY 3072", "RSA 3072"),
        ("p256-sec1", "ecparam -name prime256v1 -genkey -out KEY", "ECDSA P-256"),
        ("p384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out KEY", "ECDSA P-384"),
        ("p521", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out KEY", "ECDSA P-521"),
        ("ed25519", "genpkey -algorithm ED25519 -out KEY", "Ed25519"),
    ] {
        bench.openssl(&command.replace("KEY", &format!("{label}.key")));
        bench.openssl(&format!(
            "req -x509 -key {label}.key -subj /CN={label} -addext subjectAltName=DNS:{label} -out {label}.pem"
        ));
        bench.configure(label, pem(&format!("{label}.pem"), &format!("{label}.key")));
        let certificates = bench.certificates();
        let views = certificates.views(SystemTime::now());
        let view = views.iter().find(|view| view.label == label).expect("the certificate");
        assert_eq!((view.key.as_str(), view.names.as_slice()), (key, &[label.to_owned()][..]));
        assert_eq!((view.chain, view.sent), (CertificateChain::SelfSigned, 1));
        let printed = bench.openssl(&format!("x509 -in {label}.pem -noout -fingerprint -sha256"));
        assert_eq!(printed.trim(), format!("sha256 Fingerprint={}", view.sha256));
    }
}

#[tokio::test]
async fn a_chain_is_sent_in_order_whatever_the_file_and_without_the_root() {
    let mut bench = Bench::new();
    let issuing = bench.authority.below("Issuing CA");
    let deeper = issuing.below("Deeper CA");
    let identity = deeper.issue(&["localhost"], |_| {});
    let unrelated = self_signed(|_| {});
    bench.put("one", &identity);
    let everything = [&bench.authority.pem, &deeper.pem, &unrelated.pem, &issuing.pem, &identity.pem];
    bench.folder.write("one.pem", everything.map(String::as_str).concat());
    bench.configure("one", pem("one.pem", "one.key"));

    let view = bench.certificates().views(SystemTime::now()).remove(0);
    assert_eq!((view.sent, view.issuer.as_str()), (3, "Deeper CA"));
    assert_eq!(
        (view.names.as_slice(), view.chain),
        (&["localhost".to_owned()][..], CertificateChain::UnknownAuthority)
    );
    let listener = bench.serve().await;
    let connection = Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
    assert_eq!(connection.shown(), identity.certificate);
}

#[tokio::test]
async fn of_two_authorities_of_one_name_the_one_that_signed_is_sent() {
    let mut bench = Bench::new();
    let (old, new) = (bench.authority.below("Issuing CA"), bench.authority.below("Issuing CA"));
    let identity = new.issue(&["localhost"], |params| params.use_authority_key_identifier_extension = true);
    bench.put("one", &identity);
    bench.folder.write("one.pem", [&identity.pem, &old.pem, &new.pem].map(String::as_str).concat());
    bench.configure("one", pem("one.pem", "one.key"));
    let listener = Listener::new(bench.server(&bench.certificates(), &tickets(), None)).await;
    Connection::new(listener.address, &bench.client(HttpVersion::Http1), "localhost").await;
    let wrong = Authority::new("Issuing CA").issue(&["localhost"], |_| {});
    assert_ne!(wrong.pem, identity.pem);
}
