//! nginx: a status page, a page that says who answered, and RTMP (libnginx-mod-rtmp).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::files::RandomFile;
use crate::lab::{Host, Output, Process, require};

/// RTMP.
pub const RTMP_PORT: u16 = 1935;
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// No proxy of this machine is for the lab, and nobody vouches for its certificates.
pub(super) const CURL: &[&str] = &["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--insecure"];

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    access_log: PathBuf,
}

impl Nginx {
    /// Starts one that answers `/admin/status` with `Healthy`, `/numbered/…` with `NAME PATH`, `/files/…`
    /// with a file of the lab's folder and anything else with `NAME CLIENT-ADDRESS` at `http_port`,
    /// and takes RTMP streams for the application `live`.
    ///
    /// # Errors
    /// When nginx or its RTMP module is missing, or a port is not opened.
    pub fn start(host: &Host, http_port: u16) -> Result<Self> {
        require("nginx", "nginx-light libnginx-mod-rtmp")?;
        ensure!(
            std::path::Path::new(RTMP_MODULE).exists(),
            "nginx has no RTMP module: apt-get install -y --no-install-recommends libnginx-mod-rtmp"
        );
        let prefix = host.folder().join(format!("{}-nginx", host.name()));
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let access_log = prefix.join("access.log");
        let file = prefix.join("nginx.conf");
        fs::write(&file, configuration(host, http_port)).context("cannot write nginx.conf")?;
        let (file, folder) = (file.display().to_string(), prefix.display().to_string());
        let mut process = host.spawn(&["nginx", "-p", &folder, "-c", &file])?;
        for port in [http_port, RTMP_PORT] {
            host.wait_listening(&mut process, "tcp", port)?;
        }
        Ok(Self { process, access_log })
    }

    /// The client addresses of the requests logged so far, in order. A request is logged after it has
    /// been answered, so wait for the one you look for.
    ///
    /// # Errors
    /// When the access log cannot be read.
    pub fn clients(&self) -> Result<Vec<IpAddr>> {
        let text = fs::read_to_string(&self.access_log)
            .with_context(|| format!("cannot read {}", self.access_log.display()))?;
        text.lines().map(|line| line.parse().with_context(|| format!("{line:?} is no address"))).collect()
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Fetches a page with curl on a new connection; the body.
///
/// # Errors
/// When curl is missing or fails.
pub fn fetch(client: &Host, server: SocketAddr, path: &str) -> Result<String> {
    require("curl", "curl")?;
    let url = format!("http://{server}{path}");
    Ok(client.run(&[CURL, &["--max-time", "5", &url]].concat())?.success()?.stdout)
}

/// Fetches `/numbered/1` to `/numbered/COUNT` with curl, each on a connection of its own, `parallel` at
/// a time; the bodies, in the order of the numbers.
///
/// # Errors
/// When curl is missing, a request fails, or an answer is another's.
pub fn fetch_numbered(client: &Host, server: SocketAddr, count: usize, parallel: usize) -> Result<Vec<String>> {
    numbered(client, &format!("http://{server}"), count, parallel)
}

/// The same from a site such as `https://192.0.2.1:8443`.
///
/// # Errors
/// As for [`fetch_numbered`].
pub fn numbered(client: &Host, site: &str, count: usize, parallel: usize) -> Result<Vec<String>> {
    require("curl", "curl")?;
    let url = format!("{site}/numbered/[1-{count}]");
    let (most, head) = (parallel.to_string(), "Connection: close");
    // Over TLS it would be HTTP/2 otherwise, and one connection.
    let parallel = ["--http1.1", "--parallel", "--parallel-immediate", "--parallel-max", &most, "--header", head];
    let output = client.run(&[CURL, &parallel, &["--max-time", "50", &url]].concat())?.success()?;
    let mut bodies = vec![String::new(); count];
    for line in output.stdout.lines() {
        let (name, number) = line.split_once(" /numbered/").with_context(|| format!("{line:?} is no answer"))?;
        let at = number.parse::<usize>()?.checked_sub(1);
        let body = at.and_then(|at| bodies.get_mut(at)).with_context(|| format!("{number} was not asked for"))?;
        ensure!(body.is_empty(), "{number} was answered twice");
        name.clone_into(body);
    }
    let unanswered = bodies.iter().filter(|body| body.is_empty()).count();
    ensure!(unanswered == 0, "{unanswered} of {count} requests were not answered");
    Ok(bodies)
}

/// Writes a file of random bytes for `/files/NAME`; its SHA-256.
///
/// # Errors
/// When there is no room for it.
pub fn write_file(host: &Host, name: &str, bytes: u64) -> Result<String> {
    Ok(RandomFile::write(host, name, bytes)?.hash)
}

/// Fetches a file with curl; the SHA-256 of what came.
///
/// # Errors
/// When curl is missing or fails.
pub fn fetch_hashed(client: &Host, server: SocketAddr, name: &str) -> Result<String> {
    hashed(client, &format!("http://{server}/files/{name}"))
}

/// The same by URL.
///
/// # Errors
/// As for [`fetch_hashed`].
pub fn hashed(client: &Host, url: &str) -> Result<String> {
    require("curl", "curl")?;
    let hashed = "set -o pipefail; \"$@\" | sha256sum";
    let command = [&["bash", "-c", hashed, "bash"], CURL, &["--max-time", "50", url]].concat();
    first_word(client.run(&command)?)
}

fn first_word(output: Output) -> Result<String> {
    let output = output.success()?;
    Ok(output.stdout.split_whitespace().next().context("it said nothing")?.to_owned())
}

fn configuration(host: &Host, http_port: u16) -> String {
    let (name, files) = (host.name(), host.folder().display());
    format!(
        "load_module {RTMP_MODULE};\n\
         daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           log_format client '$remote_addr';\n\
           access_log access.log client;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           server {{\n\
             listen {http_port}; listen [::]:{http_port};\n\
             location = /admin/status {{ access_log off; return 200 'Healthy'; }}\n\
             location /numbered/ {{ access_log off; return 200 '{name} $uri\\n'; }}\n\
             location /files/ {{ alias {files}/; }}\n\
             location / {{ return 200 '{name} $remote_addr\\n'; }}\n\
           }}\n\
         }}\n\
         rtmp {{ server {{ listen {RTMP_PORT}; application live {{ live on; access_log off; }} }} }}\n"
    )
}
