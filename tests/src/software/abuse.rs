//! Programs that misbehave: clients, a real server, requests that hide others. And a bystander that does not.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::python;
use crate::lab::{Host, Process, require, wait_until};

const CLIENTS: &str = include_str!("../../data/abuse.py");
const SERVER: &str = include_str!("../../data/odd_server.py");
const SMUGGLING: &str = include_str!("../../data/smuggling.py");
/// Of the real servers that behave well.
pub const HTTP_PORT: u16 = 8080;
const ODD_PORT: u16 = 8090;
const DEADLINE: Duration = Duration::from_secs(30);

/// A well-behaved nginx that answers with the path, and remembers the first line of each request.
#[derive(Debug)]
pub struct Echo {
    _process: Process,
    log: PathBuf,
}

impl Echo {
    /// nginx.
    ///
    /// # Errors
    /// When it is missing or the port is not opened.
    pub fn nginx(host: &Host) -> Result<Self> {
        require("nginx", "nginx-light")?;
        let prefix = host.folder().join(format!("{}-echo", host.name()));
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let file = prefix.join("nginx.conf");
        fs::write(&file, nginx(HTTP_PORT)).context("cannot write nginx.conf")?;
        let (file, folder) = (file.display().to_string(), prefix.display().to_string());
        let mut process = host.spawn(&["nginx", "-p", &folder, "-c", &file])?;
        host.wait_listening(&mut process, "tcp", HTTP_PORT)?;
        Ok(Self { _process: process, log: prefix.join("access.log") })
    }

    /// gunicorn.
    ///
    /// # Errors
    /// When the Python packages are missing or the port is not opened.
    pub fn gunicorn(host: &Host) -> Result<Self> {
        let gunicorn = python::in_environment("gunicorn")?;
        python::script(host, "echo_app.py", APPLICATION)?;
        let log = host.folder().join(format!("{}-gunicorn-requests.log", host.name()));
        let (folder, bind) = (host.folder().display().to_string(), format!("{}:{HTTP_PORT}", host.v4()));
        let to = log.display().to_string();
        let mut process = host.spawn(&[
            &gunicorn,
            "--chdir",
            &folder,
            "--bind",
            &bind,
            "--threads",
            "4",
            "--keep-alive",
            "30",
            "--no-control-socket",
            "--access-logfile",
            &to,
            "--access-logformat",
            "%(r)s",
            "echo_app:application",
        ])?;
        process.wait_ready("gunicorn listens", DEADLINE, || host.listens("tcp", HTTP_PORT))?;
        Ok(Self { _process: process, log })
    }

