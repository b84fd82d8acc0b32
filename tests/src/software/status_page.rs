//! nginx with a status page over HTTP and HTTPS, as the media servers of the deployments have one.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::certificate::Certificate;
use crate::lab::{Host, Process, require};

/// Where the page is.
pub const PATH: &str = "/admin/status";
/// Over HTTP.
pub const HTTP_PORT: u16 = 8080;
/// Over HTTPS.
pub const HTTPS_PORT: u16 = 8443;

/// A running nginx.
#[derive(Debug)]
pub struct StatusPage {
    process: Process,
    prefix: PathBuf,
}

impl StatusPage {
    /// Starts one that says `Healthy`, with a certificate that nobody vouches for.
    ///
    /// # Errors
    /// When nginx or openssl is missing, or a port is not opened.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_with(host, &Certificate::self_signed(host, "status")?)
    }

    /// Starts one that says `Healthy`, with this certificate.
    ///
    /// # Errors
    /// As [`StatusPage::start`].
    pub fn start_with(host: &Host, certificate: &Certificate) -> Result<Self> {
        require("nginx", "nginx-light")?;
        let prefix = host.folder().join(format!("{}-status", host.name()));
        fs::create_dir_all(prefix.join("admin")).with_context(|| format!("cannot make {}", prefix.display()))?;
        let file = prefix.join("nginx.conf");
        fs::write(&file, configuration(certificate)).context("cannot write nginx.conf")?;
        let (file, folder) = (file.display().to_string(), prefix.display().to_string());
        let page = prefix.join("admin/status");
        fs::write(&page, "Healthy\n").context("cannot write the status page")?;
        let mut process = host.spawn(&["nginx", "-p", &folder, "-c", &file])?;
        for port in [HTTP_PORT, HTTPS_PORT] {
            host.wait_listening(&mut process, "tcp", port)?;
        }
        Ok(Self { process, prefix })
    }

    /// What the page says from now on; `None`: there is none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn say(&self, text: Option<&str>) -> Result<()> {
        let page = self.prefix.join("admin/status");
        match text {
            Some(text) => fs::write(&page, text),
            None => fs::remove_file(&page),
        }
        .with_context(|| format!("cannot change {}", page.display()))
    }

    /// Has it use another certificate, as after a renewal.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn show(&mut self, certificate: &Certificate) -> Result<()> {
        fs::write(self.prefix.join("nginx.conf"), configuration(certificate)).context("cannot write nginx.conf")?;
        self.process.signal(Signal::SIGHUP);
        Ok(())
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

fn configuration(Certificate { certificate, key }: &Certificate) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           server {{\n\
             listen {HTTP_PORT}; listen [::]:{HTTP_PORT};\n\
             listen {HTTPS_PORT} ssl; listen [::]:{HTTPS_PORT} ssl;\n\
             ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             root .;\n\
           }}\n\
         }}\n"
    )
}
