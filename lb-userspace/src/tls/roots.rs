//! Whom this machine trusts: the system's certificate authorities and those of a file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootsError {
    /// The file is of no use.
    #[error("its ca_file {} cannot be used: {why}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why, for who wrote it.
        why: String,
    },
    /// There is no authority at all.
    #[error("this machine knows no certificate authority: install ca-certificates, or write ca_file")]
    None,
}

impl RootsError {
    pub(crate) fn unusable(file: &Path, why: impl Into<String>) -> Self {
        Self::Unusable { file: file.to_owned(), why: why.into() }
    }
}

/// The authorities of the system, and those in `ca_file`. Reads files.
pub(crate) fn trusted(ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, RootsError> {
    let system = system();
    let Some(file) = ca_file else {
        return if system.is_empty() { Err(RootsError::None) } else { Ok(system) };
    };
    let mut roots = RootCertStore::clone(&system);
    roots.extend(authorities(file)?.roots);
    Ok(Arc::new(roots))
}

/// The authorities in a PEM file; at least one.
pub(crate) fn authorities(file: &Path) -> Result<RootCertStore, RootsError> {
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates = certificates.map_err(|error| match error {
        pem::Error::Io(error) => RootsError::unusable(file, error.to_string()),
        error => RootsError::unusable(file, format!("it is no PEM file ({error})")),
    })?;
    if certificates.is_empty() {
        let why = "there is no certificate in it; a PEM file has BEGIN CERTIFICATE";
        return Err(RootsError::unusable(file, why));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| RootsError::unusable(file, error.to_string()))?;
    }
    Ok(roots)
}

/// The authorities of the system, read again after a while.
pub(crate) fn system() -> Arc<RootCertStore> {
    static READ: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, roots)) = read.as_ref()
        && when.elapsed() < SYSTEM_AGAIN
    {
        return Arc::clone(roots);
    }
    let mut roots = RootCertStore::empty();
    // One that cannot be read is left out: the others may be those that count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let roots = Arc::new(roots);
    *read = Some((Instant::now(), Arc::clone(&roots)));
    roots
}

/// The system's authorities are read again after this time, since updates change them.
pub(crate) const SYSTEM_AGAIN: Duration = Duration::from_secs(3600);
