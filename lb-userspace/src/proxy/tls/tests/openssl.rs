//! What OpenSSL agrees on with a listener, and what it does not.

use std::net::SocketAddr;
use std::process::Stdio;

use lb_core::config::model::{Certificate, ClientCertificate, TlsPolicy};
use lb_core::view::OcspState;
use std::time::{Duration, SystemTime};
use tokio::process::Command;

use super::{Bench, DEADLINE, Listener, tickets};
use crate::proxy::tls::Certificates;

/// What `openssl s_client` prints until it has the greeting, or the handshake has failed.
async fn s_client(bench: &Bench, address: SocketAddr, options: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-CAfile", "ca.pem", "-verify_return_error"]);
    command.args(options.split_whitespace()).current_dir(bench.folder.path());
    // It reads the configuration of OpenSSL from here where one was written.
    if bench.path("openssl.cnf").exists() {
        command.env("OPENSSL_CONF", bench.path("openssl.cnf"));
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, output).await.expect("an end").expect("openssl");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn line<'a>(text: &'a str, containing: &str) -> &'a str {
    text.lines().find(|line| line.contains(containing)).unwrap_or_else(|| panic!("no {containing} in {text}")).trim()
}

/// A bench with an ECDSA and an RSA certificate of one name.
fn with_both_keys() -> Bench {
    let mut bench = Bench::with_one();
    bench.openssl("req -new -newkey rsa:2048 -nodes -keyout rsa.key -subj /CN=localhost -out rsa.csr");
    bench.folder.write("names", "subjectAltName=DNS:localhost\n");
    bench.openssl("x509 -req -in rsa.csr -CA ca.pem -CAkey ca.key -days 30 -extfile names -out rsa.pem");
    let files = Certificate::Pem { pem: "rsa.pem".into(), key: "rsa.key".into(), ocsp: None };
    bench.configure("rsa", files);
    bench
}

#[tokio::test]
async fn every_suite_that_is_documented_is_agreed_on_with_the_key_that_it_needs() {
    let bench = with_both_keys();
    let listener = bench.serve().await;
    for suite in ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"] {
        let said = s_client(&bench, listener.address, &format!("-tls1_3 -ciphersuites {suite}")).await;
        assert_eq!(line(&said, "New, "), format!("New, TLSv1.3, Cipher is {suite}"));
        assert!(said.contains("Verification: OK"), "{said}");
    }
    for suite in [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ] {
        let said = s_client(&bench, listener.address, &format!("-tls1_2 -cipher {suite}")).await;
        assert_eq!(line(&said, "New, "), format!("New, TLSv1.2, Cipher is {suite}"));
        let key = if suite.contains("ECDSA") { "ECDSA" } else { "RSA" };
        assert!(line(&said, "Peer signature type").contains(key), "{said}");
    }
}

#[tokio::test]
async fn what_is_old_is_refused_under_both_policies_and_the_log_says_why() {
    let mut bench = with_both_keys();
    for policy in [TlsPolicy::HighSecurity, TlsPolicy::Compatible] {
        bench.listener().policy = policy;
        let mut listener = bench.serve().await;
        for (options, begin) in [
            ("-tls1 -cipher ALL@SECLEVEL=0", "the client knows neither TLS 1.2 nor 1.3"),
            ("-tls1_1 -cipher ALL@SECLEVEL=0", "the client knows neither TLS 1.2 nor 1.3"),
            ("-tls1_2 -cipher AES128-GCM-SHA256", "the client has no key exchange in common"),
            ("-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", "the client has no cipher suite in common"),
            ("-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", "the client has no key exchange in common"),
            ("-tls1_3 -groups secp521r1", "the client has no key exchange in common"),
        ] {
            let said = s_client(&bench, listener.address, options).await;
            assert!(said.contains("Cipher is (NONE)"), "{said}");
            let said = listener.failure().await;
            assert!(said.starts_with(begin), "{options}: {said}");
        }
    }
}

