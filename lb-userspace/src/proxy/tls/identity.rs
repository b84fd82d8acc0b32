//! A key with its certificate and the chain above it, ready for handshakes.
//!
//! In: certificates in any order, keys. Out: what is sent, and what is known of it. Absent: files.

use std::sync::Arc;

use lb_core::view::OcspState;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use super::facts::{Facts, name};
use super::ocsp::Answer;
use crate::tls::provider;

/// What clients are shown.
#[derive(Debug)]
pub(super) struct Identity {
    plain: Arc<CertifiedKey>,
    stapled: Option<Arc<CertifiedKey>>,
    answer: Option<Answer>,
    pub(super) facts: Facts,
}

impl Identity {
    /// Finds the certificate of one of the keys, and its chain.
    pub(super) fn new(
        certificates: &[CertificateDer<'static>],
        keys: Vec<PrivateKeyDer<'static>>,
        answer: Option<Answer>,
    ) -> Result<Self, String> {
        Self::with_key(certificates, keys, answer).map(|(identity, _)| identity)
    }

    /// The same, with the place of its key among `keys`.
    pub(super) fn with_key(
        certificates: &[CertificateDer<'static>],
        keys: Vec<PrivateKeyDer<'static>>,
        answer: Option<Answer>,
    ) -> Result<(Self, usize), String> {
        let mut parsed = Vec::new();
        for der in certificates {
            let (_, certificate) = X509Certificate::from_der(der)
                .map_err(|error| format!("one of its certificates cannot be read ({error}); copy it again"))?;
            parsed.push(certificate);
        }
        let (leaf, place, key) = pair(&parsed, keys)?;
        let chain = chain(&parsed, leaf);
        let facts = Facts::of(&parsed, certificates, &chain);
        let sent = sent(&parsed, &chain).into_iter().filter_map(|place| certificates.get(place).cloned()).collect();
        let plain = Arc::new(CertifiedKey::new(sent, key));
        let stapled = answer
            .as_ref()
            .filter(|answer| answer.good && answer.serial == facts.serial)
            .map(|answer| Arc::new(CertifiedKey { ocsp: Some(answer.der.clone()), ..CertifiedKey::clone(&plain) }));
        Ok((Self { plain, stapled, answer, facts }, place))
    }

    /// What is shown at this time, in seconds since 1970: an outdated OCSP answer keeps clients away (Firefox says
    /// `SEC_ERROR_OCSP_OLD_RESPONSE`), none does not.
    pub(super) fn shown(&self, now: i64) -> &Arc<CertifiedKey> {
        match (&self.stapled, &self.answer) {
            (Some(stapled), Some(answer)) if answer.is_current(now) => stapled,
            _ => &self.plain,
        }
    }

    pub(super) fn ocsp(&self, now: i64) -> OcspState {
        match &self.answer {
            None => OcspState::None,
            Some(answer) if answer.serial != self.facts.serial => OcspState::OfAnother,
            Some(answer) if !answer.good => OcspState::NotGood,
            Some(answer) if !answer.is_current(now) => OcspState::Outdated,
            Some(_) => OcspState::Stapled,
        }
    }

    /// What is sent: its certificate, then those that signed it.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.plain.cert
    }
}

/// The first certificate that belongs to one of the keys, as places of both.
fn pair(
    certificates: &[X509Certificate<'_>],
    keys: Vec<PrivateKeyDer<'static>>,
) -> Result<(usize, usize, Arc<dyn SigningKey>), String> {
    for (number, key) in keys.into_iter().enumerate() {
        let key = provider().key_provider.load_private_key(key).map_err(|_| {
            "its key is of a kind that cannot be used: RSA with 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, and \
             Ed25519 can"
                .to_owned()
        })?;
        let Some(public) = key.public_key() else { continue };
        let place = certificates.iter().position(|certificate| certificate.public_key().raw == public.as_ref());
        if let Some(place) = place {
            return Ok((place, number, key));
        }
    }
    let names: Vec<String> = certificates.iter().take(2).map(|certificate| name(certificate.subject())).collect();
    Err(format!(
        "its key does not belong to its certificate ({}): one of the files is of another time or another name",
        names.join(", ")
    ))
}

/// Places of the certificates from `leaf` upwards, each signed by the next as far as names tell.
fn chain(certificates: &[X509Certificate<'_>], leaf: usize) -> Vec<usize> {
    let mut chain = vec![leaf];
    while let Some(last) = chain.last().and_then(|place| certificates.get(*place)) {
        if is_self_issued(last) {
            break;
        }
        let above = certificates.iter().enumerate().filter(|(place, candidate)| {
            !chain.contains(place) && candidate.subject().as_raw() == last.issuer().as_raw()
        });
        // Authorities that renew their own certificate have several of one name; the identifiers tell them apart.
        let Some((place, _)) = above.max_by_key(|(place, candidate)| {
            let same = issuer_identifier(last).is_some_and(|wanted| Some(wanted) == own_identifier(candidate));
            (same, std::cmp::Reverse(*place))
        }) else {
            break;
        };
        chain.push(place);
    }
    chain
}

/// Without the authority's own certificate, which clients have or do not believe.
fn sent(certificates: &[X509Certificate<'_>], chain: &[usize]) -> Vec<usize> {
    match chain.split_last() {
        Some((last, rest)) if !rest.is_empty() && certificates.get(*last).is_some_and(is_self_issued) => rest.to_vec(),
        _ => chain.to_vec(),
    }
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn issuer_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

fn own_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })
}
