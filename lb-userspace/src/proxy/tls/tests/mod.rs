//! Listeners on loopback, which rustls and OpenSSL speak to.

mod certificates;
mod clients;
mod handshakes;
mod openssl;
mod real_servers;
mod resumption;
mod tickets;
mod warnings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lb_core::config::model::{Certificate, Config, HttpVersion, ServerTls, TlsListener, TlsPolicy};
use lb_core::config::{Source, load};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Certificates, Tickets, client_config, failure, server_config};
use crate::tls::testing::{Authority, Folder, Identity};

/// A service `web` with a TLS listener, and a folder with the files of its certificates.
struct Bench {
    folder: Folder,
    config: Config,
    authority: Authority,
}

impl Bench {
    fn new() -> Self {
        let text = "
version: 1
node: {interfaces: [{device: lo}]}
virtual_services:
  - {name: web, address: 192.0.2.80, ports: [80], mode: l7-http, real_servers: [{name: a, address: 192.0.2.81}]}
";
        let source = Source { path: "lb.yaml".to_owned(), text: text.to_owned() };
        let mut config = load(&[source], &|_| None).expect("a configuration").config;
        config.virtual_services[0].tls = Some(TlsListener {
            port: 443,
            certificates: Vec::new(),
            policy: TlsPolicy::HighSecurity,
            redirect: false,
            client_certificate: None,
        });
        let authority = Authority::new("Hospital CA");
        let folder = Folder::new();
        folder.write("ca.pem", &authority.pem);
        folder.write("ca.key", &authority.key_pem);
        Self { folder, config, authority }
    }

    /// A bench with one certificate, for `localhost` and 127.0.0.1.
    fn with_one() -> Self {
        let mut bench = Self::new();
        let identity = bench.authority.issue(&["localhost", "127.0.0.1"], |_| {});
        bench.add("one", &identity);
        bench
    }

    /// Puts a certificate into the folder and the configuration, at the end of the listener's list.
    fn add(&mut self, label: &str, identity: &Identity) {
        self.put(label, identity);
        let files =
            Certificate::Pem { pem: format!("{label}.pem").into(), key: format!("{label}.key").into(), ocsp: None };
        self.configure(label, files);
    }

    fn put(&self, label: &str, identity: &Identity) {
        self.folder.write(&format!("{label}.pem"), &identity.pem);
        self.folder.write(&format!("{label}.key"), &identity.key_pem);
    }

    fn configure(&mut self, label: &str, certificate: Certificate) {
        self.config.certificates.insert(label.to_owned(), certificate);
        self.listener().certificates.push(label.to_owned());
    }

    fn listener(&mut self) -> &mut TlsListener {
        self.config.virtual_services[0].tls.as_mut().expect("a listener")
    }

    fn certificates(&self) -> Certificates {
        Certificates::load(&self.config, self.folder.path()).expect("certificates")
    }

    /// What is wrong with the certificates.
    fn mistakes(&self) -> Vec<String> {
        Certificates::load(&self.config, self.folder.path()).expect_err("mistakes")
    }

    fn server(&self, certificates: &Certificates, tickets: &Arc<Tickets>, http: Option<bool>) -> Arc<ServerConfig> {
        let listener = self.config.virtual_services[0].tls.as_ref().expect("a listener");
        server_config(listener, certificates, tickets, http, self.folder.path()).expect("a server")
    }

    /// A listener that runs.
    async fn serve(&self) -> Listener {
        let config = self.server(&self.certificates(), &tickets(), Some(true));
        Listener::new(config).await
    }

    /// A client that trusts the authority of the bench.
    fn client(&self, http: HttpVersion) -> Arc<ClientConfig> {
        client_config(&Self::trusting(), http, self.folder.path()).expect("a client")
    }

    fn trusting() -> ServerTls {
        ServerTls { verify: true, server_name: None, ca_file: Some("ca.pem".into()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `openssl` in the folder; it must succeed.
    fn openssl(&self, arguments: &str) -> String {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(self.folder.path()).output();
        let output = output.expect("openssl, which `cargo xtask setup` installs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn tickets() -> Arc<Tickets> {
    Tickets::new(SystemTime::now()).expect("tickets")
}

/// Accepts connections on loopback. It greets each with what the handshake came to, then gives every line back.
struct Listener {
    address: SocketAddr,
    failures: mpsc::Receiver<String>,
}

impl Listener {
    async fn new(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (said, failures) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (config, said) = (Arc::clone(&config), said.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(config, stream).await {
                        let _ = said.send(failure(&error)).await;
                    }
                });
            }
        });
        Self { address, failures }
    }

    /// What is said of the next handshake that fails.
    async fn failure(&mut self) -> String {
        let failure = tokio::time::timeout(DEADLINE, self.failures.recv()).await;
        failure.expect("a handshake that fails").expect("a listener")
    }
}

async fn converse(config: Arc<ServerConfig>, stream: TcpStream) -> std::io::Result<()> {
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let (_, connection) = stream.get_ref();
    let greeting = format!(
        "{:?} {} {} {:?} client={}\n",
        connection.protocol_version().expect("a version"),
        connection.alpn_protocol().map_or("-".into(), String::from_utf8_lossy),
        connection.server_name().unwrap_or("-"),
        connection.handshake_kind().expect("a kind"),
        connection.peer_certificates().map_or(0, <[_]>::len),
    );
    let (read, mut write) = tokio::io::split(stream);
    write.write_all(greeting.as_bytes()).await?;
    let mut lines = BufReader::new(read).lines();
    // How clients close says nothing about handshakes.
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = write.write_all(format!("{line}\n").as_bytes()).await;
    }
    let _ = write.shutdown().await;
    Ok(())
}

/// A connection of rustls, and what the listener said of it.
struct Connection {
    stream: BufReader<TlsStream<TcpStream>>,
    greeting: String,
}

impl Connection {
    async fn try_new(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        let mut connection = Self { stream: BufReader::new(stream), greeting: String::new() };
        connection.greeting = connection.line().await?;
        Ok(connection)
    }

    async fn new(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::try_new(address, config, name).await.expect("a connection")
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        if line.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    async fn echo(&mut self, text: &str) -> String {
        self.stream.get_mut().write_all(format!("{text}\n").as_bytes()).await.expect("sent");
        self.line().await.expect("a line")
    }

    /// The certificate that was shown.
    fn shown(&self) -> CertificateDer<'static> {
        let certificates = self.stream.get_ref().get_ref().1.peer_certificates();
        certificates.and_then(|all| all.first()).expect("a certificate").clone().into_owned()
    }
}

/// Which of several certificates it is, by label.
fn label_of(shown: &CertificateDer<'_>, all: &BTreeMap<&str, Identity>) -> String {
    let found = all.iter().find(|(_, identity)| identity.certificate == *shown);
    found.map_or_else(|| "none of them".to_owned(), |(label, _)| (*label).to_owned())
}

/// For what happens at once; only a test that fails waits for so long.
const DEADLINE: Duration = Duration::from_secs(30);
