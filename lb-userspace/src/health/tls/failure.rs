//! What an error of TLS says of the real server, and what to do about it.
//!
//! In: errors of rustls, wrapped in [`io::Error`] as they come. Out: a [`Failure`] in words.

use std::io::{self, ErrorKind};

use lb_core::health::{Detail, Failure};
use rustls::{Error, PeerIncompatible};

use crate::health::failure::from_io;
use crate::tls::words::{certificate, refusal};

/// The failure that an error of a handshake means.
pub(super) fn of_handshake(error: &io::Error) -> Failure {
    if let Some(failure) = failure(error) {
        return failure;
    }
    match error.kind() {
        ErrorKind::UnexpectedEof => Failure::ClosedEarly { before: "the TLS handshake was complete" },
        _ => from_io(error),
    }
}

/// The failure, if the error is one of TLS.
pub(in crate::health) fn failure(error: &io::Error) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(error) => Failure::Certificate(Detail::new(certificate(error))),
        Error::InvalidMessage(_) => tls("it does not speak TLS; if it speaks HTTP, check it with type: http"),
        Error::AlertReceived(alert) => tls(format!("it {}", refusal(*alert))),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => tls("it speaks neither TLS 1.2 nor 1.3"),
        Error::NoCertificatesPresented => tls("it showed no certificate"),
        other => tls(other.to_string()),
    })
}

fn tls(why: impl AsRef<str>) -> Failure {
    Failure::Tls(Detail::new(why))
}
