//! What two probers that we did not write find at a TLS listener: testssl.sh (its own sockets, and OpenSSL) and nmap's
//! ssl-enum-ciphers. The listener is the one of the proxy, on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use anyhow::{Context as _, Result, bail, ensure};
use lb_core::config::model::{Config, TlsListener, TlsPolicy};
use lb_core::config::{Source, load};
use lb_userspace::proxy::tls::{Certificates, Tickets, server_config};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// testssl.sh opens some hundred connections, each from a shell.
const PROBED: Duration = Duration::from_secs(900);

/// A TLS listener that answers each request with an empty page, until it is dropped.
struct Listener {
    port: u16,
    folder: PathBuf,
    _runtime: Runtime,
}

impl Listener {
    /// With a certificate of ECDSA and one of RSA, so that every suite can be agreed on.
    fn start(name: &str, policy: TlsPolicy) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("lb-tls-policy-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        for (label, key) in [("ecdsa", "ec -pkeyopt ec_paramgen_curve:P-256"), ("rsa", "rsa:2048")] {
            openssl(
                &folder,
                &format!(
                    "req -x509 -newkey {key} -nodes -keyout {label}.key -out {label}.pem -days 90 -subj /CN=localhost -addext \
                 subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -addext \
                 extendedKeyUsage=serverAuth"
                ),
            )?;
        }
        let listener = TlsListener {
            port: 443,
            certificates: vec!["ecdsa".to_owned(), "rsa".to_owned()],
            policy,
            redirect: false,
            client_certificate: None,
        };
        let certificates =
            Certificates::load(&config()?, &folder).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let tickets = Tickets::new(SystemTime::now()).map_err(anyhow::Error::msg)?;
        let config =
            server_config(&listener, &certificates, &tickets, Some(true), &folder).map_err(anyhow::Error::msg)?;
        let runtime = Runtime::new()?;
        let socket = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let port = socket.local_addr()?.port();
        let acceptor = TlsAcceptor::from(config);
        runtime.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ =
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Ok(Self { port, folder, _runtime: runtime })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn config() -> Result<Config> {
    let text = "
version: 1
node: {interfaces: [{device: lo}]}
certificates:
  ecdsa: {pem: ecdsa.pem, key: ecdsa.key}
  rsa: {pem: rsa.pem, key: rsa.key}
virtual_services:
  - name: web
    address: 192.0.2.80
    ports: [80]
    mode: l7-http
    tls: {port: 443, certificates: [ecdsa, rsa]}
    real_servers: [{name: a, address: 192.0.2.81}]
";
    let source = Source { path: "lb.yaml".to_owned(), text: text.to_owned() };
    Ok(load(&[source], &|_| None).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?.config)
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output()?;
    ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs a prober to its end, which a deadline bounds, with its output in a file.
fn probe(command: &mut Command, output: &Path) -> Result<String> {
    let file = fs::File::create(output)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .context("the prober; `cargo xtask setup` installs it")?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PROBED {
            child.kill()?;
            child.wait()?;
            bail!("the prober did not end: {}", fs::read_to_string(output)?);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(fs::read_to_string(output)?)
}

#[test]
fn testssl_finds_nothing_weak_under_either_policy() -> Result<()> {
    for (name, policy) in [("high-security", TlsPolicy::HighSecurity), ("compatible", TlsPolicy::Compatible)] {
        let listener = Listener::start(&format!("testssl-{name}"), policy)?;
        let findings = testssl(&listener)?;
        for (id, expected) in [
            ("SSLv2", "not offered"),
            ("SSLv3", "not offered"),
            ("TLS1", "not offered"),
            ("TLS1_1", "not offered"),
            // Its own hello has no extended master secret, so it is a client that only one policy serves.
            ("TLS1_2", if policy == TlsPolicy::Compatible { "offered" } else { "not offered" }),
            ("TLS1_3", "offered with final"),
        ] {
            let said = findings.get(id).with_context(|| format!("nothing about {id}"))?;
            ensure!(said.finding.starts_with(expected), "{name}: {id}: {}", said.finding);
        }
        for id in VULNERABILITIES {
            ensure!(findings.contains_key(*id), "{name}: nothing about {id}");
        }
        let mut by_severity = BTreeMap::<&str, usize>::new();
        for said in findings.values() {
            *by_severity.entry(&said.severity).or_default() += 1;
        }
        let harmless = |said: &Finding| ["OK", "INFO"].contains(&said.severity.as_str());
        let weak: Vec<_> = findings.iter().filter(|(_, said)| !harmless(said)).collect();
        ensure!(weak.is_empty(), "{name}: {weak:?}");
        println!("{name}: testssl.sh has {} findings: {by_severity:?}", findings.len());
    }
    Ok(())
}

/// What has to have been looked for.
const VULNERABILITIES: &[&str] = &[
    "heartbleed",
    "CCS",
    "ticketbleed",
    "ROBOT",
    "secure_renego",
    "CRIME_TLS",
    "cipherlist_3DES_IDEA",
    "FREAK",
    "LOGJAM",
    "LUCKY13",
    "RC4",
];

#[derive(Debug)]
struct Finding {
    severity: String,
    finding: String,
}

/// Protocols, categories of suites, forward secrecy and known vulnerabilities, by their ids.
fn testssl(listener: &Listener) -> Result<BTreeMap<String, Finding>> {
    let report = listener.folder.join("report.json");
    let mut command = Command::new("testssl");
    let quiet = ["--quiet", "--color=0", "--warnings=off", "--nodns=none"];
    command.args(quiet).args(["-p", "-s", "-f", "-U"]);
    command.arg("--jsonfile").arg(&report).arg(format!("127.0.0.1:{}", listener.port));
    let said = probe(&mut command, &listener.folder.join("output"))?;
    let report: Vec<Value> = serde_json::from_str(&fs::read_to_string(&report).unwrap_or_default())
        .with_context(|| format!("no report: {said}"))?;
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    Ok(report
        .iter()
        .map(|entry| {
            (text(entry, "id"), Finding { severity: text(entry, "severity"), finding: text(entry, "finding") })
        })
        .collect())
}

#[test]
fn nmap_finds_the_suites_that_are_documented_and_no_other() -> Result<()> {
    for (name, policy) in [("high-security", TlsPolicy::HighSecurity), ("compatible", TlsPolicy::Compatible)] {
        let listener = Listener::start(&format!("nmap-{name}"), policy)?;
        let mut command = Command::new("nmap");
        let port = listener.port.to_string();
        command.args(["-Pn", "-n", "-p", &port, "--script", "+ssl-enum-ciphers", "127.0.0.1"]);
        let said = probe(&mut command, &listener.folder.join("output"))?;
        let found = suites(&said);
        // It knows no extended master secret, so it gets TLS 1.2 where the policy does without.
        let all = DOCUMENTED.iter().copied();
        let documented: BTreeSet<_> =
            all.filter(|(version, _)| *version == "TLSv1.3" || name == "compatible").collect();
        ensure!(found == documented, "{name}: {said}");
        ensure!(said.contains("least strength: A"), "{name}: {said}");
        println!("{name}: nmap found {} suites, the weakest has grade A", found.len());
    }
    Ok(())
}

/// Version and suite of each line such as `|       TLS_AKE_WITH_AES_128_GCM_SHA256 (ecdh_x25519) - A`.
fn suites(said: &str) -> BTreeSet<(&str, &str)> {
    let (mut version, mut found) = ("", BTreeSet::new());
    for line in said.lines() {
        let line = line.trim_start_matches(['|', '_', ' ']).trim_end();
        if let Some(begins) = line.strip_suffix(':').filter(|word| word.starts_with("TLSv") || word.starts_with("SSLv"))
        {
            version = begins;
        } else if let Some(suite) = line.split(' ').next().filter(|word| word.starts_with("TLS_")) {
            found.insert((version, suite));
        }
    }
    found
}

/// As docs/reference/tls.md has them, in the names of nmap.
const DOCUMENTED: &[(&str, &str)] = &[
    ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("TLSv1.2", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLSv1.3", "TLS_AKE_WITH_AES_128_GCM_SHA256"),
    ("TLSv1.3", "TLS_AKE_WITH_AES_256_GCM_SHA384"),
    ("TLSv1.3", "TLS_AKE_WITH_CHACHA20_POLY1305_SHA256"),
];
