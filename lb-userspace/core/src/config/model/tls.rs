//! Certificates, and TLS on both sides of the proxy.

use std::path::PathBuf;

use serde::Serialize;

/// A TLS listener of a proxied service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsListener {
    /// Port on the VIP.
    pub port: u16,
    /// Labels of certificates; the first is the default, the others are chosen by SNI.
    pub certificates: Vec<String>,
    /// Protocol versions and cipher suites.
    pub policy: TlsPolicy,
    /// Whether requests on the plain ports are sent to the TLS port with status 308 (`l7-http`).
    pub redirect: bool,
    /// Whether clients show a certificate; `None`: they are not asked.
    pub client_certificate: Option<ClientCertificate>,
}

/// The certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientCertificate {
    /// PEM file of those who sign them.
    pub ca_file: PathBuf,
    /// Whether a client without one is refused.
    pub required: bool,
}

/// Protocol versions and cipher suites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// TLS 1.3, and 1.2 with ECDHE and AEAD only.
    #[default]
    HighSecurity,
    /// Everything rustls offers.
    Compatible,
}

/// TLS towards a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// Name sent in SNI and verified; `None`: its address.
    pub server_name: Option<String>,
    /// Certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    /// PEM files.
    Pem {
        /// Certificate chain.
        pem: PathBuf,
        /// Private key.
        key: PathBuf,
        /// OCSP answer to staple, in DER; read again when it changes.
        ocsp: Option<PathBuf>,
    },
    /// PKCS #12.
    Pfx {
        /// The archive.
        pfx: PathBuf,
        /// Its password.
        password: Option<Secret>,
        /// OCSP answer to staple, in DER; read again when it changes.
        ocsp: Option<PathBuf>,
    },
}

/// A secret, or where it is; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As typed, `${ENV}` already replaced.
    Value(String),
    /// In a file, read when it is needed.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<in {}>", path.display()),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}
