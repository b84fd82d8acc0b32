//! The certificates that clients are shown, for `lbctl cert list`.

use serde::{Deserialize, Serialize};

use super::words::words;

/// Every certificate of the configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateList {
    /// By label.
    pub certificates: Vec<CertificateView>,
    /// What is to be done about them, one sentence each.
    pub warnings: Vec<String>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// As in the configuration.
    pub label: String,
    /// What it names: hosts, then addresses; without any the common name of its subject.
    pub names: Vec<String>,
    /// Who has signed it.
    pub issuer: String,
    /// When it begins to be valid: seconds since 1970-01-01 UTC.
    pub not_before_seconds: i64,
    /// When it ends: seconds since 1970-01-01 UTC.
    pub not_after_seconds: i64,
    /// Whole days until then; negative: so long ago.
    pub days_left: i64,
    /// `ECDSA P-256`, `RSA 2048`.
    pub key: String,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` shows it.
    pub sha256: String,
    /// How the chain that is sent ends.
    pub chain: CertificateChain,
    /// Certificates that are sent, its own included.
    pub sent: u64,
    /// The OCSP answer that is sent with it.
    pub ocsp: OcspState,
    /// Files that it was read from.
    pub files: Vec<String>,
    /// Virtual services that show it, by their listeners.
    pub services: Vec<String>,
}

words! {
    /// How the chain of a certificate ends.
    CertificateChain {
        /// At an authority that this machine trusts.
        Complete = "complete",
        /// Nobody but itself has signed it.
        SelfSigned = "self-signed",
        /// At an authority that this machine does not know: a private one, or a certificate between is missing.
        UnknownAuthority = "unknown-authority",
        /// One of its certificates was not signed by the next, or may not sign, or has ended.
        Broken = "broken",
    }
}

words! {
    /// What is said of revocation together with a certificate.
    OcspState {
        /// There is no file with an answer.
        None = "none",
        /// The answer is sent.
        Stapled = "stapled",
        /// The answer is too old, so it is not sent.
        Outdated = "outdated",
        /// The answer is about another certificate, so it is not sent.
        OfAnother = "of-another",
        /// The answer says that the certificate is revoked, or unknown to who answers; it is not sent.
        NotGood = "not-good",
    }
}
