//! Certificates and keys in an archive (PKCS #12, RFC 7292): what Windows exports, and OpenSSL with and without
//! `-legacy`.

use std::path::Path;

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::pem::contains;

/// The certificates of an archive in any order, and its keys, at least one of each.
pub(super) type Contents = (Vec<CertificateDer<'static>>, Vec<PrivateKeyDer<'static>>);

/// Opens an archive.
pub(super) fn open(bytes: &[u8], password: Option<&str>, file: &Path) -> Result<Contents, String> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or_default());
    let archive = archive.map_err(|error| why(&error, bytes, password, file))?;
    let certificates: Vec<_> =
        archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    let keys: Vec<_> = archive
        .keys
        .iter()
        .map(|bag| PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec())))
        .collect();
    let file = file.display();
    if certificates.is_empty() {
        return Err(format!("there is no certificate in the archive {file}; export it with its chain"));
    }
    if keys.is_empty() {
        return Err(format!(
            "there is no private key in the archive {file}; export it again with the key (in Windows: \"Yes, export the \
             private key\")"
        ));
    }
    Ok((certificates, keys))
}

fn why(error: &Error, bytes: &[u8], password: Option<&str>, file: &Path) -> String {
    let file = file.display();
    let wrong = || match password {
        None => format!("the archive {file} has a password: write it into a file, and name that as password_file"),
        Some(_) => format!("the password of the archive {file} is wrong"),
    };
    match error {
        Error::MacError(_) => wrong(),
        // An archive without a MAC is only found out when what comes out of the decryption makes no sense.
        Error::Pkcs5Error(_) | Error::UnpadError | Error::InvalidPrivateKey => {
            format!("{}, or the archive is damaged ({error})", wrong())
        }
        _ if contains(bytes, "-----BEGIN ") => {
            format!("{file} is no archive but PEM: write it as `pem:`, and its key as `key:`")
        }
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm | Error::UnsupportedContentType => format!(
            "the archive {file} is of a kind that cannot be read here ({error}): convert it with `openssl pkcs12 -in \
             {file} -nodes -out {file}.pem`, and write {file}.pem as `pem:` and as `key:`"
        ),
        error => format!("{file} is no PKCS #12 archive, or is damaged ({error}): copy it again"),
    }
}
