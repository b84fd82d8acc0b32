//! Whom checks trust: the system's certificate authorities and those of a file.
//!
//! In: the name of a file. Out: a configuration for handshakes, made once and again when the file has changed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lb_core::health::{Detail, Failure};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

use super::any::AnyCertificate;

/// Configurations for handshakes, shared by all checks that trust the same.
#[derive(Debug, Default)]
pub(in crate::health) struct Trust {
    any: OnceLock<Arc<ClientConfig>>,
    verifying: Mutex<HashMap<Option<PathBuf>, Verifying>>,
}

#[derive(Clone, Debug)]
struct Verifying {
    config: Arc<ClientConfig>,
    stamp: Option<Stamp>,
    made: Instant,
}

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Trust {
    /// Takes any certificate.
    pub(super) fn any(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(config) = self.any.get() {
            return Ok(Arc::clone(config));
        }
        let provider = provider();
        let verifier = AnyCertificate(provider.signature_verification_algorithms);
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| local(error.to_string()))?.dangerous();
        let config = builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
        Ok(Arc::clone(self.any.get_or_init(|| finish(config))))
    }

    /// Trusts the system's authorities, and those in `ca_file`. Reads files.
    pub(super) fn verifying(&self, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
        let stamp = ca_file.map(stamp).transpose()?;
        let key = ca_file.map(Path::to_owned);
        if let Some(known) = self.known(&key)
            && known.stamp == stamp
            && known.made.elapsed() < SYSTEM_AGAIN
        {
            return Ok(known.config);
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| local(error.to_string()))?;
        let config = finish(builder.with_root_certificates(roots(ca_file)?).with_no_client_auth());
        let mut all = self.verifying.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_KEPT {
            all.clear();
        }
        all.insert(key, Verifying { config: Arc::clone(&config), stamp, made: Instant::now() });
        Ok(config)
    }

    fn known(&self, key: &Option<PathBuf>) -> Option<Verifying> {
        self.verifying.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn stamp(file: &Path) -> Result<Stamp, Failure> {
    let data = fs::metadata(file).map_err(|error| unreadable(file, &error.to_string()))?;
    Ok(Stamp { inode: data.ino(), size: data.size(), modified: (data.mtime(), data.mtime_nsec()) })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read is left out: the others may be those that count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let own: Result<Vec<_>, pem::Error> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        let own = own.map_err(|error| match error {
            pem::Error::Io(error) => unreadable(file, &error.to_string()),
            error => unreadable(file, &format!("it is no PEM file ({error})")),
        })?;
        if own.is_empty() {
            return Err(unreadable(file, "there is no certificate in it; a PEM file has BEGIN CERTIFICATE"));
        }
        for certificate in own {
            roots.add(certificate).map_err(|error| unreadable(file, &error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(local("this machine knows no certificate authority: install ca-certificates, or write ca_file"));
    }
    Ok(roots)
}

fn unreadable(file: &Path, why: &str) -> Failure {
    local(format!("its ca_file {} cannot be used: {why}", file.display()))
}

fn local(why: impl AsRef<str>) -> Failure {
    Failure::Local(Detail::new(why))
}

/// The system's authorities are read again after this time, since updates change them.
const SYSTEM_AGAIN: Duration = Duration::from_secs(3600);

/// Different files; with more than that in use they are read again and again.
const MOST_KEPT: usize = 64;
