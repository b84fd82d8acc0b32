//! S3: a store (moto) behind nodes that speak TLS (nginx), and clients (boto3, curl).
//!
//! Every node leads to the same store, as the nodes of a storage cluster do, and says its name in a field of each
//! answer. The store verifies signatures, which cover the path, the host and more of a request: one that was changed
//! on the way is refused.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::certificate::Certificate;
use super::python;
use crate::lab::{Host, Process, require};

/// Where nodes speak TLS.
pub const PORT: u16 = 443;
/// Where a node says whether the cluster is well.
pub const HEALTH: &str = "/minio/health/cluster";
/// How many bytes a second a node gives of a file: no buffer on the way takes what it has not sent yet.
pub const RATE: u64 = 4_000_000;
const STORE_PORT: u16 = 5000;
const CLIENT: &str = include_str!("../../data/s3_client.py");
/// The store starts, and boto3 answers, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// Requests that make the clients' account; from then on all must be signed by it.
const UNSIGNED_REQUESTS: &str = "3";

/// A running store with the bucket `lab`, in memory.
#[derive(Debug)]
pub struct Store {
    process: Process,
    address: SocketAddr,
    account: PathBuf,
}

impl Store {
    /// Starts one on `host`, and makes an account and a bucket.
    ///
    /// # Errors
    /// When the Python packages are missing or it does not answer.
    pub fn start(host: &Host) -> Result<Self> {
        let server = python::in_environment("moto_server")?;
        let address = SocketAddr::new(host.v4(), STORE_PORT);
        let (ip, port) = (address.ip().to_string(), STORE_PORT.to_string());
        let unsigned = format!("INITIAL_NO_AUTH_ACTION_COUNT={UNSIGNED_REQUESTS}");
        let mut process = host.spawn(&["env", &unsigned, &server, "--host", &ip, "--port", &port])?;
        process.wait_ready("the S3 store listens", DEADLINE, || host.listens("tcp", STORE_PORT))?;
        let store = Self { process, address, account: host.folder().join("s3-account.json") };
        let output = store.client(host, &format!("http://{address}"), None, &["prepare"])?;
        ensure!(output.failures.is_empty(), "the store cannot be prepared: {output:?}");
        Ok(store)
    }

    /// Puts, gets and deletes objects at `endpoint` (`https://192.168.110.65`), several clients at once, each object
    /// whole and in parts; what came is compared with what was sent.
    ///
    /// # Errors
    /// When boto3 is missing or a request fails.
    pub fn round_trips(
        &self,
        client: &Host,
        endpoint: &str,
        authority: Option<&Path>,
        clients: usize,
        bytes: u64,
    ) -> Result<Traffic> {
        let (clients, bytes) = (clients.to_string(), bytes.to_string());
        let traffic = self.client(client, endpoint, authority, &["round-trips", &clients, &bytes])?;
        ensure!(traffic.failures.is_empty(), "requests failed: {traffic:?}");
        Ok(traffic)
    }

    /// Starts clients that put and get small objects until they are told to stop; none tries twice.
    ///
    /// # Errors
    /// When boto3 is missing or nothing is carried.
    pub fn load(&self, client: &Host, endpoint: &str, authority: Option<&Path>) -> Result<Load> {
        let mut process = client.spawn(&self.command(client, endpoint, authority, &["load"])?.as_args())?;
        let log = process.log_path().to_owned();
        process.wait_ready("the S3 load has begun", DEADLINE, || {
            ensure!(fs::read_to_string(&log)?.contains("begun"), "it has not begun");
            Ok(())
        })?;
        Ok(Load { process })
    }

    /// Holds it: nodes wait for its answers.
    pub fn hold(&mut self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.process.signal(Signal::SIGCONT);
    }

    fn client(&self, host: &Host, endpoint: &str, authority: Option<&Path>, work: &[&str]) -> Result<Traffic> {
        let output = host.run(&self.command(host, endpoint, authority, work)?.as_args())?.success()?;
        Traffic::parse(&output.stdout)
    }

    fn command(&self, host: &Host, endpoint: &str, authority: Option<&Path>, work: &[&str]) -> Result<Arguments> {
        let interpreter = python::in_environment("python")?;
        let script = python::script(host, "s3_client.py", CLIENT)?;
        let mut all = vec![interpreter, "-u".to_owned(), script.display().to_string(), endpoint.to_owned()];
        all.push(self.account.display().to_string());
        all.push(authority.map_or_else(|| "-".to_owned(), |path| path.display().to_string()));
        all.extend(work.iter().map(|word| (*word).to_owned()));
        Ok(Arguments(all))
    }
}

/// A command line whose words are made at run time.
struct Arguments(Vec<String>);