#[tokio::test]
async fn a_client_without_extended_master_secret_is_served_by_the_compatible_policy_only() {
    let mut bench = Bench::with_one();
    bench.folder.write(
        "openssl.cnf",
        "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\n",
    );
    let mut strict = bench.serve().await;
    let said = s_client(&bench, strict.address, "-tls1_2").await;
    assert!(said.contains("Cipher is (NONE)"), "{said}");
    assert!(strict.failure().await.starts_with("the client knows TLS 1.2 without extended master secret"));
    // TLS 1.3 has nothing else.
    assert!(s_client(&bench, strict.address, "-tls1_3").await.contains("New, TLSv1.3"));

    bench.listener().policy = TlsPolicy::Compatible;
    let compatible = bench.serve().await;
    let said = s_client(&bench, compatible.address, "-tls1_2").await;
    assert!(said.contains("New, TLSv1.2") && said.contains("Extended master secret: no"), "{said}");
}

#[tokio::test]
async fn sni_and_alpn_of_openssl_choose_as_those_of_rustls() {
    let mut bench = Bench::with_one();
    let other = bench.authority.issue(&["*.pacs.example"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "the other");
    });
    bench.add("other", &other);
    let listener = bench.serve().await;
    let said = s_client(&bench, listener.address, "-servername img.pacs.example -alpn h2,http/1.1").await;
    assert!(line(&said, "subject=").ends_with("CN = the other"), "{said}");
    assert_eq!(line(&said, "ALPN"), "ALPN protocol: h2");
    let said = s_client(&bench, listener.address, "-noservername -alpn http/1.1").await;
    assert!(!line(&said, "subject=").contains("the other"), "{said}");
    assert_eq!(line(&said, "ALPN"), "ALPN protocol: http/1.1");
}

#[tokio::test]
async fn openssl_resumes_at_another_listener() {
    let bench = Bench::with_one();
    let (certificates, tickets) = (bench.certificates(), tickets());
    let first = Listener::new(bench.server(&certificates, &tickets, None)).await;
    let second = Listener::new(bench.server(&certificates, &tickets, None)).await;
    for version in ["-tls1_2", "-tls1_3"] {
        // A ticket of TLS 1.3 comes behind the handshake: the greeting is waited for.
        let said = until_greeting(&bench, first.address, &format!("{version} -sess_out session")).await;
        assert!(said.contains("New, TLSv1."), "{said}");
        let said = until_greeting(&bench, second.address, &format!("{version} -sess_in session")).await;
        assert!(said.contains("Reused, TLSv1."), "{said}");
    }
}

/// As [`s_client`], with standard input open until the greeting has come.
async fn until_greeting(bench: &Bench, address: SocketAddr, options: &str) -> String {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-CAfile", "ca.pem"]);
    command.args(options.split_whitespace()).current_dir(bench.folder.path());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let child = child.as_mut().expect("openssl");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut said = String::new();
    let talk = async {
        while let Ok(Some(line)) = lines.next_line().await {
            said += &line;
            said.push('\n');
            if line.contains("client=0") {
                drop(child.stdin.take());
            }
        }
        let _ = child.wait().await;
    };
    tokio::time::timeout(DEADLINE, talk).await.expect("an end");
    said
}

#[tokio::test]
async fn certificates_of_clients_are_asked_for() {
    let mut bench = Bench::with_one();
    let client = bench.authority.issue(&["nurse"], |_| {});
    bench.put("client", &client);
    bench.listener().client_certificate = Some(ClientCertificate { ca_file: "ca.pem".into(), required: true });
    let mut listener = bench.serve().await;
    let said = s_client(&bench, listener.address, "-tls1_2").await;
    assert!(said.contains("alert certificate required") || said.contains("handshake failure"), "{said}");
    assert!(listener.failure().await.starts_with("the client showed no certificate"));
    let said = s_client(&bench, listener.address, "-tls1_2 -cert client.pem -key client.key").await;
    assert!(said.contains("New, TLSv1.2") && !said.contains("alert"), "{said}");
    assert!(said.contains("Acceptable client certificate CA names"), "{said}");
}

