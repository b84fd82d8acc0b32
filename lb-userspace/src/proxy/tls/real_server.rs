//! Connections to real servers that are encrypted anew.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use lb_core::config::model::{HttpVersion, ServerTls};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use crate::tls::{AnyCertificate, provider, trusted};

/// How a real server is spoken to. Reads the `ca_file`; paths begin at `base`. Sessions are resumed; a configuration
/// that several real servers share keeps them apart by name and address.
///
/// # Errors
/// There is nobody whom it could trust: a sentence that follows the name of the real server.
pub fn client_config(tls: &ServerTls, http: HttpVersion, base: &Path) -> Result<Arc<ClientConfig>, String> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = if tls.verify {
        let ca_file = tls.ca_file.as_ref().map(|file| base.join(file));
        let roots = trusted(ca_file.as_deref()).map_err(|error| error.to_string())?;
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let verifier = AnyCertificate(algorithms);
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
    };
    // Who speaks HTTP/1.1, or something else than HTTP, says nothing: servers that know neither name refuse it.
    config.alpn_protocols = match http {
        HttpVersion::Http1 => Vec::new(),
        HttpVersion::Http2 => vec![b"h2".to_vec()],
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// The name for SNI and verification: the one that is written for the real server, else its address, which SNI does not
/// carry (RFC 6066 section 3).
///
/// # Errors
/// It is no name: a sentence that follows the name of the real server.
pub fn server_name(tls: &ServerTls, address: IpAddr) -> Result<ServerName<'static>, String> {
    let Some(name) = &tls.server_name else { return Ok(ServerName::from(address)) };
    ServerName::try_from(name.clone())
        .map_err(|_| format!("TLS cannot carry the name {name}: write one that it can as server_name"))
}
