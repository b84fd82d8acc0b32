//! Errors of TLS in the words of an administrator.
//!
//! In: errors of rustls. Out: parts of sentences, with what to do. Absent: who the other end is.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

/// As what follows "the certificate of WHO".
pub(crate) fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "has expired; renew it".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("has expired {} ago; renew it", days(*not_after, *time))
        }
        CertificateError::NotValidYet => "is not valid yet; compare the clocks".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is valid in {} only; compare the clocks", days(*time, *not_before))
        }
        CertificateError::NotValidForName => "is for another name; write the right one as server_name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            if presented.is_empty() {
                return format!("names no host, so it is not for {expected}; have it issued with that name");
            }
            let shown = presented.iter().take(NAMES).map(|name| plain(name)).collect::<Vec<_>>().join(", ");
            let more = if presented.len() > NAMES { " and others" } else { "" };
            format!("is not for {expected} but for {shown}{more}; write one of its names as server_name")
        }
        CertificateError::UnknownIssuer => {
            "comes from an authority that this machine does not trust; name its CA certificate as ca_file".to_owned()
        }
        CertificateError::BadSignature => "has a signature that is wrong".to_owned(),
        CertificateError::BadEncoding => "cannot be read".to_owned(),
        CertificateError::Revoked => "has been revoked; replace it".to_owned(),
        // The kind of error is in a crate below rustls.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is one of an authority (CA:TRUE), which is not for servers; issue one without that, or use verify: none"
                .to_owned()
        }
        other => format!("was not accepted: {other}"),
    }
}

/// Names of a certificate that a sentence shows.
const NAMES: usize = 2;

/// `DnsName("a.example")`, `IpAddress(192.0.2.1)`: as rustls names what a certificate names, without the wrapping.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

/// The time between two moments, in days or hours.
fn days(from: UnixTime, to: UnixTime) -> String {
    let hours = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs() / 3600;
    if hours < 48 { format!("{hours} h") } else { format!("{} days", hours / 24) }
}

/// What a server that refused may have meant, as what follows "it".
pub(crate) fn refusal(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "; it has no cipher suite of TLS 1.2 or 1.3 in common with this machine, or no certificate for the name"
        }
        AlertDescription::ProtocolVersion => "; it speaks neither TLS 1.2 nor 1.3",
        AlertDescription::UnrecognisedName => "; it does not know the name: write server_name",
        AlertDescription::CertificateRequired | AlertDescription::BadCertificate | AlertDescription::AccessDenied => {
            "; it may want a certificate of its client, and is shown none"
        }
        _ => "",
    };
    format!("refused with the alert {}{hint}", in_words(alert))
}

/// `HandshakeFailure` as `handshake failure`.
pub(crate) fn in_words(alert: AlertDescription) -> String {
    let mut words = String::new();
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}
