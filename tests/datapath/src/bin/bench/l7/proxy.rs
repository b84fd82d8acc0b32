//! The proxies, each with one thread, and what the kernel says that they cost.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};

use super::bed::{Bed, DEVICE, Place, Process, SERVERS};
use super::servers::{ECHO, HTTP, SOURCE};

/// Who carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This project's.
    Ours,
    Haproxy,
    Nginx,
}

impl Kind {
    /// All of them: ours, then its peers.
    pub(super) const ALL: [Self; 3] = [Self::Ours, Self::Haproxy, Self::Nginx];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "lb",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    const fn address(self) -> Ipv4Addr {
        match self {
            Self::Ours => Ipv4Addr::new(10, 7, 0, 11),
            Self::Haproxy => Ipv4Addr::new(10, 7, 0, 12),
            Self::Nginx => Ipv4Addr::new(10, 7, 0, 13),
        }
    }
}

/// What a proxy listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    Http,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
    Https,
    /// To the server that echoes.
    Echo,
    /// To the server that sends.
    Source,
}

impl Entrance {
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            // HAProxy and nginx of these versions want a port of its own for it.
            Self::Http2 => 81,
            Self::Https => 443,
            Self::Echo => ECHO,
            Self::Source => SOURCE,
        }
    }
}

/// A running proxy.
pub(super) struct Proxy {
    kind: Kind,
    process: Process,
    // Removed after the process has ended.
    _pins: Option<Pins>,
}

impl Proxy {
    pub(super) fn start(kind: Kind, bed: &Bed) -> Result<Self> {
        let mut process = match kind {
            Kind::Ours => ours(bed)?,
            Kind::Haproxy => {
                own_address(bed, kind)?;
                let file = bed.write("haproxy.cfg", &haproxy(bed))?.display().to_string();
                bed.start(Place::Proxy, &["haproxy", "-db", "-f", &file], "haproxy.log")?
            }
            Kind::Nginx => {
                own_address(bed, kind)?;
                let file = bed.write("nginx.conf", &nginx(bed))?.display().to_string();
                let folder = bed.file("").display().to_string();
                bed.start(Place::Proxy, &["nginx", "-p", &folder, "-c", &file], "nginx.log")?
            }
        };
        let entrances = [Entrance::Http, Entrance::Http2, Entrance::Https, Entrance::Echo, Entrance::Source];
        for entrance in entrances {
            bed.wait_listening(&mut process, kind.address(), entrance.port())?;
        }
        let proxy = Self { kind, process, _pins: (kind == Kind::Ours).then(Pins::new) };
        proxy.wait_serving(bed)?;
        Ok(proxy)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn at(&self, entrance: Entrance) -> SocketAddrV4 {
        SocketAddrV4::new(self.kind.address(), entrance.port())
    }

    /// Until health checks have found the servers.
    fn wait_serving(&self, bed: &Bed) -> Result<()> {
        let url = format!("http://{}/", self.at(Entrance::Http));
        let asked = ["curl", "--silent", "--fail", "--noproxy", "*", "--retry", "40", "--retry-delay", "1"];
        let words = [&asked[..], &["--retry-all-errors", "--max-time", "5", &url]].concat();
        bed.run(Place::Around, &words).with_context(|| format!("{}: {}", self.kind.name(), self.process.said()))?;
        Ok(())
    }

    /// CPU time of the process, its workers included.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("the system has no clock ticks")?;
        let ticks_per_second = f64::from(i32::try_from(ticks)?);
        let mut all = 0.0;
        for pid in self.pids()? {
            // User and system time are the 14th and 15th field; the second is a name that may hold anything.
            let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let fields: Vec<&str> = text.rsplit_once(')').context("a strange stat")?.1.split_whitespace().collect();
            for place in [11, 12] {
                all += fields.get(place).context("a short stat")?.parse::<f64>()?;
            }
        }
        Ok(Duration::from_secs_f64(all / ticks_per_second))
    }

    /// Memory that is in use, in kB.
    pub(super) fn memory(&self) -> Result<f64> {
        let mut all = 0.0;
        for pid in self.pids()? {
            let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
            // Not the pages of files: what is mapped of a program does not go to a connection.
            let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
            all += line.trim().trim_end_matches("kB").trim().parse::<f64>()?;
        }
        Ok(all)
    }

    /// The process and its children: an nginx works in a child.
    fn pids(&self) -> Result<Vec<u32>> {
        let own = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))
            .with_context(|| format!("{} is gone: {}", self.kind.name(), self.process.said()))?;
        let children: Result<Vec<u32>, _> = children.split_whitespace().map(str::parse).collect();
        Ok([vec![own], children?].concat())
    }
}

fn own_address(bed: &Bed, kind: Kind) -> Result<()> {
    bed.ip(&format!("address replace {}/32 dev {DEVICE}", kind.address()))
}

/// Where lbd pins its tables.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Self {
        Self(pins())
    }
}

