//! Certificates and keys in PEM (RFC 7468).

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a file, at least one.
pub(super) fn certificates(bytes: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| broken(file, &error))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let file = file.display();
    Err(if looks_like_der(bytes) {
        format!(
            "{file} is not PEM but DER or PKCS #12: write it as `pfx:` if it is an archive, else convert it with `openssl \
             x509 -inform der -in {file} -out {file}.pem`"
        )
    } else if contains(bytes, "BEGIN TRUSTED CERTIFICATE") {
        format!(
            "{file} is of a kind that only OpenSSL knows; convert it with `openssl x509 -in {file} -out {file}.pem`"
        )
    } else if contains(bytes, "BEGIN PKCS7") {
        format!("{file} is PKCS #7; convert it with `openssl pkcs7 -print_certs -in {file} -out {file}.pem`")
    } else if contains(bytes, "BEGIN CERTIFICATE REQUEST") || contains(bytes, "BEGIN NEW CERTIFICATE REQUEST") {
        format!("{file} is a signing request; put there the certificate that the authority has made from it")
    } else {
        format!("there is no certificate in {file}: a PEM file has a line BEGIN CERTIFICATE")
    })
}

/// The first private key of a file.
pub(super) fn key(bytes: &[u8], file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let encrypted = contains(bytes, "BEGIN ENCRYPTED PRIVATE KEY") || contains(bytes, "Proc-Type: 4,ENCRYPTED");
    match PrivateKeyDer::from_pem_slice(bytes) {
        _ if encrypted => {}
        Ok(key) => return Ok(key),
        Err(pem::Error::NoItemsFound) => {}
        Err(error) => return Err(broken(file, &error)),
    }
    let file = file.display();
    Err(if encrypted {
        format!(
            "the key in {file} is encrypted, and nobody is there to type its passphrase when lbd starts: remove it with \
             `openssl pkey -in {file} -out {file}.plain`, and protect the file (chmod 600)"
        )
    } else if looks_like_der(bytes) {
        format!("{file} is not PEM but DER; convert it with `openssl pkey -inform der -in {file} -out {file}.pem`")
    } else if pem::from_buf(&mut &*bytes).is_ok_and(|section| section.is_some_and(|(kind, _)| is_public(kind))) {
        format!(
            "there is no private key in {file}, but something public; name the file with BEGIN PRIVATE KEY as `key:`"
        )
    } else {
        format!("there is no private key in {file}: a PEM file has a line BEGIN PRIVATE KEY")
    })
}

const fn is_public(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::Certificate | SectionKind::PublicKey | SectionKind::Csr)
}

fn broken(file: &Path, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::MissingSectionEnd { .. } => format!("{file} ends in the middle of a certificate or key"),
        pem::Error::Base64Decode(_) => {
            format!("{file} has characters that do not belong into a PEM file; copy it again")
        }
        error => format!("{file} is no proper PEM file ({error}); copy it again"),
    }
}

/// How everything in DER here begins: a sequence, with its length in one byte or in up to three more.
pub(super) fn looks_like_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, 0x81..=0x83, ..] => true,
        [0x30, length, rest @ ..] => usize::from(*length) == rest.len(),
        _ => false,
    }
}

pub(super) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
