//! What is known of a certificate: names, times, key, and how its chain ends.

use std::net::IpAddr;
use std::time::Duration;

use lb_core::view::CertificateChain;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS, OID_SIG_ED25519,
};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::identity::is_self_issued;
use super::source::sha256;
use crate::tls::{provider, system};

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Hosts that it is for, in lower case; without any name the common name of the subject.
    pub(super) hosts: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    /// Whether the names come from the subject, which clients do not look at.
    pub(super) common_name_only: bool,
    pub(super) issuer: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) key: String,
    pub(super) sha256: [u8; 32],
    pub(super) serial: Vec<u8>,
    pub(super) chain: CertificateChain,
    /// Who has signed the last certificate, where that says by itself where its issuer can be had.
    pub(super) issuer_to_fetch: Option<String>,
}

impl Facts {
    /// Of the first of a chain, which `chain` gives as places in `parsed` and `ders`.
    pub(super) fn of(parsed: &[X509Certificate<'_>], ders: &[CertificateDer<'static>], chain: &[usize]) -> Self {
        let of_chain = || chain.iter().filter_map(|place| parsed.get(*place).zip(ders.get(*place)));
        let mut facts = Self {
            hosts: Vec::new(),
            addresses: Vec::new(),
            common_name_only: false,
            issuer: String::new(),
            not_before: 0,
            not_after: 0,
            key: String::new(),
            sha256: [0; 32],
            serial: Vec::new(),
            chain: CertificateChain::Broken,
            issuer_to_fetch: None,
        };
        let Some((leaf, der)) = of_chain().next() else { return facts };
        facts.take_names(leaf);
        facts.issuer = name(leaf.issuer());
        facts.not_before = leaf.validity().not_before.timestamp();
        facts.not_after = leaf.validity().not_after.timestamp();
        facts.key = key(leaf.public_key());
        facts.sha256 = sha256(der);
        facts.serial = leaf.raw_serial().to_vec();
        let above: Vec<_> = of_chain().skip(1).map(|(_, der)| der.clone()).collect();
        facts.chain = if is_self_issued(leaf) {
            CertificateChain::SelfSigned
        } else {
            ending(der, &above, facts.not_before, facts.not_after)
        };
        if facts.chain == CertificateChain::UnknownAuthority {
            let last = of_chain().next_back().map(|(last, _)| last).filter(|last| !is_self_issued(last));
            facts.issuer_to_fetch = last.filter(|last| says_where_its_issuer_is(last)).map(|last| name(last.issuer()));
        }
        facts
    }

    fn take_names(&mut self, leaf: &X509Certificate<'_>) {
        let alternative = leaf.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(host) => self.hosts.push(host.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        if self.hosts.is_empty() && self.addresses.is_empty() {
            let common = leaf.subject().iter_common_name().find_map(|name| name.as_str().ok());
            self.hosts.extend(common.map(str::to_ascii_lowercase));
            self.common_name_only = true;
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// How the chain ends for a client that trusts whom this machine trusts, at a time when the certificate is valid.
fn ending(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>], from: i64, until: i64) -> CertificateChain {
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    let at = u64::try_from(now.min(until).max(from)).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    let algorithms = provider().signature_verification_algorithms.all;
    let verified = ParsedCertificate::try_from(leaf).and_then(|leaf| {
        rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, &system(), above, at, algorithms)
    });
    match verified {
        Ok(()) => CertificateChain::Complete,
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => CertificateChain::UnknownAuthority,
        Err(_) => CertificateChain::Broken,
    }
}

/// Public authorities write into what they sign where their own certificate is (RFC 5280 section 4.2.2.1); private
/// ones that sign with their root do not. So a chain that ends with such a certificate lacks one.
fn says_where_its_issuer_is(certificate: &X509Certificate<'_>) -> bool {
    certificate.iter_extensions().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => access
            .accessdescs
            .iter()
            .any(|description| description.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS),
        _ => false,
    })
}

/// The common name, else the whole.
pub(super) fn name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|name| name.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}

fn key(public: &SubjectPublicKeyInfo<'_>) -> String {
    let algorithm = &public.algorithm.algorithm;
    if *algorithm == OID_SIG_ED25519 {
        return "Ed25519".to_owned();
    }
    match public.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = public.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            let curves = [(OID_EC_P256, "P-256"), (OID_NIST_EC_P384, "P-384"), (OID_NIST_EC_P521, "P-521")];
            let curve = curve.and_then(|curve| curves.iter().find(|(oid, _)| *oid == curve).map(|(_, name)| *name));
            format!("ECDSA {}", curve.unwrap_or("with another curve"))
        }
        _ => algorithm.to_id_string(),
    }
}
