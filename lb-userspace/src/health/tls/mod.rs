//! TLS of the https check: versions 1.2 and 1.3, with or without verification of the certificate.
//!
//! In: an open connection, the name, whom to trust. Out: the encrypted connection, or the failure that says what to
//! do about it. Absent: what is said over it; certificates of our own.
//!
//! Sessions are never resumed: a resumed session shows no certificate, and one that has expired would not be noticed.

mod failure;
mod trust;

#[cfg(test)]
pub(super) mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lb_core::health::{Detail, Failure};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) use failure::failure;
pub(super) use trust::Trust;

/// Does the handshake.
pub(super) async fn open(
    stream: TcpStream,
    name: ServerName<'static>,
    trust: &Arc<Trust>,
    verify: bool,
    ca_file: Option<PathBuf>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let config = if verify {
        let trust = Arc::clone(trust);
        // It reads files.
        let read = tokio::task::spawn_blocking(move || trust.verifying(ca_file.as_deref()));
        read.await.map_err(|error| Failure::Local(Detail::new(error.to_string())))??
    } else {
        trust.any()?
    };
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| failure::of_handshake(&error))
}

/// The name for SNI and verification: the one that is written for it, else the host of the request, else the address,
/// which SNI does not carry (RFC 6066 section 3).
pub(super) fn name(
    server_name: Option<&str>,
    host: Option<&str>,
    address: IpAddr,
) -> Result<ServerName<'static>, Failure> {
    let Some(text) = server_name.or(host.map(without_port)) else { return Ok(ServerName::from(address)) };
    ServerName::try_from(text.to_owned()).map_err(|_| {
        Failure::Local(Detail::new(format!("TLS cannot carry the name {text}: write one that it can as server_name")))
    })
}

/// `name:443`, `[::1]:443`, `::1` and so on, without port and brackets.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}
