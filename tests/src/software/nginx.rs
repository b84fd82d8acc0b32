//! nginx: a status page, a page that says who answered, and RTMP (libnginx-mod-rtmp).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::lab::{Host, Process, require};

/// RTMP.
pub const RTMP_PORT: u16 = 1935;
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    access_log: PathBuf,
}

impl Nginx {
    /// Starts one that answers `/admin/status` with `Healthy` and anything else with
    /// `NAME CLIENT-ADDRESS` at `http_port`, and takes RTMP streams for the application `live`.
    ///
    /// # Errors
    /// When nginx or its RTMP module is missing, or a port is not opened.
    pub fn start(host: &Host, http_port: u16) -> Result<Self> {
        require("nginx", "nginx-light libnginx-mod-rtmp")?;
        anyhow::ensure!(
            std::path::Path::new(RTMP_MODULE).exists(),
            "nginx has no RTMP module: apt-get install -y --no-install-recommends libnginx-mod-rtmp"
        );
        let prefix = host.folder().join(format!("{}-nginx", host.name()));
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let access_log = prefix.join("access.log");
        let file = prefix.join("nginx.conf");
        fs::write(&file, configuration(host.name(), http_port)).context("cannot write nginx.conf")?;
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
    let output =
        client.run(&["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "5", &url])?;
    Ok(output.success()?.stdout)
}

fn configuration(name: &str, http_port: u16) -> String {
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
             location / {{ return 200 '{name} $remote_addr\\n'; }}\n\
           }}\n\
         }}\n\
         rtmp {{ server {{ listen {RTMP_PORT}; application live {{ live on; access_log off; }} }} }}\n"
    )
}
