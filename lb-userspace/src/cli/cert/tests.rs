//! The files that `lbctl cert` makes, read by OpenSSL.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use lb_core::view::CertificateList;

use crate::api::Limits;
use crate::api::tests::{Daemon, Script, certificates};
use crate::cli::{Cli, Exit, Terminal, run};
use crate::tls::testing::{Authority, Folder};

fn no_terminal() -> Terminal {
    Terminal { width: usize::MAX, height: None, colour: false }
}

/// `lbctl cert ARGUMENTS` with the folder before names that begin with `@`.
async fn cert(folder: &Folder, arguments: &str) -> (Exit, String, String) {
    let place = format!("{}/", folder.path().display());
    let arguments: Vec<String> = arguments.split(' ').map(|word| word.replace('@', &place)).collect();
    let words = ["lbctl", "--socket", "/nonexistent", "cert"].into_iter().map(str::to_owned).chain(arguments);
    let cli = Cli::try_parse_from(words).expect("arguments");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(cli, no_terminal, &mut out, &mut err).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").replace(&place, "@");
    (exit, text(out), text(err))
}

async fn fine(folder: &Folder, arguments: &str) -> String {
    let (exit, out, err) = cert(folder, arguments).await;
    assert_eq!((exit, err.as_str()), (Exit::Fine, ""), "{out}");
    out
}

async fn refused(folder: &Folder, arguments: &str) -> String {
    let (exit, out, err) = cert(folder, arguments).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    err
}

