//! The TLS listener of a virtual service.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use lb_core::config::model::{ClientCertificate, TlsListener, TlsPolicy};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::certificates::Certificates;
use super::resolver::Resolver;
use super::tickets::Tickets;
use crate::tls::{authorities, provider};

/// What a listener does in handshakes. `http` is whether clients may speak HTTP/2, `None` for `l7-tcp`, where the real
/// server is the only one who knows what is spoken. Reads the `ca_file` for the certificates of clients; paths begin
/// at `base`.
///
/// # Errors
/// None of its certificates could be read, or its `ca_file` cannot be used: a sentence that follows the name of the service.
pub fn server_config(
    listener: &TlsListener,
    certificates: &Certificates,
    tickets: &Arc<Tickets>,
    http: Option<bool>,
    base: &Path,
) -> Result<Arc<ServerConfig>, String> {
    let shelf = certificates.shelf();
    if !listener.certificates.iter().any(|label| shelf.load().contains_key(label)) {
        return Err(format!(
            "none of the certificates of its TLS listener could be read ({}); `lbctl cert list` says why",
            listener.certificates.join(", ")
        ));
    }
    let authorities = listener.client_certificate.as_ref().map(|asked| clients(asked, base)).transpose()?;
    let bound = tickets.bound_to(asked(listener, authorities.as_ref()));
    let verifier = verifier(listener.client_certificate.as_ref().zip(authorities))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| error.to_string())?.with_client_cert_verifier(verifier);
    let resolver = Resolver::new(Arc::clone(shelf), listener.certificates.clone());
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = match http {
        None => Vec::new(),
        Some(false) => vec![b"http/1.1".to_vec()],
        Some(true) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    config.require_ems = match listener.policy {
        TlsPolicy::HighSecurity => true,
        TlsPolicy::Compatible => false,
    };
    config.ticketer = bound;
    // A ticket is encrypted for each handshake, and few clients come back more than once before the next one.
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn clients(asked: &ClientCertificate, base: &Path) -> Result<RootCertStore, String> {
    authorities(&base.join(&asked.ca_file)).map_err(|error| format!("client_certificate: {error}"))
}

fn verifier(asked: Option<(&ClientCertificate, RootCertStore)>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some((asked, authorities)) = asked else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
    let builder = if asked.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| format!("client_certificate: {error}"))
}

/// What is asked of clients, as a digest: sessions are resumed only where it is the same.
fn asked(listener: &TlsListener, authorities: Option<&RootCertStore>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(match listener.policy {
        TlsPolicy::HighSecurity => b"high-security",
        TlsPolicy::Compatible => b"compatible   ",
    });
    if let (Some(asked), Some(authorities)) = (&listener.client_certificate, authorities) {
        context.update(if asked.required { b"required" } else { b"optional" });
        for anchor in &authorities.roots {
            for part in [&*anchor.subject, &*anchor.subject_public_key_info] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
