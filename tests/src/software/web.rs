//! nginx as the web servers behind the proxied services: pages that say who answers, over HTTP, HTTPS with a
//! certificate of its own, and behind a PROXY header; and clients: curl, and connections that are kept.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::certificate::Certificate;
use super::nginx::CURL;
use crate::lab::{Host, Process, require, wait_until};
use crate::proxied::{Conversation, Heard};

/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What a web server listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// HTTP.
    Plain(u16),
    /// HTTPS, HTTP/2 too.
    Tls(u16),
    /// HTTP behind a PROXY header of either version.
    ProxyProtocol(u16),
}

impl Listen {
    fn port(self) -> u16 {
        let (Self::Plain(port) | Self::Tls(port) | Self::ProxyProtocol(port)) = self;
        port
    }

    fn line(self) -> String {
        match self {
            Self::Plain(port) => format!("listen {port}; listen [::]:{port};"),
            Self::Tls(port) => format!("listen {port} ssl http2; listen [::]:{port} ssl http2;"),
            Self::ProxyProtocol(port) => format!("listen {port} proxy_protocol; listen [::]:{port} proxy_protocol;"),
        }
    }
}

/// A running web server.
///
/// `/` is answered with `NAME CLIENT`, `/numbered/…` with `NAME PATH`, `/files/…` with a file of the lab's folder,
/// `/admin/status` with what [`WebServer::say`] was told, `Healthy` at first.
#[derive(Debug)]
pub struct WebServer {
    process: Process,
    certificate: Certificate,
    status: PathBuf,
}

impl WebServer {
    /// Starts one.
    ///
    /// # Errors
    /// When nginx or openssl is missing, or a port is not opened.
    pub fn start(host: &Host, listen: &[Listen]) -> Result<Self> {
        require("nginx", "nginx-light")?;
        let certificate = Certificate::self_signed(host, "web")?;
        let prefix = host.folder().join(format!("{}-web", host.name()));
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let (file, status) = (prefix.join("nginx.conf"), prefix.join("status"));
        fs::write(&file, configuration(host, listen, &certificate)).context("cannot write nginx.conf")?;
        fs::write(&status, "Healthy\n").context("cannot write the status page")?;
        let (file, folder) = (file.display().to_string(), prefix.display().to_string());
        let mut process = host.spawn(&["nginx", "-p", &folder, "-c", &file])?;
        for listen in listen {
            host.wait_listening(&mut process, "tcp", listen.port())?;
        }
        Ok(Self { process, certificate, status })
    }

    /// What the status page says from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn say(&self, text: &str) -> Result<()> {
        fs::write(&self.status, text).with_context(|| format!("cannot write {}", self.status.display()))
    }

    /// Its own certificate, in PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn certificate(&self) -> Result<String> {
        let file = &self.certificate.certificate;
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// A page that curl has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Who answered, and as whom it saw the client.
    pub heard: Heard,
    /// `1.1` or `2`.
    pub version: String,
    /// The certificate that was shown, in PEM; empty without TLS.
    pub certificate: String,
}

/// Fetches `/` with curl on a new connection from this address of `client`.
///
/// # Errors
/// When curl is missing or fails, or something else is answered.
pub fn fetch(client: &Host, source: IpAddr, url: &str) -> Result<Page> {
    require("curl", "curl")?;
    let source = source.to_string();
    let limit = ANSWER.as_secs().to_string();
    let arguments = ["--max-time", &limit, "--interface", &source, "--write-out", "%{http_version}\n%{certs}", url];
    let output = client.run(&[CURL, &arguments].concat())?.success()?;
    let (body, rest) = output.stdout.split_once('\n').with_context(|| format!("no line: {output}"))?;
    let (version, certificates) = rest.split_once('\n').with_context(|| format!("no version: {output}"))?;
    let certificate = certificates.find("-----BEGIN").map_or("", |begin| certificates[begin..].trim());
    Ok(Page { heard: Heard::parse(body)?, version: version.to_owned(), certificate: certificate.to_owned() })
}

/// A connection over which one request after the other is made.
pub struct Kept {
    stream: BufReader<Box<dyn Stream>>,
    /// Speaks TLS for us.
    _tunnel: Option<Process>,
}

/// What HTTP/1.1 is spoken over.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Kept {
    /// Connects to a plain port from this address of `client`.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn plain(client: &Host, source: IpAddr, server: SocketAddr) -> Result<Self> {
        let stream = client.connect(source, server, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)), _tunnel: None })
    }

    /// Connects to a TLS port from this address of `client`, through `socat`. The handshake has not been made
    /// before the first request is answered.
    ///
    /// # Errors
    /// When socat is missing.
    pub fn tls(client: &Host, source: IpAddr, server: SocketAddr) -> Result<Self> {
        require("socat", "socat")?;
        let number = client.next_number();
        let socket = client.folder().join(format!("kept-{number}"));
        let listen = format!("UNIX-LISTEN:{}", socket.display());
        let connect = format!("OPENSSL:{server},verify=0,bind={source}");
        let mut tunnel = client.spawn(&["socat", &listen, &connect])?;
        tunnel.wait_ready("socat listens", ANSWER, || {
            ensure!(socket.exists(), "no socket");
            Ok(())
        })?;
        let stream = wait_until("socat takes the connection", ANSWER, || Ok(UnixStream::connect(&socket)?))?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)), _tunnel: Some(tunnel) })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).context("no answer")?;
        ensure!(length > 0, "the connection has ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Conversation for Kept {
    fn ask(&mut self) -> Result<Heard> {
        self.stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n").context("cannot ask")?;
        let status = self.line()?;
        ensure!(status.starts_with("HTTP/1.1 200"), "{status}");
        let mut length = 0;
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("no whole answer")?;
        Heard::parse(&String::from_utf8_lossy(&body))
    }

    fn wait_cut(&mut self) -> Result<()> {
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => Ok(()),
            Ok(length) => bail!("{length} bytes came that nobody asked for"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error).context("the connection was not cut"),
        }
    }
}

fn configuration(host: &Host, listen: &[Listen], Certificate { certificate, key }: &Certificate) -> String {
    let (name, files) = (host.name(), host.folder().display());
    let (certificate, key) = (certificate.display(), key.display());
    let listen: Vec<String> = listen.iter().map(|listen| listen.line()).collect();
    let listen = listen.join("\n");
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr notice;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           keepalive_timeout 10m; keepalive_requests 100000;\n\
           map $proxy_protocol_addr $client {{ '' $remote_addr; default $proxy_protocol_addr; }}\n\
           server {{\n\
             {listen}\n\
             ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             location = /admin/status {{ alias {files}/{name}-web/status; }}\n\
             location /numbered/ {{ return 200 '{name} $uri\\n'; }}\n\
             location /files/ {{ alias {files}/; }}\n\
             location / {{ return 200 '{name} $client\\n'; }}\n\
           }}\n\
         }}\n"
    )
}