impl Arguments {
    fn as_args(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// Clients that go on.
#[derive(Debug)]
pub struct Load {
    process: Process,
}

impl Load {
    /// Ends it; what it carried.
    ///
    /// # Errors
    /// When it ended before, or does not end.
    pub fn finish(mut self) -> Result<Traffic> {
        ensure!(self.process.ended()?.is_none(), "the load ended early: {}", self.process.log());
        self.process.signal(Signal::SIGTERM);
        Traffic::parse(&self.process.wait_end(DEADLINE)?.success()?.stdout)
    }
}

/// What clients saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Answers by the node that gave them.
    pub nodes: BTreeMap<String, u64>,
    /// What failed, in the words of boto3; the first few.
    pub failures: Vec<String>,
}

impl Traffic {
    fn parse(log: &str) -> Result<Self> {
        let last = log.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).with_context(|| format!("not JSON: {last}"))?;
        let nodes = told["nodes"].as_object().context("no nodes")?.iter();
        let failures = told["failures"].as_array().context("no failures")?.iter();
        Ok(Self {
            nodes: nodes.map(|(node, answers)| (node.clone(), answers.as_u64().unwrap_or_default())).collect(),
            failures: failures.map(|failure| failure.as_str().unwrap_or_default().to_owned()).collect(),
        })
    }

    /// Every answer.
    pub fn answers(&self) -> u64 {
        self.nodes.values().sum()
    }

    /// The nodes that gave any.
    pub fn nodes(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }
}

/// A node: nginx that ends TLS in front of the store.
#[derive(Debug)]
pub struct Node {
    process: Process,
    prefix: PathBuf,
}

/// A request as a node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who connected.
    pub peer: IpAddr,
    /// `Host`.
    pub host: String,
    /// `X-Forwarded-For`; `-`: there was none.
    pub forwarded_for: String,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: String,
    /// `X-Forwarded-Port`.
    pub forwarded_port: String,
}

impl Node {
    /// Starts one. Beside objects it has `/files/…`, the lab's files, and `/node/…`, which is its name.
    ///
    /// # Errors
    /// When nginx is missing or the port is not opened.
    pub fn start(host: &Host, store: &Store, certificate: &Certificate) -> Result<Self> {
        require("nginx", "nginx-light")?;
        let prefix = host.folder().join(format!("{}-s3", host.name()));
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let file = prefix.join("nginx.conf");
        fs::write(&file, configuration(host, &prefix, store.address, certificate))
            .context("cannot write nginx.conf")?;
        let (file, folder) = (file.display().to_string(), prefix.display().to_string());
        let mut process = host.spawn(&["nginx", "-p", &folder, "-c", &file])?;
        host.wait_listening(&mut process, "tcp", PORT)?;
        Ok(Self { process, prefix })
    }

    /// From now on the node says whether it is well, whatever it does.
    ///
    /// # Errors
    /// When the file that tells it cannot be written.
    pub fn say_well(&self, well: bool) -> Result<()> {
        let mark = self.prefix.join("unwell");
        if well { fs::remove_file(&mark) } else { fs::write(&mark, "") }.context("cannot change what the node says")
    }

    /// Has it show another certificate, as after a renewal; requests are answered all the while.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn show(&mut self, host: &Host, store: &Store, certificate: &Certificate) -> Result<()> {
        let text = configuration(host, &self.prefix, store.address, certificate);
        fs::write(self.prefix.join("nginx.conf"), text).context("cannot write nginx.conf")?;
        self.process.signal(Signal::SIGHUP);
        Ok(())
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The requests answered so far whose path begins like this. One is logged after it has been answered, so wait
    /// for the one you look for.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn seen(&self, path: &str) -> Result<Vec<Seen>> {
        let log = fs::read_to_string(self.prefix.join("access.log")).context("cannot read the node's log")?;
        log.lines().filter(|line| line.starts_with(path)).map(Seen::parse).collect()
    }
}

impl Seen {
    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split('\t').skip(1).map(str::to_owned);
        let mut next = || words.next().with_context(|| format!("{line:?} is no line of the node's log"));
        Ok(Self {
            peer: next()?.parse()?,
            host: next()?,
            forwarded_for: next()?,
            forwarded_proto: next()?,
            forwarded_port: next()?,
        })
    }
}

fn configuration(host: &Host, prefix: &Path, store: SocketAddr, shown: &Certificate) -> String {
    let (name, files, prefix) = (host.name(), host.folder().display(), prefix.display());
    let (certificate, key) = (shown.certificate.display(), shown.key.display());
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr notice;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
           log_format seen '$uri\t$remote_addr\t$http_host\t$http_x_forwarded_for\t$http_x_forwarded_proto\t\
           $http_x_forwarded_port';\n\
           access_log access.log seen;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           server {{\n\
             listen {PORT} ssl http2;\n\
             ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             client_max_body_size 0;\n\
             keepalive_timeout 300s;\n\
             add_header X-Node {name} always;\n\
             location = {HEALTH} {{ access_log off; if (-f {prefix}/unwell) {{ return 503; }} return 200; }}\n\
             location /node/ {{ default_type text/plain; return 200 '{name}\\n'; }}\n\
             location /files/ {{ alias {files}/; limit_rate {RATE}; }}\n\
             location / {{\n\
               proxy_pass http://{store};\n\
               proxy_http_version 1.1;\n\
               proxy_set_header Host $http_host;\n\
               proxy_request_buffering off; proxy_buffering off;\n\
             }}\n\
           }}\n\
         }}\n"
    )
}
