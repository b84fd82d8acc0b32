//! TLS clients that resume nothing and believe everything: the work of the server is what counts.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use super::in_threads;

/// Handshakes at a time.
const THREADS: u32 = 32;

/// A connection after its handshake.
pub(super) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// TLS 1.3 as browsers ask for it: AES with 128 bits first; X25519, which all the servers know.
pub(super) fn config() -> Result<Arc<ClientConfig>> {
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

pub(super) fn connect(config: &Arc<ClientConfig>, target: SocketAddr) -> Result<Stream> {
    let mut socket = TcpStream::connect(target).context("connecting")?;
    socket.set_nodelay(true)?;
    let mut connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("bench")?)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).context("the TLS handshake")?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// A handshake counts once the server has closed the connection, too: it has done its part then.
pub(super) fn handshakes(target: SocketAddr, time: Duration) -> Result<usize> {
    let config = config()?;
    let end = Instant::now() + time;
    let counts = in_threads(THREADS, |_| {
        let mut done = 0;
        while Instant::now() < end {
            let mut stream = connect(&config, target)?;
            stream.conn.send_close_notify();
            stream.conn.complete_io(&mut stream.sock)?;
            stream.sock.shutdown(std::net::Shutdown::Write)?;
            let mut rest = [0; 512];
            // How it closes is its own matter.
            while stream.sock.read(&mut rest).is_ok_and(|length| length > 0) {}
            done += 1;
        }
        Ok(done)
    })?;
    Ok(counts.into_iter().sum())
}

/// Believes everything.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
