//! Certificates as an administrator makes them: with openssl.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::lab::{Host, require};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    certificate: PathBuf,
    key: PathBuf,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When openssl is missing or fails.
    pub fn new(host: &Host, name: &str) -> Result<Self> {
        require("openssl", "openssl")?;
        let [certificate, key] = files(host, name);
        let subject = format!("/CN={name}");
        openssl(host, &["req", "-x509", "-days", "30", "-subj", &subject], &certificate, &key)?;
        Ok(Self { certificate, key })
    }

    /// The file for those who trust it.
    pub fn file(&self) -> &Path {
        &self.certificate
    }

    /// Issues a certificate for `name`, valid for that many days; -1: it has expired.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn issue(&self, host: &Host, name: &str, days: i32) -> Result<Certificate> {
        self.issue_for(host, &[name], days)
    }

    /// The same for several names, which may be addresses.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn issue_for(&self, host: &Host, names: &[&str], days: i32) -> Result<Certificate> {
        let name = names.first().context("a certificate has a name")?;
        let [certificate, key] = files(host, &format!("{name}-{days}"));
        let request = certificate.with_extension("csr");
        let kind = |name: &&str| if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
        let names: Vec<String> = names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
        let names = format!("subjectAltName={}", names.join(","));
        openssl(host, &["req", "-subj", "/CN=server", "-addext", &names], &request, &key)?;
        let [request, own, ours, our_key] =
            [&request, &certificate, &self.certificate, &self.key].map(|path| path.display().to_string());
        let days = days.to_string();
        let sign = ["openssl", "x509", "-req", "-in", &request, "-CA", &ours, "-CAkey", &our_key, "-days", &days];
        host.run(&[&sign[..], &["-copy_extensions", "copyall", "-out", &own]].concat())?.success()?;
        Ok(Certificate { certificate, key })
    }
}

impl Certificate {
    /// One that nobody vouches for.
    ///
    /// # Errors
    /// When openssl is missing or fails.
    pub fn self_signed(host: &Host, name: &str) -> Result<Self> {
        let Authority { certificate, key } = Authority::new(host, name)?;
        Ok(Self { certificate, key })
    }

    /// Writes both into a PKCS #12 archive, as certificates are bought and exported.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn write_pfx(&self, host: &Host, to: &Path, password: &str) -> Result<()> {
        let [certificate, key, to] = [&self.certificate, &self.key, to].map(|path| path.display().to_string());
        let password = format!("pass:{password}");
        let export = ["openssl", "pkcs12", "-export", "-in", &certificate, "-inkey", &key, "-passout", &password];
        host.run(&[&export[..], &["-out", &to]].concat())?.success().map(|_| ())
    }
}

fn files(host: &Host, name: &str) -> [PathBuf; 2] {
    ["pem", "key"].map(|kind| host.folder().join(format!("{}-{name}.{kind}", host.name().to_lowercase())))
}

fn openssl(host: &Host, command: &[&str], file: &Path, key: &Path) -> Result<()> {
    let (file, key) = (file.display().to_string(), key.display().to_string());
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", &key];
    host.run(&[&["openssl"], command, &new, &["-out", &file]].concat())?.success().map(|_| ())
}
