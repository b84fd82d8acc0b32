//! Files of any form, brought into the one that the configuration names.
//!
//! In: certificates and a key in PEM, DER or PFX. Out: the chain in order and the key, as PEM.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lb_core::view::CertificateView;
use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::certificates::Held;
use super::identity::Identity;
use super::pem as text;
use super::pfx;
use super::source::Source;
use crate::tls::provider;

/// A certificate with its key and chain.
#[derive(Debug)]
pub struct Bundle {
    /// The certificate, then those that signed it.
    pub chain: String,
    /// Its key.
    pub key: Zeroizing<String>,
    held: Held,
}

/// Reads files, and finds what belongs together.
///
/// # Errors
/// What is wrong with the first file that is of no use, or why they do not belong together.
pub fn bundle(files: &[PathBuf], password: Option<&str>) -> Result<Bundle, String> {
    let (mut certificates, mut keys) = (Vec::new(), Vec::new());
    for file in files {
        let (_, bytes) = Source::read(file)?;
        let (more, other) = read(&bytes, password, file)?;
        certificates.extend(more);
        keys.extend(other);
    }
    if certificates.is_empty() {
        return Err("there is no certificate in these files".to_owned());
    }
    if keys.is_empty() {
        return Err("there is no private key in these files: name the file with it too".to_owned());
    }
    let spare: Vec<_> = keys.iter().map(PrivateKeyDer::clone_key).collect();
    let (identity, key) = Identity::with_key(&certificates, keys, None)?;
    let chain = identity.chain().iter().map(|der| encoded("CERTIFICATE", der)).collect();
    let key = match spare.get(key) {
        Some(PrivateKeyDer::Pkcs1(der)) => encoded("RSA PRIVATE KEY", der.secret_pkcs1_der()),
        Some(PrivateKeyDer::Sec1(der)) => encoded("EC PRIVATE KEY", der.secret_sec1_der()),
        Some(PrivateKeyDer::Pkcs8(der)) => encoded("PRIVATE KEY", der.secret_pkcs8_der()),
        _ => return Err("its key is of a form that cannot be written".to_owned()),
    };
    Ok(Bundle { chain, key: Zeroizing::new(key), held: Held::of(identity) })
}

fn read(
    bytes: &[u8],
    password: Option<&str>,
    file: &Path,
) -> Result<(Vec<CertificateDer<'static>>, Vec<PrivateKeyDer<'static>>), String> {
    if !text::looks_like_der(bytes) {
        // One of both is enough.
        return match (text::certificates(bytes, file), text::key(bytes, file)) {
            (Ok(certificates), Ok(key)) => Ok((certificates, vec![key])),
            (Ok(certificates), Err(_)) => Ok((certificates, Vec::new())),
            (Err(_), Ok(key)) => Ok((Vec::new(), vec![key])),
            (Err(_), Err(why)) if text::contains(bytes, "PRIVATE KEY") => Err(why),
            (Err(why), Err(_)) => Err(why),
        };
    }
    if X509Certificate::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty()) {
        return Ok((vec![CertificateDer::from(bytes.to_vec())], Vec::new()));
    }
    // What it takes for a key may be anything that begins like one.
    if let Ok(key) = PrivateKeyDer::try_from(bytes.to_vec())
        && provider().key_provider.load_private_key(key.clone_key()).is_ok()
    {
        return Ok((Vec::new(), vec![key]));
    }
    pfx::open(bytes, password, file)
}

fn encoded(tag: &str, der: &[u8]) -> String {
    encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

impl Bundle {
    /// What there is to see of it.
    #[must_use]
    pub fn view(&self, now: SystemTime) -> CertificateView {
        self.held.view("", Vec::new(), super::certificates::unix(now))
    }

    /// What is to be done about it, as what follows its name.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        self.held.warnings(super::certificates::unix(now)).iter().map(|warning| format!("it {warning}")).collect()
    }
}