    /// The first lines of the requests answered so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// A real server that misbehaves as paths say.
#[derive(Debug)]
pub struct OddServer {
    _process: Process,
    address: SocketAddr,
}

impl OddServer {
    /// Starts one.
    ///
    /// # Errors
    /// When the port is not opened.
    pub fn start(host: &Host) -> Result<Self> {
        let script = python::script(host, "odd_server.py", SERVER)?.display().to_string();
        let address = SocketAddr::new(host.v4(), ODD_PORT);
        let (ip, port) = (address.ip().to_string(), ODD_PORT.to_string());
        let mut process = host.spawn(&[python::DEBIAN, &script, &ip, &port])?;
        process.wait_ready("the odd server listens", DEADLINE, || host.listens("tcp", ODD_PORT))?;
        Ok(Self { _process: process, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often each request has come: `POST /path?1`.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn seen(&self, client: &Host) -> Result<BTreeMap<String, u64>> {
        let text = super::nginx::fetch(client, self.address, "/seen")?;
        let requests: Vec<String> = serde_json::from_str(&text).context("no list of requests")?;
        let mut seen = BTreeMap::new();
        for request in requests {
            *seen.entry(request).or_default() += 1;
        }
        Ok(seen)
    }
}

/// Runs misbehaving clients to their end; what became of each.
///
/// # Errors
/// When the Python packages are missing, or it does not end.
pub fn misbehave(client: &Host, vip: IpAddr, work: &str) -> Result<Value> {
    let output = client.run(&command(client, "abuse.py", CLIENTS, vip)?.with(&[work]).as_args())?.success()?;
    serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {output}"))
}

/// Sends the requests that hide others, each followed by a marker; what became of them.
///
/// # Errors
/// When the Python packages are missing, or it does not end.
pub fn smuggle(client: &Host, service: SocketAddr) -> Result<Value> {
    let port = service.port().to_string();
    let arguments = command(client, "smuggling.py", SMUGGLING, service.ip())?.with(&[&port]);
    let output = client.run(&arguments.as_args())?.success()?;
    serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {output}"))
}

/// Clients that go on until they are told to stop.
#[derive(Debug)]
pub struct Standing(Process);

impl Standing {
    /// One that asks the bystander's service again and again.
    ///
    /// # Errors
    /// When the Python packages are missing, or the first request fails.
    pub fn bystander(client: &Host, vip: IpAddr) -> Result<Self> {
        Self::start(client, vip, &["bystander"], "begun")
    }

    /// So many connections on which nothing is said.
    ///
    /// # Errors
    /// When the Python packages are missing.
    pub fn idle(client: &Host, vip: IpAddr, count: usize) -> Result<Self> {
        Self::start(client, vip, &["idle", &count.to_string()], "open")
    }

    fn start(client: &Host, vip: IpAddr, work: &[&str], begun: &str) -> Result<Self> {
        let mut process = client.spawn(&command(client, "abuse.py", CLIENTS, vip)?.with(work).as_args())?;
        let log = process.log_path().to_owned();
        process.wait_ready("the clients have begun", DEADLINE, || {
            ensure!(fs::read_to_string(&log)?.contains(begun), "they have not begun");
            Ok(())
        })?;
        Ok(Self(process))
    }

    /// Ends it; what it has met.
    ///
    /// # Errors
    /// When it ended before, or does not end.
    pub fn finish(mut self) -> Result<Value> {
        ensure!(self.0.ended()?.is_none(), "it ended early: {}", self.0.log());
        self.0.signal(Signal::SIGTERM);
        let output = self.0.wait_end(DEADLINE)?.success()?;
        let last = output.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("not JSON: {output}"))
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Open files.
    pub files: usize,
    /// Memory in use, in kB.
    pub memory: u64,
}

impl Held {
    /// By the process of this number.
    ///
    /// # Errors
    /// When it is gone.
    pub fn by(pid: u32) -> Result<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let files = fs::read_dir(folder.join("fd")).context("the process is gone")?.count();
        let status = fs::read_to_string(folder.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let memory = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(Self { files, memory })
    }

    /// Waits until the process holds as many files again as before; what it holds then.
    ///
    /// # Errors
    /// When it keeps them.
    pub fn again(self, pid: u32) -> Result<Self> {
        wait_until("lbd has closed what it had opened", DEADLINE, || {
            let now = Self::by(pid)?;
            ensure!(now.files <= self.files + FILES_KEPT, "{now:?}, and {self:?} before");
            Ok(now)
        })
    }
}

/// Connections to real servers that wait for a request, pipes of the threads.
const FILES_KEPT: usize = 24;

struct Arguments(Vec<String>);

impl Arguments {
    fn with(mut self, more: &[&str]) -> Self {
        self.0.extend(more.iter().map(|word| (*word).to_owned()));
        self
    }

    fn as_args(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn command(host: &Host, name: &str, text: &str, vip: IpAddr) -> Result<Arguments> {
    let script = python::script(host, name, text)?.display().to_string();
    Ok(Arguments(vec![python::in_environment("python")?, "-u".to_owned(), script, vip.to_string()]))
}

fn nginx(port: u16) -> String {
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr notice;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           log_format line '$request';\n\
           access_log access.log line;\n\
           default_type text/plain;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           server {{\n\
             listen {port};\n\
             keepalive_requests 100000;\n\
             location / {{ return 200 \"$request_uri\\n\"; }}\n\
           }}\n\
         }}\n"
    )
}

/// Says the path back, after it has read the body.
const APPLICATION: &str = r#"
def application(environ, start_response):
    environ["wsgi.input"].read()
    body = environ["RAW_URI"].encode() + b"\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"#;
