//! Whom checks trust: the system's certificate authorities and those of a file.
//!
//! In: the name of a file. Out: a configuration for handshakes, made once and again when the file has changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use lb_core::health::{Detail, Failure};
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::tls::{AnyCertificate, RootsError, SYSTEM_AGAIN, Stamp, provider, trusted};

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
        let stamp = ca_file.map(|file| {
            Stamp::of(file).map_err(|error| local(RootsError::unusable(file, error.to_string()).to_string()))
        });
        let stamp = stamp.transpose()?;
        let key = ca_file.map(Path::to_owned);
        if let Some(known) = self.known(&key)
            && known.stamp == stamp
            && known.made.elapsed() < SYSTEM_AGAIN
        {
            return Ok(known.config);
        }
        let roots = trusted(ca_file).map_err(|error| local(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| local(error.to_string()))?;
        let config = finish(builder.with_root_certificates(roots).with_no_client_auth());
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

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn local(why: impl AsRef<str>) -> Failure {
    Failure::Local(Detail::new(why))
}

/// Different files; with more than that in use they are read again and again.
const MOST_KEPT: usize = 64;