fn openssl(folder: &Folder, arguments: &str) -> String {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output();
    let output = output.expect("openssl, which `cargo xtask setup` installs");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("the file").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_self_signed_certificate_is_one_that_openssl_takes_for_its_names() {
    for kind in ["ecdsa", "rsa"] {
        let folder = Folder::new();
        let said = fine(
            &folder,
            &format!("self-signed pacs.example *.pacs.example 192.0.2.7 --out @web --days 90 --key-type {kind}"),
        )
        .await;
        assert!(
            said.starts_with("Wrote @web.pem and @web.key: for pacs.example, *.pacs.example, 192.0.2.7, valid until ")
        );
        assert!(said.ends_with("\ncertificates:\n  web: {pem: @web.pem, key: @web.key}\n"), "{said}");
        assert_eq!((mode(&folder.path().join("web.key")), mode(&folder.path().join("web.pem"))), (0o600, 0o644));
        for name in ["-verify_hostname a.pacs.example", "-verify_ip 192.0.2.7"] {
            openssl(&folder, &format!("verify -x509_strict -purpose sslserver -CAfile web.pem {name} web.pem"));
        }
        let text = openssl(&folder, "x509 -in web.pem -noout -text -checkend 7689600");
        assert!(text.contains("CN = pacs.example") && text.contains("TLS Web Server Authentication"), "{text}");
        let public = openssl(&folder, "pkey -in web.key -pubout");
        assert_eq!(openssl(&folder, "x509 -in web.pem -noout -pubkey"), public);
    }
}

#[tokio::test]
async fn a_signing_request_is_answered_by_an_authority_and_imported() {
    let folder = Folder::new();
    let authority = Authority::new("Hospital CA");
    folder.write("ca.pem", &authority.pem);
    folder.write("ca.key", &authority.key_pem);
    let said = fine(&folder, "csr pacs.example 192.0.2.7 --out @web --organization Hospital --country de").await;
    assert!(said.contains("Send @web.csr to your certificate authority, never the key"), "{said}");
    assert!(said.ends_with("lbctl cert import ANSWER @web.key --out @web --force\n"), "{said}");
    assert_eq!(mode(&folder.path().join("web.key")), 0o600);
    let text = openssl(&folder, "req -in web.csr -noout -verify -text");
    for part in ["CN = pacs.example", "O = Hospital", "C = DE", "DNS:pacs.example, IP Address:192.0.2.7"] {
        assert!(text.contains(part), "no {part} in {text}");
    }

    openssl(&folder, "x509 -req -in web.csr -CA ca.pem -CAkey ca.key -days 90 -copy_extensions copy -out answer.pem");
    let key = fs::read(folder.path().join("web.key")).expect("the key");
    let said = fine(&folder, "import @ca.pem @answer.pem @web.key --out @web --force").await;
    assert!(said.starts_with(
        "Wrote @web.pem and @web.key: for pacs.example, 192.0.2.7, ECDSA P-256, signed by Hospital CA, 1 certificate in \
         the chain.\n\nTo use it, "
    ), "{said}");
    assert_eq!(fs::read(folder.path().join("web.key")).expect("the key"), key);
    openssl(&folder, "verify -CAfile ca.pem web.pem");

    // A key that is there is asked for again: its certificate is renewed with the same key.
    fine(&folder, "csr pacs.example --out @again --key @web.key").await;
    assert!(!folder.path().join("again.key").exists());
    assert_eq!(
        openssl(&folder, "req -in again.csr -noout -pubkey"),
        openssl(&folder, "x509 -in web.pem -noout -pubkey")
    );
}

#[tokio::test]
async fn every_form_is_imported_as_pem() {
    let folder = Folder::new();
    let authority = Authority::new("Hospital CA");
    let issuing = authority.below("Issuing CA");
    let identity = issuing.issue(&["pacs.example"], |_| {});
    for (name, text) in [
        ("root.pem", &authority.pem),
        ("issuing.pem", &issuing.pem),
        ("one.pem", &identity.pem),
        ("one.key", &identity.key_pem),
    ] {
        folder.write(name, text);
    }
    folder.write(
        "all.pem",
        [&authority.pem, &identity.key_pem, &issuing.pem, &identity.pem].map(String::as_str).concat(),
    );
    folder.write("password", "Sesam4!\n");
    openssl(&folder, "x509 -in one.pem -outform der -out one.der");
    openssl(&folder, "x509 -in issuing.pem -outform der -out issuing.der");
    openssl(&folder, "pkey -in one.key -outform der -out key.der");
    openssl(
        &folder,
        "pkcs12 -export -in one.pem -inkey one.key -certfile issuing.pem -out one.pfx -passout pass:Sesam4!",
    );
    openssl(
        &folder,
        "pkcs12 -export -legacy -in one.pem -inkey one.key -certfile issuing.pem -out old.pfx -passout pass:Sesam4!",
    );
    for (number, files) in [
        "@one.pem @one.key @issuing.pem",
        "@all.pem",
        "@issuing.der @key.der @one.der",
        "@one.pfx --password-file @password",
        "@old.pfx --password-file @password",
    ]
    .into_iter()
    .enumerate()
    {
        let said = fine(&folder, &format!("import {files} --out @out{number}")).await;
        assert!(
            said.contains("for pacs.example, ECDSA P-256, signed by Issuing CA, 2 certificates in the chain"),
            "{said}"
        );
        let chain = fs::read_to_string(folder.path().join(format!("out{number}.pem"))).expect("the chain");
        assert_eq!(chain.replace("\r\n", "\n"), format!("{}{}", identity.pem, issuing.pem).replace("\r\n", "\n"));
        assert_eq!(mode(&folder.path().join(format!("out{number}.key"))), 0o600);
        assert_eq!(openssl(&folder, &format!("pkey -in out{number}.key")), openssl(&folder, "pkey -in one.key"));
    }
}

#[tokio::test]
async fn nothing_is_replaced_unless_it_is_asked_for() {
    let folder = Folder::new();
    folder.write("web.key", "precious");
    for arguments in ["self-signed a.example --out @web", "csr a.example --out @web"] {
        assert_eq!(refused(&folder, arguments).await, "error: @web.key is there already; --force replaces it\n");
        assert_eq!(fs::read(folder.path().join("web.key")).expect("the file"), b"precious");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing is left over");
    }
    fine(&folder, "self-signed a.example --out @web --force").await;
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2);
    let said = refused(&folder, "self-signed a.example --out @missing/web").await;
    assert!(said.starts_with("error: cannot write @missing/web.key: No such file"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_made_says_why() {
    let folder = Folder::new();
    let identity = Authority::new("Hospital CA").issue(&["pacs.example"], |_| {});
    folder.write("one.pem", &identity.pem);
    folder.write("other.key", Authority::new("Another").key_pem);
    openssl(&folder, "pkcs12 -export -in one.pem -nokeys -out one.pfx -passout pass:x");
    for (arguments, begin) in [
        ("self-signed https://a.example --out @a", "https://a.example is neither a host nor an address"),
        ("self-signed a..example --out @a", "a..example is neither a host nor an address"),
        ("self-signed a.*.example --out @a", "a.*.example is neither a host nor an address"),
        ("csr münchen.example --out @a", "münchen.example is neither a host nor an address"),
        ("csr a.example --country Germany --out @a", "the country is two letters, as DE or US; Germany is not"),
        ("csr a.example --key @one.pem --out @a", "there is no key in @one.pem that can be used"),
        ("csr a.example --key @missing --out @a", "@missing cannot be read: No such file"),
        ("import @one.pem --out @a", "there is no private key in these files: name the file with it too"),
        ("import @other.key --out @a", "there is no certificate in these files"),
        ("import @one.pem @other.key --out @a", "its key does not belong to its certificate (rcgen self signed cert)"),
        ("import @one.pfx --out @a", "the archive @one.pfx has a password: write it into a file"),
        ("import @missing --out @a", "@missing cannot be read: No such file"),
        (
            "import @one.pfx --password-file @missing --out @a",
            "the password cannot be read from @missing: No such file",
        ),
    ] {
        let said = refused(&folder, arguments).await;
        assert!(said.starts_with(&format!("error: {begin}")), "{arguments}: {said}");
        assert!(!folder.path().join("a.key").exists() && !folder.path().join("a.pem").exists());
    }
}

#[tokio::test]
async fn the_list_is_a_table_or_json() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let list = async |arguments: &[&str]| {
        let words = ["lbctl", "--socket", daemon.socket.to_str().expect("text"), "cert", "list"];
        let cli = Cli::try_parse_from(words.iter().chain(arguments)).expect("arguments");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(cli, no_terminal, &mut out, &mut err).await, Exit::Fine);
        String::from_utf8(out).expect("text")
    };
    let text = list(&[]).await;
    let row = "△ pacs         2026-12-01  9 days  ECDSA P-256  Hospital CA  unknown-authority, not stapled  Viewer    \
               pacs.example, *.pacs.example";
    assert!(text.contains(row), "{text}");
    assert!(text.ends_with("\nProblems:\n  - certificate pacs expires in 9 days (2026-12-01): renew it\n"), "{text}");
    assert_eq!(serde_json::from_str::<CertificateList>(&list(&["--json"]).await).expect("a list"), certificates());
}