fn pins() -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/lb-bench-l7-{}", std::process::id()))
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ours(bed: &Bed) -> Result<Process> {
    let lbd = std::env::var("LBD").context("LBD is not set: run this as `cargo xtask bench l7`")?;
    let file = bed.write("lb.yaml", &lb(bed))?.display().to_string();
    let [pins, socket, state] = [pins(), bed.file("lbd.sock"), bed.file("state")].map(|it| it.display().to_string());
    fs::create_dir_all(&state)?;
    let places = ["--config", &file, "--pin-dir", &pins, "--socket", &socket, "--state-dir", &state];
    ensure!(std::path::Path::new(&lbd).is_file(), "{lbd} is not built");
    bed.start(Place::Proxy, &[&[lbd.as_str(), "run"], &places[..]].concat(), "lbd.log")
}

fn lb(bed: &Bed) -> String {
    let vip = Kind::Ours.address();
    let (certificate, key) = (bed.file("certificate.pem"), bed.file("key.pem"));
    let (plain, h2, tls) = (Entrance::Http.port(), Entrance::Http2.port(), Entrance::Https.port());
    format!(
        "version: 1\n\
         node:\n  \
           interfaces: [{{device: {DEVICE}}}]\n  \
           proxy: {{threads: 1}}\n\
         certificates:\n  bench: {{pem: {}, key: {}}}\n\
         defaults:\n  timeouts: {{client: 10m, server: 10m, keep_alive: 10m}}\n\
         virtual_services:\n  \
         - name: web\n    \
           address: {vip}\n    \
           ports: [{plain}, {h2}]\n    \
           mode: l7-http\n    \
           tls: {{port: {tls}, certificate: bench}}\n    \
           real_servers: [{{name: one, address: {SERVERS}, port: {HTTP}}}]\n  \
         - name: echo\n    \
           address: {vip}\n    \
           ports: [{ECHO}]\n    \
           mode: l7-tcp\n    \
           real_servers: [{{name: one, address: {SERVERS}}}]\n  \
         - name: source\n    \
           address: {vip}\n    \
           ports: [{SOURCE}]\n    \
           mode: l7-tcp\n    \
           real_servers: [{{name: one, address: {SERVERS}}}]\n",
        certificate.display(),
        key.display()
    )
}

/// Bulk alone is always spliced, through larger pipes than the system's, and connections to servers are shared by all clients (`http-reuse always`). The fields added
/// are those that lb adds.
fn haproxy(bed: &Bed) -> String {
    let own = Kind::Haproxy.address();
    let both = bed.file("both.pem");
    let (plain, h2, tls) = (Entrance::Http.port(), Entrance::Http2.port(), Entrance::Https.port());
    format!(
        "global\n  \
           nbthread 1\n  \
           maxconn 7500\n  \
           tune.pipesize 524288\n\
         defaults\n  \
           timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n  timeout http-keep-alive 10m\n\
         frontend web\n  \
           mode http\n  \
           bind {own}:{plain} backlog 65535\n  \
           bind {own}:{h2} proto h2\n  \
           bind {own}:{tls} backlog 65535 ssl crt {} alpn h2,http/1.1\n  \
           option forwardfor\n  \
           http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}\n  \
           http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n  \
           http-request set-header X-Forwarded-Port %[dst_port]\n  \
           http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  \
           default_backend web\n\
         backend web\n  \
           mode http\n  \
           http-reuse always\n  \
           server one {SERVERS}:{HTTP} check\n\
         listen echo\n  \
           mode tcp\n  bind {own}:{ECHO} backlog 65535\n  server one {SERVERS}:{ECHO} check\n\
         listen source\n  \
           mode tcp\n  option splice-request\n  option splice-response\n  \
           bind {own}:{SOURCE}\n  server one {SERVERS}:{SOURCE} check\n",
        both.display()
    )
}

/// Connections to servers are kept (`keepalive`), and nothing is written to disk.
fn nginx(bed: &Bed) -> String {
    let own = Kind::Nginx.address();
    let (certificate, key) = (bed.file("certificate.pem"), bed.file("key.pem"));
    let (plain, h2, tls) = (Entrance::Http.port(), Entrance::Http2.port(), Entrance::Https.port());
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr error;\n\
         events {{ worker_connections 15000; multi_accept on; }}\n\
         http {{\n\
           access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;\n\
           ssl_session_cache shared:tls:10m;\n\
           upstream one {{ server {SERVERS}:{HTTP}; keepalive 256; keepalive_requests 1000000000; }}\n\
           server {{\n\
             listen {own}:{plain} reuseport backlog=65535;\n\
             listen {own}:{h2} http2 reuseport;\n\
             listen {own}:{tls} ssl http2 reuseport backlog=65535;\n\
             location / {{\n\
               proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection '';\n\
               proxy_set_header Host $host;\n\
               proxy_set_header X-Forwarded-For $remote_addr;\n\
               proxy_set_header X-Forwarded-Proto $scheme;\n\
               proxy_set_header X-Forwarded-Port $server_port;\n\
               proxy_set_header X-Forwarded-Host $host;\n\
               proxy_buffers 16 32k; proxy_max_temp_file_size 0;\n\
             }}\n\
           }}\n\
         }}\n\
         stream {{\n\
           server {{ listen {own}:{ECHO} reuseport backlog=65535; proxy_pass {SERVERS}:{ECHO}; proxy_timeout 10m; }}\n\
           server {{ listen {own}:{SOURCE} reuseport; proxy_pass {SERVERS}:{SOURCE}; proxy_timeout 10m;\n\
                     proxy_buffer_size 64k; }}\n\
         }}\n",
        certificate.display(),
        key.display()
    )
}
