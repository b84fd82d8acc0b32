//! Handshakes that fail, in the words of who reads the log.
//!
//! In: errors of a handshake or of what follows it. Out: what follows "TLS with CLIENT failed: ".

use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use crate::tls::words::{certificate, in_words, refusal};

/// Why a client got no connection.
#[must_use]
pub fn failure(error: &io::Error) -> String {
    match tls(error) {
        Some(error) => of_client(error),
        None => of_socket(error, "the client"),
    }
}

/// Why a real server gave no connection.
#[must_use]
pub fn server_failure(error: &io::Error) -> String {
    match tls(error) {
        Some(error) => of_server(error),
        None => of_socket(error, "the real server"),
    }
}

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_socket(error: &io::Error, who: &str) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => format!("{who} closed the connection before the handshake was complete"),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            format!("{who} reset the connection before the handshake was complete")
        }
        _ => error.to_string(),
    }
}

fn of_client(error: &Error) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnexpectedMessage(_)) => {
            "the client does not speak TLS; it may speak HTTP to the TLS port".to_owned()
        }
        Error::NoCertificatesPresented => {
            "the client showed no certificate, and client_certificate requires one".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate of the client comes from an authority that is not in the ca_file of client_certificate"
                .to_owned()
        }
        Error::InvalidCertificate(error) => format!("the certificate of the client {}", certificate(error)),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::AlertReceived(alert) => complaint(*alert),
        Error::NoApplicationProtocol => {
            "the client speaks neither HTTP/1.1 nor HTTP/2, or HTTP/2 only and it is switched off (ALPN)".to_owned()
        }
        Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
            "the client signed with an algorithm that it had not been offered".to_owned()
        }
        other => other.to_string(),
    }
}

fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        // Older versions do not have it.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
            "the client knows neither TLS 1.2 nor 1.3: update it; TLS 1.0 and 1.1 cannot be had here".to_owned()
        }
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the client knows TLS 1.2 without extended master secret (RFC 7627): update it, or set policy: compatible"
                .to_owned()
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::NamedGroupsExtensionRequired => {
            "the client has no cipher suite in common with this machine, which has ECDHE with AES-GCM or \
             ChaCha20-Poly1305: update it"
                .to_owned()
        }
        PeerIncompatible::NoKxGroupsInCommon => {
            "the client has no key exchange in common with this machine, which has ECDHE over X25519, P-256 and P-384, and \
             X25519MLKEM768: update it"
                .to_owned()
        }
        PeerIncompatible::NoSignatureSchemesInCommon => {
            "the client cannot verify the key of the certificate: add one with an RSA key".to_owned()
        }
        other => format!("the client is not compatible: {other:?}"),
    }
}

/// What a client that breaks off means.
fn complaint(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::UnknownCA => {
            "; it does not trust who signed the certificate, or the chain lacks a certificate"
        }
        AlertDescription::CertificateExpired => "; the certificate has expired, or the client's clock is wrong",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "; it does not accept the certificate: look whether it names the host and who signed it"
        }
        AlertDescription::UnrecognisedName => "; the certificate does not name the host",
        AlertDescription::ProtocolVersion => "; it knows neither TLS 1.2 nor 1.3",
        _ => "",
    };
    format!("the client refused with the alert {}{hint}", in_words(alert))
}

fn of_server(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => format!("the certificate of the real server {}", certificate(error)),
        Error::InvalidMessage(_) => {
            "the real server does not speak TLS: remove its `tls:`, or correct its port".to_owned()
        }
        Error::AlertReceived(alert) => format!("the real server {}", refusal(*alert)),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the real server speaks neither TLS 1.2 nor 1.3".to_owned(),
        Error::NoCertificatesPresented => "the real server showed no certificate".to_owned(),
        other => other.to_string(),
    }
}
