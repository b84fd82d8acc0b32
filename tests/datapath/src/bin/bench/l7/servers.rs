//! The real servers: nginx for HTTP, for TCP a part of this program.

use anyhow::{Context as _, Result};

use super::bed::{Bed, Place, Process, SERVERS, generator};

/// HTTP: `/` is small, `/large` has 1 MB.
pub(super) const HTTP: u16 = 8080;
/// Sends back what it gets.
pub(super) const ECHO: u16 = 9000;
/// Sends as fast as it can.
pub(super) const SOURCE: u16 = 9001;

/// Bytes of `/large`.
const LARGE: usize = 1 << 20;

pub(super) fn start(bed: &Bed) -> Result<Vec<Process>> {
    let file = bed.file("large");
    std::fs::write(&file, vec![b'x'; LARGE]).with_context(|| format!("writing {}", file.display()))?;
    let folder = bed.file("").display().to_string();
    let configuration = bed.write("server.conf", &http(&folder))?.display().to_string();
    let mut nginx = bed.start(Place::Around, &["nginx", "-p", &folder, "-c", &configuration], "server.log")?;
    bed.wait_listening(&mut nginx, SERVERS, HTTP)?;
    let mut processes = vec![nginx];
    for (what, port) in [("echo", ECHO), ("source", SOURCE)] {
        let words = generator(&[what, &format!("{SERVERS}:{port}")])?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut process = bed.start(Place::Around, &words, &format!("{what}.log"))?;
        bed.wait_listening(&mut process, SERVERS, port)?;
        processes.push(process);
    }
    Ok(processes)
}

fn http(folder: &str) -> String {
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid server.pid;\n\
         error_log stderr error;\n\
         events {{ worker_connections 15000; multi_accept on; }}\n\
         http {{\n\
           access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           default_type text/plain;\n\
           server {{\n\
             listen {SERVERS}:{HTTP} backlog=65535;\n\
             location = / {{ return 200 'a small answer\\n'; }}\n\
             location = /large {{ root {folder}; }}\n\
           }}\n\
         }}\n"
    )
}