/// Has `openssl ocsp` answer about the certificate of the bench; `index` says what is known of it.
fn answer(bench: &Bench, status: &str, options: &str) {
    let serial = bench.openssl("x509 -in one.pem -noout -serial");
    let serial = serial.trim().trim_start_matches("serial=");
    let revoked = if status == "R" { "200101000000Z" } else { "" };
    bench.folder.write("index.txt", format!("{status}\t400101000000Z\t{revoked}\t{serial}\tunknown\t/CN=x\n"));
    bench.openssl("ocsp -issuer ca.pem -cert one.pem -no_nonce -reqout request.der");
    bench.openssl(&format!(
        "ocsp -index index.txt -rsigner ca.pem -rkey ca.key -CA ca.pem -reqin request.der -respout new.der{options}"
    ));
    let answer = std::fs::read(bench.path("new.der")).expect("an answer");
    bench.folder.write("answer.der", answer);
}

fn with_ocsp() -> Bench {
    let mut bench = Bench::with_one();
    let files = Certificate::Pem { pem: "one.pem".into(), key: "one.key".into(), ocsp: Some("answer.der".into()) };
    bench.config.certificates.insert("one".to_owned(), files);
    bench
}

#[tokio::test]
async fn an_ocsp_answer_is_stapled_while_it_is_current_and_good() {
    let bench = with_ocsp();
    answer(&bench, "V", " -ndays 2");
    let certificates = bench.certificates();
    let listener = Listener::new(bench.server(&certificates, &tickets(), None)).await;
    let state = |certificates: &Certificates, days: u64| {
        certificates.views(SystemTime::now() + Duration::from_secs(days * 86_400))[0].ocsp
    };
    let said = s_client(&bench, listener.address, "-status").await;
    assert!(said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"), "{said}");
    assert_eq!((state(&certificates, 1), state(&certificates, 3)), (OcspState::Stapled, OcspState::Outdated));

    // A revoked one is shown without: clients that ask the authority are told by it.
    answer(&bench, "R", " -ndays 2");
    assert_eq!(certificates.renew().taken, ["one"]);
    let said = s_client(&bench, listener.address, "-status").await;
    assert!(said.contains("OCSP response: no response sent"), "{said}");
    assert_eq!(state(&certificates, 0), OcspState::NotGood);
    let warnings = certificates.warnings(SystemTime::now());
    assert!(
        warnings.iter().any(|said| said == "certificate one is revoked, or its authority does not know it: replace it")
    );

    // Without an end it is always current.
    answer(&bench, "V", "");
    assert_eq!(certificates.renew().taken, ["one"]);
    assert_eq!(state(&certificates, 3000), OcspState::Stapled);
    let said = s_client(&bench, listener.address, "-status").await;
    assert!(said.contains("OCSP Response Status: successful"), "{said}");

    // After the certificate was renewed, the answer is about the one before.
    bench.put("one", &bench.authority.issue(&["localhost"], |_| {}));
    assert_eq!(certificates.renew().taken, ["one"]);
    assert_eq!(state(&certificates, 0), OcspState::OfAnother);
    let said = s_client(&bench, listener.address, "-status").await;
    assert!(said.contains("OCSP response: no response sent"), "{said}");
}

#[test]
fn an_ocsp_file_that_is_none_is_a_mistake() {
    let bench = with_ocsp();
    answer(&bench, "V", "");
    let whole = std::fs::read(bench.path("answer.der")).expect("an answer");
    for (bytes, says) in [
        (&b"-----BEGIN OCSP RESPONSE-----\n"[..], "is PEM, but an OCSP answer is stapled in DER"),
        (&[0x30, 3, 0x0a, 1, 6], "holds no answer but an error of the OCSP server (status 6)"),
        (b"", "is no OCSP answer in DER"),
        (b"\x30\x00", "is no OCSP answer in DER"),
    ] {
        bench.folder.write("answer.der", bytes);
        let mistakes = bench.mistakes();
        assert!(mistakes.len() == 1 && mistakes[0].contains(says), "{mistakes:?}");
    }
    for length in 0..whole.len() {
        bench.folder.write("answer.der", &whole[..length]);
        assert_eq!(bench.mistakes().len(), 1, "cut at {length}");
    }
}
